"""Products of rows and of features say the same of A^T B, and standardised features are what they say."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from losskit.ops.gram import feature_products, off_diagonal, row_products, standardised

BOTH = pytest.mark.parametrize("crossed", [True, False])


def drawn(rows: int, features: int, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(rows + features)
    return torch.randn(2, rows, features, generator=generator, dtype=torch.float64).to(dtype).requires_grad_()


def by_loops(pair: Tensor, crossed: bool) -> tuple[Tensor, Tensor, Tensor]:
    """The diagonal, the sum of all squares, and the gradient of 3 sum(diagonal) + 2 sum of squares, entry by entry."""
    _, rows, features = pair.shape
    slope = torch.zeros_like(pair)
    diagonal, power = [], torch.zeros((), dtype=torch.float64)
    for first, second in [(0, 1)] if crossed else [(0, 0), (1, 1)]:
        for d in range(features):
            for e in range(features):
                entry = sum(pair[first, n, d] * pair[second, n, e] for n in range(rows))
                power += entry**2
                for n in range(rows):
                    by = 4 * entry + 3 * (d == e)
                    slope[first, n, d] += by * pair[second, n, e]
                    slope[second, n, e] += by * pair[first, n, d]
            diagonal.append(sum(pair[first, n, d] * pair[second, n, d] for n in range(rows)))
    return torch.stack([torch.as_tensor(x) for x in diagonal]), power, slope


@BOTH
@pytest.mark.parametrize(("rows", "features"), [(3, 5), (5, 3), (1, 4), (4, 1)])
def test_rows_and_features_agree_with_loops(rows: int, features: int, crossed: bool) -> None:
    pair = drawn(rows, features)
    diagonal, power, slope = by_loops(pair.detach(), crossed)
    beside = power - diagonal.square().sum()
    by_rows, whole = row_products(pair, crossed=crossed)
    by_features, off = feature_products(pair, crossed=crossed)
    for got, wanted in ((by_rows, diagonal), (by_features, diagonal), (whole, power), (off, beside)):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for total in (3 * by_rows.sum() + 2 * whole, 3 * by_features.sum() + 2 * (off + by_features.square().sum())):
        (found,) = torch.autograd.grad(total, pair)
        torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)


@BOTH
def test_second_derivatives_are_right(crossed: bool) -> None:
    for take in (row_products, feature_products):
        pair = drawn(3, 4)
        assert torch.autograd.gradcheck(lambda p, take=take: take(p, crossed=crossed), pair)
        assert torch.autograd.gradgradcheck(lambda p, take=take: take(p, crossed=crossed), pair)


@BOTH
@pytest.mark.parametrize("again", [False, True])
def test_shares_of_ranks_add_up_in_value_and_gradient(crossed: bool, again: bool) -> None:
    pair = drawn(7, 9)
    whole = row_products(pair, crossed=crossed)
    (slope,) = torch.autograd.grad(whole[0].sum() + whole[1], pair)
    pieces = [pair.detach()[:, at].requires_grad_() for at in (slice(0, 2), slice(2, 2), slice(2, 7))]
    shares = [row_products(piece, pair.detach(), crossed=crossed) for piece in pieces]
    for got, wanted in zip(zip(*shares, strict=True), whole, strict=True):
        torch.testing.assert_close(sum(got), wanted, rtol=1e-12, atol=1e-12)
    found = [torch.autograd.grad(a.sum() + b, p, create_graph=again)[0] for p, (a, b) in zip(pieces, shares, strict=True)]
    torch.testing.assert_close(torch.cat(found, 1), slope, rtol=1e-12, atol=1e-12)
    assert slope.all()


def test_the_squares_beside_a_diagonal_keep_their_digits() -> None:
    products = torch.eye(50) + 1e-6 * (1 - torch.eye(50))
    diagonal, beside = off_diagonal(products)
    assert torch.equal(diagonal, torch.ones(50, dtype=torch.float64))
    assert abs(float(beside) / (50 * 49 * 1e-12) - 1) < 1e-5


@pytest.mark.parametrize("eps", [None, 1e-5])
def test_standardised_features_are_those_of_batch_norm(eps: float | None) -> None:
    pair = drawn(6, 4)
    views = [view.detach().clone().requires_grad_() for view in pair]
    valid, count = torch.ones(6, dtype=torch.bool), torch.tensor(6.0, dtype=torch.float64)
    weight = drawn(6, 4).detach()
    wanted = [torch.nn.functional.batch_norm(v, None, None, training=True, eps=eps or 1e-5) for v in views]
    if eps is None:
        wanted = [v - v.mean(0) for v in views]
    slopes = torch.autograd.grad(sum((w * o).sum() for w, o in zip(weight, wanted, strict=True)), views)
    for add in (None, lambda value: value):
        got = standardised(views[0], views[1], eps, valid, count, add)
        torch.testing.assert_close(got, torch.stack(wanted), rtol=1e-12, atol=1e-12)
        for found, slope in zip(torch.autograd.grad((weight * got).sum(), views), slopes, strict=True):
            torch.testing.assert_close(found, slope, rtol=1e-12, atol=1e-12)
    only = standardised(views[0], views[1].detach(), eps, valid, count, None)
    torch.testing.assert_close(torch.autograd.grad((weight * only).sum(), views[0])[0], slopes[0], rtol=1e-12, atol=1e-12)
    assert slopes[0].all()


@pytest.mark.parametrize("wanted", [False, True])
def test_a_constant_feature_is_exactly_zero(wanted: bool) -> None:
    view = torch.full((11, 3), 1234.1).requires_grad_(wanted)  # whose mean over eleven rows is rounded
    for add in (None, lambda value: value):
        pair = standardised(view, view, 1e-5, torch.ones(11, dtype=torch.bool), torch.tensor(11.0), add)
        assert not pair.any()


def test_rows_that_do_not_count_are_zero_and_in_no_mean() -> None:
    pair = drawn(6, 4).detach()
    valid = torch.tensor([True, False, True, True, False, True])
    got = standardised(pair[0] * valid[:, None], pair[1] * valid[:, None], 1e-5, valid, valid.sum().double(), lambda value: value)
    fewer = pair[:, valid]
    torch.testing.assert_close(
        got[:, valid], standardised(fewer[0], fewer[1], 1e-5, torch.ones(4) > 0, torch.tensor(4.0), None), rtol=1e-12, atol=1e-12
    )
    assert not got[:, ~valid].any()


def test_backward_keeps_nothing_larger_than_the_rows() -> None:
    pair = drawn(8, 100)
    kept: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.numel()), t)[1], lambda t: t):
        row_products(pair, crossed=True)
    assert max(kept) == pair.numel()
