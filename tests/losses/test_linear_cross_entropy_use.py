"""linear_cross_entropy in use: layouts, ignored rows, micro-batches, torch's call, mixed precision, options."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.ops.linear_margin import Projected, linear_margin
from projections import drawn, off, truth


def layouts(t: Tensor) -> dict[str, Tensor]:
    """The same numbers in other memory."""
    return {
        "transposed": t.detach().T.contiguous().T,
        "every second": torch.stack([t.detach(), t.detach()], -1)[..., 0],
        "a window": torch.cat([t.detach(), t.detach()], 1)[:, : t.shape[1]],
    }


def test_memory_layout_does_not_matter_and_nothing_is_changed() -> None:
    x, w, y = drawn(9, 12, 40, torch.float32)
    wanted = truth(x, w, y)
    for name, other in layouts(x).items():
        for twin, matrix in layouts(w).items():
            before = other.clone(), matrix.clone()
            a, b = other.requires_grad_(), matrix.requires_grad_()
            loss = losskit.linear_cross_entropy(a, b, y)
            for got, right in zip((loss.detach(), *torch.autograd.grad(loss, (a, b))), wanted, strict=True):
                assert off(got, right) < 1e-6, (name, twin)
            assert torch.equal(other, before[0])
            assert torch.equal(matrix, before[1])
    row = torch.randn(1, 12).expand(9, 12)
    same = losskit.linear_cross_entropy(row, w, y)
    assert off(same.detach(), truth(row, w, y)[0]) < 1e-6


def test_ignored_rows_are_dropped_before_anything_is_computed() -> None:
    x, w, y = drawn(8, 6, 20, torch.float32)
    kept = torch.tensor([True, False] * 4)
    y = torch.where(kept, y, -100)
    spoiled = x.detach().clone()
    spoiled[~kept] = math.nan
    spoiled.requires_grad_()
    for reduction in ("mean", "sum", "none"):
        loss = losskit.linear_cross_entropy(spoiled, w, y, reduction=reduction)
        dx, dw = torch.autograd.grad(loss.sum(), (spoiled, w))
        clean = losskit.linear_cross_entropy(x[kept], w, y[kept], reduction=reduction)
        cx, cw = torch.autograd.grad(clean.sum(), (x, w))
        assert torch.allclose(loss.sum(), clean.sum())
        assert torch.allclose(dx, cx)
        assert torch.allclose(dw, cw)
        assert not dx[~kept].any()


def test_all_rows_ignored_is_a_connected_zero() -> None:
    x, w, _ = drawn(4, 3, 5, torch.float32)
    loss = losskit.linear_cross_entropy(x, w, torch.full((4,), -100))
    dx, dw = torch.autograd.grad(loss, (x, w))
    assert (float(loss.detach()), bool(dx.any()), bool(dw.any())) == (0, False, False)


def test_classes_that_are_ruled_out() -> None:
    x, w, y = drawn(6, 5, 9, torch.float64)
    y = y % 4
    bias = torch.zeros(9, dtype=torch.float64)
    bias[4:] = -torch.inf
    loss = losskit.linear_cross_entropy(x, w, y, linear_bias=bias)
    dx, dw = torch.autograd.grad(loss, (x, w))
    wanted = F.cross_entropy(x @ w[:4].T, y)
    wx, ww = torch.autograd.grad(wanted, (x, w))
    assert torch.allclose(loss, wanted)
    assert torch.allclose(dx, wx)
    assert torch.allclose(dw, ww)


@pytest.mark.parametrize("bad", [-1, 20, 2**40])
def test_a_target_out_of_range_is_named(bad: int) -> None:
    x, w, y = drawn(4, 3, 20, torch.float32)
    y[2] = bad
    with pytest.raises(IndexError, match=rf'"target" is {bad} at index 2, expected a class in \[0, 20\)'):
        losskit.linear_cross_entropy(x, w, y)


def test_micro_batches_with_a_normalizer_are_one_batch() -> None:
    x, w, y = drawn(60, 16, 100, torch.float32)
    y[torch.rand(60, generator=torch.Generator().manual_seed(0)) < 0.4] = -100
    loss = losskit.linear_cross_entropy(x, w, y)
    whole = torch.autograd.grad(loss, (x, w))
    count, total, pieces = (y != -100).sum(), 0.0, []
    for at in (slice(0, 7), slice(7, 40), slice(40, 60)):
        part = losskit.linear_cross_entropy(x[at], w, y[at], normalizer=count)
        pieces.append(torch.autograd.grad(part, (x, w)))
        total += float(part.detach())
    assert total == pytest.approx(float(loss.detach()), rel=1e-6)
    for got, right in zip(map(sum, zip(*pieces, strict=True)), whole, strict=True):
        assert off(got, right.double()) < 1e-6


def test_the_call_of_torch_means_the_same() -> None:
    """torch 2.13's own op, with the import changed."""
    if not hasattr(F, "linear_cross_entropy"):
        pytest.skip("this torch has no linear_cross_entropy")
    x, w, y = drawn(12, 8, 30, torch.float64)
    bias, weight = torch.randn(30, dtype=torch.float64), torch.rand(30, dtype=torch.float64)
    y[3] = -100
    for reduction in ("mean", "sum", "none"):
        call = {"linear_bias": bias, "weight": weight, "label_smoothing": 0.1, "reduction": reduction}
        assert torch.allclose(losskit.linear_cross_entropy(x, w, y, **call), F.linear_cross_entropy(x, w, y, **call))


def test_backward_twice_and_tied_weights() -> None:
    x, w, y = drawn(10, 6, 14, torch.float32)
    loss = losskit.linear_cross_entropy(x, w, y)
    once = torch.autograd.grad(loss, (x, w), retain_graph=True)
    again = torch.autograd.grad(3 * loss, (x, w))
    for a, b in zip(once, again, strict=True):
        assert a.any()
        assert torch.allclose(3 * a, b)
    table = torch.randn(14, 6, dtype=torch.float64, requires_grad=True)
    tied = losskit.linear_cross_entropy(table[y], table, y)
    plain = F.cross_entropy(table[y] @ table.T, y)
    assert torch.allclose(*(torch.autograd.grad(t, table)[0] for t in (tied, plain)))


def test_mixed_precision_takes_float32_parameters() -> None:
    x, w, y = drawn(16, 8, 40, torch.float32)
    half = x.detach().bfloat16().requires_grad_()
    loss = losskit.linear_cross_entropy(half, w, y)
    dx, dw = torch.autograd.grad(loss, (half, w))
    assert (loss.dtype, dx.dtype, dw.dtype) == (torch.float32, torch.bfloat16, torch.float32)
    assert off(dw, truth(half, w, y)[2]) < 1e-2
    with pytest.raises(TypeError, match=r'"linear_weight" has dtype torch\.bfloat16, expected torch\.float32'):
        losskit.linear_cross_entropy(x, w.detach().bfloat16(), y)


def test_only_the_gradients_that_are_wanted() -> None:
    x, w, y = drawn(10, 6, 14, torch.float64)
    both = torch.autograd.grad(losskit.linear_cross_entropy(x, w, y), (x, w))
    for i, fixed in enumerate((w, x)):
        one = (x, fixed.detach()) if i == 0 else (fixed.detach(), w)
        (got,) = torch.autograd.grad(losskit.linear_cross_entropy(*one, y), (x, w)[i])
        assert torch.allclose(got, both[i])
        assert got.any()


def test_scores_of_a_large_vocabulary_do_not_stay_in_memory() -> None:
    """The largest tensor saved for backward is a gradient, not the scores."""
    x, w, y = drawn(300, 8, 5000, torch.float32)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        losskit.linear_cross_entropy(x, w, y)
    assert saved
    assert max(saved) == w.numel()


def test_options_out_of_range() -> None:
    x, w, y = drawn(4, 3, 5, torch.float32)
    for option, message in (
        ({"memory": 0}, '"memory" must be >= 1'),
        ({"softcap": 0.0}, '"softcap" must be > 0'),
        ({"logit_scale": -1.0}, '"logit_scale" must be > 0'),
        ({"label_smoothing": 1.5}, '"label_smoothing" must be in'),
        ({"z_loss": math.inf}, '"z_loss" must be finite'),
    ):
        with pytest.raises(ValueError, match=message):
            losskit.linear_cross_entropy(x, w, y, **option)
    with pytest.raises(TypeError, match='"memory" must be an int'):
        losskit.linear_cross_entropy(x, w, y, memory=1e6)
    with pytest.raises(ValueError, match="use cross_entropy on the scores"):
        losskit.linear_cross_entropy(x, w, torch.rand(4, 5).softmax(-1), softcap=30.0)
    with pytest.raises(losskit.ShapeError, match=r'"linear_weight" has shape \(3, 5\), expected'):
        losskit.linear_cross_entropy(x, w.T, y)


def test_forward_mode_raises_instead_of_returning_zeros() -> None:
    x, w, y = drawn(4, 3, 5, torch.float64)
    with pytest.raises((NotImplementedError, RuntimeError)):
        torch.func.jvp(lambda t: losskit.linear_cross_entropy(t, w.detach(), y), (x.detach(),), (torch.ones_like(x),))


def test_statistics_of_the_op() -> None:
    x, w, y = drawn(11, 5, 17, torch.float64)
    found = linear_margin(Projected(x, w, None, y, scale=0.5, softcap=2.0, memory=500), entropy=True, top=True)
    scores = 2.0 * torch.tanh(0.5 * (x @ w.T) / 2.0)
    others = scores.scatter(1, y[:, None], -torch.inf)
    assert torch.allclose(found.own, scores.gather(1, y[:, None])[:, 0])
    assert torch.allclose(found.rest, others.logsumexp(1))
    assert found.entropy is not None
    assert found.top is not None
    assert torch.allclose(found.entropy, torch.distributions.Categorical(logits=scores).entropy())
    assert torch.equal(found.top, scores.argmax(1))
