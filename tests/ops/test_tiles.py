"""Tiles of classes: the statistics of a float64 log-softmax, whatever the tile, the dtype, the bias and the target's place."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import losskit
from losskit.ops import linear_ops, tiles

CLASSES, WIDTH, ROWS = 5000, 24, 130


def drawn(dtype: torch.dtype, seed: int = 0, spread: float = 1.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(ROWS, WIDTH, generator=generator, dtype=torch.float64) * spread
    w = torch.randn(CLASSES, WIDTH, generator=generator, dtype=torch.float64)
    bias = torch.randn(CLASSES, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (ROWS,), generator=generator)
    y[:4] = torch.tensor([0, 1023, 1024, CLASSES - 1])  # the edges of tiles
    return x.to(dtype), w.to(dtype), bias.to(dtype), y


def scores(x: Tensor, w: Tensor, bias: Tensor, scale: float, softcap: float | None) -> Tensor:
    z = scale * (x.double() @ w.double().T + bias.double())
    return z if softcap is None else softcap * torch.tanh(z / softcap)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6), (torch.float16, 1e-6)], ids=str)
@pytest.mark.parametrize(("scale", "softcap"), [(1.0, None), (0.5, 3.0)])
@pytest.mark.parametrize("memory", [1, 1 << 20, 1 << 28])
def test_log_probabilities_are_those_of_a_float64_softmax(
    dtype: torch.dtype, tolerance: float, scale: float, softcap: float | None, memory: int
) -> None:
    x, w, bias, y = drawn(dtype)
    found = losskit.linear_log_probs(x, w, y, linear_bias=bias, logit_scale=scale, softcap=softcap, memory=memory)
    z = scores(x, w, bias, scale, softcap)
    truth = z.log_softmax(-1).gather(1, y[:, None]).squeeze(1)
    assert ((found.log_prob.double() - truth) / truth).abs().max() < tolerance
    assert ((found.logsumexp.double() - z.logsumexp(-1)) / z.logsumexp(-1)).abs().max() < tolerance
    assert torch.equal(found.argmax, z.argmax(-1)) or dtype == torch.float16


def test_confident_rows_keep_their_digits() -> None:
    x, w, bias, y = drawn(torch.float32)
    w[y[7]] += 40 * x[7] / x[7].square().sum()
    z = scores(x, w, bias, 1.0, None)[7]
    mine = z[y[7]].clone()
    z[y[7]] = -torch.inf
    truth = torch.nn.functional.softplus(z.logsumexp(0) - mine)
    assert truth < 1e-10
    own, rest, *_ = linear_ops.rows(x, w, bias, y, None, None, 1.0, 0.0, 1 << 20, False, False)
    assert math.isclose(float(torch.nn.functional.softplus(rest - own)[7]), float(truth), rel_tol=1e-5)


def test_classes_that_are_ruled_out_add_nothing_even_a_whole_tile_of_them() -> None:
    x, w, bias, y = drawn(torch.float32)
    bias[1024:2048] = -torch.inf
    y = torch.where((y >= 1024) & (y < 2048), 5, y)
    found = losskit.linear_log_probs(x, w, y, linear_bias=bias)
    truth = scores(x, w, bias, 1.0, None).log_softmax(-1).gather(1, y[:, None]).squeeze(1)
    assert torch.allclose(found.log_prob.double(), truth, rtol=1e-6)


def test_a_nan_shows_in_its_row_and_in_no_other() -> None:
    x, w, bias, y = drawn(torch.float32)
    x[3, 0] = torch.nan
    found = losskit.linear_log_probs(x, w, y, linear_bias=bias).log_prob
    assert found.isnan().nonzero().flatten().tolist() == [3]


def test_ignored_rows_are_zero_and_the_others_do_not_change() -> None:
    x, w, bias, y = drawn(torch.float32)
    some = torch.where(torch.arange(ROWS) % 3 == 0, -100, y)
    whole, part = (losskit.linear_log_probs(x, w, t, linear_bias=bias).log_prob for t in (y, some))
    assert torch.equal(part == 0, some == -100)
    assert torch.allclose(part[some != -100], whole[some != -100], rtol=1e-6)


def test_the_gradient_of_a_forward_pass_in_tiles_is_that_of_the_scores() -> None:
    x, w, bias, y = drawn(torch.float64)
    x.requires_grad_()
    losskit.linear_log_probs(x, w, y, linear_bias=bias).log_prob.sum().backward()
    assert x.grad is not None
    z = x.detach().requires_grad_()
    (z @ w.T + bias).log_softmax(-1).gather(1, y[:, None]).sum().backward()
    assert z.grad is not None
    assert torch.allclose(x.grad, z.grad, rtol=1e-10)


def test_no_more_than_a_tile_of_scores_is_held(monkeypatch: pytest.MonkeyPatch) -> None:
    x, w, bias, y = drawn(torch.float32)
    seen: list[int] = []
    fold = tiles._fold

    def watched(scores: Tensor, *others: object) -> None:
        seen.append(scores.numel() * 4)
        fold(scores, *others)

    monkeypatch.setattr(tiles, "_fold", watched)
    losskit.linear_log_probs(x, w, y, linear_bias=bias, memory=1 << 20)
    assert seen
    assert max(seen) <= 1 << 20
