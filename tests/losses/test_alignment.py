"""Alignment against |x - y|^alpha, pair by pair."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.alignment import AlignmentLoss, alignment_loss


def drawn(size: int = 8, seed: int = 0) -> tuple[Tensor, Tensor]:
    query, key = torch.randn(2, size, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return query.requires_grad_(), key.requires_grad_()


def wang(query: Tensor, key: Tensor, alpha: float, *, normalize: bool) -> Tensor:
    each = []
    for x, y in zip(query, key, strict=True):
        if normalize:
            x, y = x / (x @ x).sqrt(), y / (y @ y).sqrt()
        each.append(((x - y) @ (x - y)).sqrt() ** alpha)
    return torch.stack(each)


def gradients(value: Tensor, *leaves: Tensor) -> tuple[Tensor, ...]:
    found = torch.autograd.grad(value.sum(), leaves)
    assert all(g.any() for g in found)
    return found


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("alpha", [1.0, 1.5, 2.0, 3.0])
def test_value_and_gradients_are_those_of_each_pair(alpha: float, normalize: bool) -> None:
    query, key = drawn()
    value = alignment_loss(query, key, alpha=alpha, normalize=normalize, reduction="none")
    wanted = wang(query, key, alpha, normalize=normalize)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(gradients(value, query, key), gradients(wanted, query, key), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-12)


def test_the_default_is_two_minus_two_cosines() -> None:
    turned = torch.tensor([0.0, 60.0, 90.0, 180.0], dtype=torch.float64).deg2rad()
    query, key = torch.tensor([[3.0, 0.0]] * 4, dtype=torch.float64), torch.stack([turned.cos(), turned.sin()], -1)
    torch.testing.assert_close(alignment_loss(query, key, reduction="none"), 2 - 2 * turned.cos())


@pytest.mark.parametrize("alpha", [1.0, 1.2, 2.0, 4.0])
def test_pairs_that_meet_and_rows_of_zeros_are_at_rest(alpha: float) -> None:
    query, key = (t.detach() for t in drawn(4))
    key[0], query[1], query[2], key[2] = query[0] * 2, 0, 0, 0
    leaves = query.requires_grad_(), key.requires_grad_()
    value = alignment_loss(*leaves, alpha=alpha, reduction="none")
    # the second row is 0, and one of length 1 is 1 away from it
    assert value[:3].tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-15)
    assert value[3] > 0
    query_slope, key_slope = gradients(value, *leaves)
    assert query_slope.isfinite().all()
    assert key_slope.isfinite().all()
    assert query_slope[:3].abs().max() < 1e-15
    second = torch.autograd.functional.hessian(lambda q: alignment_loss(q, key.detach(), alpha=alpha), query.detach())
    assert torch.as_tensor(second).isfinite().all()


def test_half_precision_is_computed_in_float32() -> None:
    query, key = (t.detach().half() for t in drawn(50))
    value = alignment_loss(query, key)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), alignment_loss(query.double(), key.double()), rtol=1e-6, atol=0)


def test_weights_and_masks_hide_whole_pairs() -> None:
    query, key = drawn(3)
    each = alignment_loss(query, key, reduction="none").detach()
    seen, weight = torch.tensor([True, False, True]), torch.tensor([2.0, 0.0, 1.0], dtype=torch.float64)
    lost = torch.where(seen[:, None], query.detach(), math.nan).requires_grad_()
    value = alignment_loss(lost, key, weight=weight)
    assert value.item() == pytest.approx(float(2 * each[0] + each[2]) / 3)
    assert alignment_loss(lost, key, mask=seen).item() == pytest.approx(float(each[0] + each[2]) / 2)
    (slope,) = gradients(value, lost)
    assert (slope == 0).all(-1).tolist() == [False, True, False]


def test_one_pair_and_none() -> None:
    query, key = drawn(1)
    torch.testing.assert_close(alignment_loss(query[0], key[0]), alignment_loss(query, key))
    value = alignment_loss(query[:0], key[:0])
    assert value.item() == 0
    assert value.requires_grad
    assert torch.equal(AlignmentLoss(alpha=3.0)(query, key), alignment_loss(query, key, alpha=3.0))


def test_hostile_arguments_are_named() -> None:
    query, key = drawn()
    refused: list[tuple[type[Exception], str, Callable[[], Tensor]]] = [
        (ValueError, '"alpha" must be >= 1', lambda: alignment_loss(query, key, alpha=0.5)),
        (losskit.ShapeError, '"key" has shape', lambda: alignment_loss(query, key[1:])),
        (losskit.ShapeError, '"weight" has shape', lambda: alignment_loss(query, key, weight=torch.ones(8, 1))),
    ]
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()
