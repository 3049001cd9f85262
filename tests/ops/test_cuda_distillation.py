"""Distillation between two heads on a real GPU: values and gradients against float64 scores, masked rows, few bytes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import losskit
from projections import off

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
Loss = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]
# loss, then the gradients of student and its weight
BARS = {torch.float32: (1e-6, 2e-6), torch.bfloat16: (1e-5, 3e-3), torch.float16: (1e-5, 1e-3)}


def stored(teacher: Tensor) -> tuple[Tensor, Tensor]:
    top = teacher.detach().log_softmax(-1).topk(4)
    return top.indices, top.values


PAIRS: dict[str, tuple[Loss, Loss]] = {
    "kl": (
        lambda x, w, y, v, m: losskit.linear_kl_div(x, w, y, v, mask=m, memory=1 << 20),
        lambda x, w, y, v, m: losskit.kl_div_loss(x @ w.T, y @ v.T, mask=m),
    ),
    "reverse": (
        lambda x, w, y, v, m: losskit.linear_kl_div(x, w, y, v, mask=m, direction="reverse", temperature=2.0),
        lambda x, w, y, v, m: losskit.kl_div_loss(x @ w.T, y @ v.T, mask=m, direction="reverse", temperature=2.0),
    ),
    "js": (
        lambda x, w, y, v, m: losskit.linear_js_div(x, w, y, v, mask=m, memory=1 << 20),
        lambda x, w, y, v, m: losskit.js_div_loss(x @ w.T, y @ v.T, mask=m),
    ),
    "stored": (
        lambda x, w, y, v, m: losskit.linear_sparse_kl_div(x, w, *stored(y.double() @ v.double().T), mask=m, memory=1 << 20),
        lambda x, w, y, v, m: losskit.sparse_kl_div_loss(x @ w.T, *stored(y @ v.T), mask=m),
    ),
}


@pytest.mark.parametrize("dtype", BARS)
@pytest.mark.parametrize("name", PAIRS)
def test_the_cuda_divergence_is_that_of_float64_scores(name: str, dtype: torch.dtype) -> None:
    generator = torch.Generator("cuda").manual_seed(0)
    x, y = (torch.randn(96, d, generator=generator, device="cuda").to(dtype) for d in (64, 48))
    w, v = (torch.randn(5003, d, generator=generator, device="cuda").div_(d**0.5).to(dtype) for d in (64, 48))
    mask = torch.arange(96, device="cuda") % 3 != 0
    fused, plain = PAIRS[name]
    x, w = x.requires_grad_(), w.requires_grad_()
    value = fused(x, w, y, v, mask)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    wanted = plain(*wide, y.double(), v.double(), mask)
    assert off(value.detach(), wanted.detach()) < BARS[dtype][0]
    scale = 1024  # as a gradient scaler does: float16 must hold the result
    slopes = torch.autograd.grad(scale * value, (x, w)), torch.autograd.grad(scale * wanted, wide)
    for got, right in zip(*slopes, strict=True):
        assert right.any()
        assert off(got, right) < BARS[dtype][1]
    assert not torch.autograd.grad(fused(x, w, y, v, mask), x)[0][~mask].any()
