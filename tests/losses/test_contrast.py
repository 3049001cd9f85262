"""What the softmax losses over a batch share: sums of logarithms, shares, labels, products row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import losskit
from contrast_loops import draw
from losskit.losses.contrast import inverse, label_counts, label_sums, log_add, nll, side
from losskit.losses.embeddings import rows_of
from losskit.ops.pair_sets import NOBODY
from losskit.ops.unit import dots, unit


def test_log_add_is_the_logarithm_of_the_sum() -> None:
    a, b = draw(5, seed=1), draw(5, seed=2)
    torch.testing.assert_close(log_add(a, b), torch.logaddexp(a, b))
    assert torch.autograd.gradcheck(log_add, (a, b))


def test_log_add_of_nothing_is_minus_infinity_without_a_gradient() -> None:
    none = torch.full((2,), -torch.inf, requires_grad=True)
    found = log_add(none, none)
    assert found.tolist() == [-math.inf, -math.inf]
    assert not torch.autograd.grad(found.sum(), none)[0].any()


@pytest.mark.parametrize("decoupled", [False, True])
def test_a_share_without_others_costs_nothing(decoupled: bool) -> None:
    own = torch.tensor([3.0, 3.0], requires_grad=True)
    value = nll(own, torch.tensor([-torch.inf, 1.0]), decoupled=decoupled)
    torch.testing.assert_close(value, torch.tensor([0.0, -2.0 if decoupled else math.log1p(math.exp(-2.0))]))
    assert torch.autograd.grad(value.sum(), own)[0][0] == 0


def test_sums_and_counts_by_label_are_the_loop() -> None:
    values, labels = draw(7, 3), torch.tensor([5, -1, 5, 2**62, -1, 5, NOBODY])
    sums = torch.stack([sum((values[j] for j in range(7) if labels[j] == labels[i]), torch.zeros(3)) for i in range(7)])
    torch.testing.assert_close(label_sums(values, labels), sums)
    assert label_counts(labels, labels).tolist() == [3, 2, 3, 1, 2, 3, 0]


def test_a_side_told_the_same_ids_twice_keeps_them_once() -> None:
    ids = torch.tensor([4, 4, 2])
    mine = side(rows_of(torch.ones(3, 2), torch.tensor([True, False, True])), 0, ids, ids)
    assert mine.slots is mine.ids
    assert mine.ids.tolist() == [4, NOBODY, 2]
    assert side(rows_of(torch.ones(3, 2)), 5).ids.tolist() == [5, 6, 7]


def test_the_inverse_of_a_temperature_in_half_precision_has_the_digits_of_float64() -> None:
    half = torch.tensor(0.01, dtype=torch.float16)
    assert float(inverse(half)) == 1 / float(half)
    assert inverse(0.5) == 2


@pytest.mark.parametrize("rows", [0, 1, 511, 512, 1025])
def test_products_row_by_row_are_those_of_vectors(rows: int) -> None:
    x, y = draw(rows, 3, seed=1), draw(rows, 3, seed=2)
    torch.testing.assert_close(dots(x, y), torch.stack([a @ b for a, b in zip(x, y, strict=True)]) if rows else x.sum(1))
    if rows:
        for got, wanted in zip(torch.autograd.grad(dots(x, y).square().sum() / 2, (x, y)), (y, x), strict=True):
            torch.testing.assert_close(got, wanted * (x * y).sum(1, keepdim=True))


def test_products_row_by_row_have_second_derivatives_and_vmap() -> None:
    x, y = draw(3, 2, seed=1), draw(3, 2, seed=2)
    assert torch.autograd.gradgradcheck(dots, (x, y))
    stacked = torch.stack([x, y]).detach()
    torch.testing.assert_close(torch.func.vmap(dots)(stacked, stacked.flip(0)), torch.stack([dots(x, y), dots(y, x)]).detach())


@pytest.mark.parametrize("size", [1e-30, 1e-13, 1e-6, 1.0, 1e30])
def test_unit_rows_have_length_one_or_none_at_any_size(size: float) -> None:
    rows = (draw(5, 7).detach().float() * size).requires_grad_()
    found = unit(rows)
    expected = torch.nn.functional.normalize(draw(5, 7).detach(), dim=1) if size > 1e-12 else torch.zeros(5, 7)
    torch.testing.assert_close(found, expected.float())
    (gradient,) = torch.autograd.grad(found[:, 0].sum(), rows)
    assert gradient.isfinite().all()
    assert bool(gradient.any()) == (size > 1e-12)


def test_a_nan_in_a_row_is_seen_and_stays_in_its_row() -> None:
    rows: Tensor = torch.tensor([[math.nan, 1.0], [3.0, 4.0]], requires_grad=True)
    found = unit(rows)
    assert found[0].isnan().all()
    torch.testing.assert_close(found[1].detach(), torch.tensor([0.6, 0.8]))


def test_a_group_that_is_none_is_named() -> None:
    with pytest.raises(TypeError, match=r'"group" must be a torch.distributed.ProcessGroup, got str'):
        losskit.clip_loss(torch.eye(2), torch.eye(2), group="world")
