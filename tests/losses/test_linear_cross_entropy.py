"""linear_cross_entropy: its numbers against float64, at any shape, dtype and number of blocks."""

from __future__ import annotations

import math

import pytest
import torch

import losskit
from losskit.ops.blocks import rounds_fast
from projections import drawn, errors, off, truth


@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("std", [0.3, 1.0, 3.0])
def test_float32_is_right_to_a_millionth(std: float, trained: bool) -> None:
    loss, dx, dw = errors(*drawn(256, 96, 5003, torch.float32, std, trained=trained), ignore_index=-1)
    assert loss < 5e-7
    assert max(dx, dw) < 1e-6


@pytest.mark.parametrize("memory", [1, 300_000, 5_000_000, None])
@pytest.mark.parametrize("std", [0.3, 1.0, 3.0])
def test_float32_does_not_depend_on_the_blocks(std: float, memory: int | None) -> None:
    loss, dx, dw = errors(*drawn(96, 64, 4001, torch.float32, std), memory=memory)
    assert loss < 5e-7
    assert max(dx, dw) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("blocks", [2, 32, 1024])
@pytest.mark.parametrize(("std", "trained"), [(0.3, False), (1.0, True), (3.0, False), (3.0, True)])
def test_bfloat16_is_right_and_independent_of_the_blocks(std: float, trained: bool, blocks: int) -> None:
    """torch's chunked op is up to 62 % off here: its gradients are added up in bfloat16."""
    n, v = 1024, 8192
    memory = n * v * 2 // blocks + v * 4
    loss, dx, dw = errors(*drawn(n, 256, v, torch.bfloat16, std, trained=trained), memory=memory)
    assert loss < 1e-5
    assert max(dx, dw) < 2.5e-3


def test_bfloat16_products_are_rounded_where_the_processor_is_fast_at_it() -> None:
    """Large enough for the rounded products; scores above 5 get their lost digits back."""
    for std in (0.3, 3.0):
        loss, dx, dw = errors(*drawn(300, 256, 4096, torch.bfloat16, std), memory=3_000_000)
        assert loss < 1e-5, std
        assert max(dx, dw) < 2.5e-3, std
    assert rounds_fast() in (True, False)


def test_small_bfloat16_is_computed_in_float32() -> None:
    loss, dx, dw = errors(*drawn(64, 32, 512, torch.bfloat16))
    assert loss < 5e-7
    assert max(dx, dw) < 2.5e-3


def test_float16_classes_that_never_occur_keep_their_digits() -> None:
    """Their gradient is a sum of tiny probabilities: in float16 3 % off, in float32 right until the one rounding."""
    x, w, y = drawn(512, 64, 5000, torch.float16, 0.5)
    y = y % 100
    scale = 2.0**15  # as a gradient scaler does: the result itself must not leave float16
    (got,) = torch.autograd.grad(scale * losskit.linear_cross_entropy(x, w, y), w)
    wanted = scale * truth(x, w, y)[2]
    assert off(got[100:], wanted[100:]) < 1e-3
    assert off(got, wanted) < 1e-3


@pytest.mark.parametrize("shift", [1e4, 1e6])
def test_a_bias_that_shifts_every_score_changes_nothing(shift: float) -> None:
    x, w, y = drawn(32, 16, 300, torch.float32)
    bias = torch.full((300,), shift)
    loss = losskit.linear_cross_entropy(x, w, y, linear_bias=bias)
    wanted = truth(x, w, y)
    for got, right in zip((loss.detach(), *torch.autograd.grad(loss, (x, w))), wanted, strict=True):
        assert off(got, right) < 1e-6


@pytest.mark.parametrize("margin", [10.0, 18.0, 26.0])
def test_confident_rows_keep_their_digits(margin: float) -> None:
    """``logsumexp(z) - z_y`` is 0 or 4e-2 off in float32 there."""
    x, w, y = drawn(40, 512, 1000, torch.float32, 0.3)
    with torch.no_grad():
        x.copy_(0.03 * x + w[y] * (margin + math.log(1000)) / w[y].square().sum(1, keepdim=True))
    loss, dx, dw = errors(x, w, y)
    assert truth(x, w, y)[0] < 1e4 * math.exp(-margin)
    assert max(loss, dx, dw) < 1e-6


@pytest.mark.parametrize("v", [1, 2, 127, 128, 129, 32769])
@pytest.mark.parametrize(("n", "d"), [(0, 31), (1, 1), (7, 123), (7, 129), (65, 31)])
def test_any_shape(n: int, d: int, v: int) -> None:
    x, w, y = drawn(n, d, v, torch.float32)
    memory = max(1, v * 4 * 3)
    got = losskit.linear_cross_entropy(x, w, y, memory=memory)
    dx, dw = torch.autograd.grad(got, (x, w))
    assert (dx.shape, dw.shape) == (x.shape, w.shape)
    if n == 0 or v == 1:
        assert (float(got.detach()), bool(dx.any()), bool(dw.any())) == (0, False, False)
        return
    assert dw.any()
    for a, b in zip((got.detach(), dx, dw), truth(x, w, y), strict=True):
        assert off(a, b) < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("v", [50257, 151936])
@pytest.mark.parametrize(("n", "d"), [(513, 31), (7, 4096)])
def test_large_vocabularies(n: int, d: int, v: int) -> None:
    loss, dx, dw = errors(*drawn(n, d, v, torch.float32), memory=64 << 20)
    assert loss < 5e-7
    assert max(dx, dw) < 1e-6
