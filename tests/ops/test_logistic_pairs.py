"""The logistic loss of all pairs from moments of cells, against the table of all pairs."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from largest import Largest
from losskit.ops.logistic_pairs import _formula, _kernel, binary_logistic


def drawn(size: int, share: float, spread: float, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = spread * torch.randn(size, generator=generator, dtype=torch.float64)
    weight = torch.rand(size, generator=generator, dtype=torch.float64)
    positive = torch.rand(size, generator=generator) < share
    return scores, torch.where(positive, weight, 0), torch.where(positive, 0, weight)


def table(scores: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = _formula(leaf, positive, negative)
    return value.detach(), torch.autograd.grad(value, leaf)[0]


def agree(scores: Tensor, positive: Tensor, negative: Tensor) -> None:
    """Value and each single slope have the digits of the table."""
    wanted, exact = table(scores, positive, negative)
    value, slope = _kernel(scores, positive, negative)
    assert float(value) == pytest.approx(float(wanted), rel=1e-13)
    assert exact.any()
    assert slope.tolist() == pytest.approx(exact.tolist(), rel=1e-12, abs=1e-300)


@pytest.mark.parametrize("offset", [0.0, -1000.0])
@pytest.mark.parametrize("spread", [0.0, 1e-9, 1e-3, 0.3, 1.0, 8.0, 60.0, 1e3, 1e4, 1e8, 1e30])
def test_scores_of_any_spread_have_the_sums_of_all_pairs(spread: float, offset: float) -> None:
    scores, positive, negative = drawn(300, 0.3, spread)
    agree(scores + offset, positive, negative)


@pytest.mark.parametrize("outlier", [-1e30, -1e17, 1e17, 1e30])
@pytest.mark.parametrize("good", [True, False])
def test_an_outlier_takes_no_digits_from_the_others(outlier: float, good: bool) -> None:
    scores, positive, negative = drawn(300, 0.3, 60.0)
    scores[0] = outlier
    positive[0], negative[0] = float(good), float(not good)
    agree(scores, positive, negative)


@pytest.mark.parametrize("gap", [-700.0, -43.0, -41.5, -41.0, -40.5, 0.0, 5.0, 36.0, 41.0, 200.0, 700.0])
def test_classes_that_are_apart_keep_the_digits_of_what_little_is_left(gap: float) -> None:
    scores, positive, negative = drawn(200, 0.5, 0.7)
    agree(scores + torch.where(positive > 0, gap, 0), positive, negative)


def test_what_is_below_all_floats_is_nothing() -> None:
    value, slope = _kernel(*(torch.tensor(t, dtype=torch.float64) for t in ([800.0, 0.0], [1.0, 0.0], [0.0, 1.0])))
    assert (value.item(), slope.tolist()) == (0, [0, 0])


def test_scores_on_the_edges_of_cells_are_in_one_cell_each() -> None:
    edges = torch.arange(-20, 20, dtype=torch.float64) / 4
    scores = torch.cat([edges, edges.nextafter(edges + 1), edges.nextafter(edges - 1)])
    positive = (torch.arange(len(scores)) % 3 == 0).double()
    agree(scores, positive, 1 - positive)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_few_scores_are_enough(size: int) -> None:
    scores, _, _ = drawn(size, 0.5, 2.0)
    positive = (torch.arange(size) == 0).double()
    if size > 1:
        agree(scores, positive, 1 - positive)
    for nobody in (torch.zeros(size, dtype=torch.float64), positive):
        value, slope = _kernel(scores, nobody, torch.zeros_like(scores))
        assert (value.item(), slope.tolist()) == (0, [0.0] * size)


def test_the_derivative_of_many_scores_is_that_of_the_formula_at_every_order() -> None:
    scores, positive, negative = drawn(1100, 0.2, 1.0)
    scores.requires_grad_()
    value = binary_logistic(scores, positive, negative)
    (slope,) = torch.autograd.grad(value, scores, create_graph=True)
    exact = table(scores.detach(), positive, negative)[1]
    torch.testing.assert_close(slope.detach(), exact, rtol=1e-12, atol=1e-12)
    direction = torch.linspace(-1, 1, 1100, dtype=torch.float64)
    (twice,) = torch.autograd.grad((slope * direction).sum(), scores)
    step = 1e-5
    moved = [table(scores.detach() + s * step * direction, positive, negative)[1] for s in (1, -1)]
    assert twice.any()
    torch.testing.assert_close(twice, (moved[0] - moved[1]) / (2 * step), rtol=1e-6, atol=1e-6 * float(twice.abs().max()))


def test_nothing_is_larger_than_the_batch() -> None:
    scores, positive, negative = drawn(100_000, 0.3, 1.0)
    with Largest() as largest:
        evaluated = binary_logistic(scores, positive, negative)
        value = binary_logistic(scores.requires_grad_(), positive, negative)
        (slope,) = torch.autograd.grad(value, scores)
    assert slope.any()
    assert torch.equal(evaluated, value.detach())
    assert largest.elements == 100_000


def test_many_scores_compile_as_one_graph_and_are_mapped() -> None:
    scores, positive, negative = drawn(1100, 0.3, 1.0)
    value, exact = table(scores, positive, negative)
    compiled = torch.compile(binary_logistic, fullgraph=True, backend="aot_eager")(scores.requires_grad_(), positive, negative)
    batch = [torch.stack([t.detach(), t.detach()]) for t in (scores, positive, negative)]
    slopes = torch.func.vmap(torch.func.grad(binary_logistic))(*batch)
    assert exact.any()
    for slope in (torch.autograd.grad(compiled, scores)[0], *slopes):
        torch.testing.assert_close(slope, exact, rtol=1e-12, atol=1e-12)
    for found in (compiled.detach(), *torch.func.vmap(binary_logistic)(*batch)):
        assert float(found) == pytest.approx(float(value), rel=1e-13)


def test_equal_scores_cost_ln_2_a_pair() -> None:
    """Also where a plain running sum of as many numbers is 1e-11 off."""
    for size in (5000, 1_000_000):
        scores = torch.full((size,), 0.3, dtype=torch.float64)
        positive = 0.1 * (torch.arange(size) % 10 == 0).double()
        negative = 0.1 * (torch.arange(size) % 10 != 0).double()
        value = binary_logistic(scores.requires_grad_(), positive, negative)
        assert float(value.detach()) == pytest.approx(0.01 * (size // 10) * (size * 9 // 10) * math.log(2), rel=1e-13)
