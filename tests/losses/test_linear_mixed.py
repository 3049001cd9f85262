"""Fused heads in mixed precision and under checkpointing: what the surroundings do must not change a number."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import losskit
from projections import drawn, off

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def learned_weights(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
    """Class weights that want a gradient: the op has none of them, so the plain formula runs."""
    weight = torch.linspace(0.5, 2.0, len(w)).requires_grad_()
    return losskit.linear_cross_entropy(x, w, y, weight=weight, label_smoothing=0.1, softcap=5.0)


@pytest.mark.parametrize("loss", [learned_weights, losskit.linear_cross_entropy], ids=["plain formula", "op"])
def test_autocast_changes_neither_value_nor_second_derivative(loss: Loss) -> None:
    x, w, y = drawn(8, 16, 40, torch.float32)

    def both(enabled: bool) -> tuple[Tensor, Tensor]:
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            value = loss(x, w, y)
        (slope,) = torch.autograd.grad(value, x, create_graph=True)  # backward belongs outside of autocast
        return value.detach(), torch.autograd.grad(slope.square().sum(), w)[0]

    outside, inside = both(False), both(True)
    assert outside[1].any()
    for got, wanted in zip(inside, outside, strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_float32_bias_keeps_its_digits_under_bfloat16_rows(reduction: str) -> None:
    x, w, y = drawn(64, 32, 500, torch.bfloat16)
    bias = (5 * torch.randn(500, generator=torch.Generator().manual_seed(3))).requires_grad_()
    got = losskit.linear_cross_entropy(x, w, y, linear_bias=bias, reduction=reduction).mean()
    scores = x.detach().double() @ w.detach().double().T + bias.double()
    wanted = F.cross_entropy(scores, y)
    assert off(got.detach(), wanted.detach()) < 1e-6
    slope, right = (torch.autograd.grad(value, bias)[0] for value in (got, wanted))
    assert slope.dtype == torch.float32
    assert off(slope, right) < 1e-5


def divergences() -> dict[str, Loss]:
    def against(call: Callable[..., Tensor], **options: object) -> Loss:
        return lambda x, w, y: call(x, w, x.detach().flip(0), w.detach().flip(0), **options)

    def stored(x: Tensor, w: Tensor, y: Tensor) -> Tensor:
        top = torch.stack([y, (y + 1) % len(w)], -1)
        return losskit.linear_sparse_kl_div(x, w, top, torch.tensor([0.6, 0.3]).log().expand(len(y), 2))

    return {
        "kl": against(losskit.linear_kl_div),
        "kl of each row": against(lambda *t: losskit.linear_kl_div(*t, reduction="none").mean()),
        "js": against(losskit.linear_js_div),
        "sparse": stored,
    }


@pytest.mark.parametrize("name", divergences())
def test_a_checkpoint_around_a_distillation_gives_its_gradient(name: str) -> None:
    loss = divergences()[name]
    x, w, y = drawn(8, 16, 40, torch.float32)
    plain = torch.autograd.grad(loss(x, w, y), (x, w))
    kept = torch.autograd.grad(checkpoint(loss, x, w, y, use_reentrant=False), (x, w))
    for got, wanted in zip(kept, plain, strict=True):
        assert wanted.any()
        assert torch.equal(got, wanted)


@pytest.mark.parametrize("call", [losskit.linear_kl_div, losskit.linear_js_div], ids=["kl", "js"])
def test_a_misspelt_reduction_is_refused_before_the_work(call: Callable[..., Tensor]) -> None:
    x, w, _ = drawn(8, 16, 40, torch.float32)
    with pytest.raises(ValueError, match="\"reduction\" must be 'none' or 'mean' or 'sum'"):
        call(x, w, x, w, reduction="avg")
