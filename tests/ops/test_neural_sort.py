"""Sums over a softly sorted list against the matrix of NeuralSort, row by row."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losskit.ops import neural_sort as module
from losskit.ops.neural_sort import sorted_sums


def drawn(lists: int, size: int, seed: int = 0, *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(lists, size, generator=generator, dtype=torch.float64)
    valid = torch.rand(lists, size, generator=generator) < 0.8
    gain = torch.randint(4, (lists, size), generator=generator).double()
    return scores.round() if ties else scores, valid, torch.where(valid, gain, 0)


def discounts(size: int) -> Tensor:
    return 1 / torch.log2(torch.arange(2, size + 2, dtype=torch.float64))


def by_rows(s: Tensor, gain: Tensor, discount: Tensor, temperature: float) -> Tensor:
    """The matrix of Grover et al. 2019, equation 4, one row after the other."""
    n, total = len(s), s.new_zeros(())
    spread = torch.stack([sum((abs(own - other) for other in s), s.new_zeros(())) for own in s]) if n else s
    for r in range(1, min(n, len(discount)) + 1):
        row = (((n + 1 - 2 * r) * s - spread) / temperature).softmax(0)
        total = total + discount[r - 1] * sum((p * g for p, g in zip(row, gain, strict=True)), s.new_zeros(()))
    return total


def gradient(scores: Tensor, *given: Tensor, temperature: float = 1.0) -> Tensor:
    leaf = scores.clone().requires_grad_()
    (found,) = torch.autograd.grad(sorted_sums(leaf, *given, temperature).sum(), leaf)
    return found


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [1, 3, 50])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_matrix(size: int, rows: int, ties: bool) -> None:
    scores, valid, gain = drawn(4, size, ties=ties)
    discount = discounts(min(rows, size))
    value, slope = sorted_sums(scores, valid, gain, discount, 0.8), gradient(scores, valid, gain, discount, temperature=0.8)
    assert slope.any() or size < 7
    for row, seen in enumerate(valid):
        s = scores[row, seen].requires_grad_()
        wanted = by_rows(s, gain[row, seen], discount, 0.8)
        torch.testing.assert_close(value[row], wanted.detach(), rtol=1e-13, atol=1e-13)
        if len(s):
            (steep,) = torch.autograd.grad(wanted, s)
            torch.testing.assert_close(slope[row, seen], steep, rtol=1e-12, atol=1e-12)
        assert not slope[row, ~seen].any()


@pytest.mark.parametrize("temperature", [0.05, 1.0, 300.0])
@pytest.mark.parametrize("ties", [False, True])
def test_a_long_list_near_its_diagonal_is_the_whole_matrix(temperature: float, ties: bool) -> None:
    scores, valid, gain = drawn(2, 3 * module._LONG, ties=ties)
    valid[1, 3:], gain[1, 3:] = False, 0
    discount, leaf = discounts(scores.shape[1]), scores.clone().requires_grad_()
    wanted = module._formula(temperature, leaf, valid, gain, discount)
    (slope,) = torch.autograd.grad(wanted.sum(), leaf)
    torch.testing.assert_close(sorted_sums(scores, valid, gain, discount, temperature), wanted.detach(), rtol=1e-12, atol=0)
    found = gradient(scores, valid, gain, discount, temperature=temperature)
    assert found.any()
    assert (found - slope).norm() < 1e-10 * slope.norm()  # exponents of 1e5


def test_columns_that_no_row_draws_are_left_out() -> None:
    scores, valid, gain = drawn(1, 2000)
    line = module._line(scores, torch.ones_like(valid), gain)
    columns = [c for _, _, c in module._pieces(line, 2000, 0.1)]
    assert sum(c.stop - c.start for c in columns) < 0.2 * 2000 * len(columns)
    tied = module._line(scores * 0, torch.ones_like(valid), gain)
    assert all(c == slice(0, 2000) for _, _, c in module._pieces(tied, 2000, 0.1))


def test_tiles_of_some_rows_are_the_whole_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, valid, gain = drawn(5, 40)
    given = valid, gain, discounts(40)
    whole, slope = sorted_sums(scores, *given, 1.0), gradient(scores, *given)
    assert slope.any()
    for lists in (0.3, 2.5):  # some rows of one list, some lists
        monkeypatch.setattr(module, "_TILE", int(lists * 40 * 40 * 8))
        torch.testing.assert_close(sorted_sums(scores, *given, 1.0), whole, rtol=1e-14, atol=0)
        torch.testing.assert_close(gradient(scores, *given), slope, rtol=1e-12, atol=1e-13)


def test_equal_scores_share_every_row_and_far_ones_have_their_own() -> None:
    every, gain = torch.ones(1, 4, dtype=torch.bool), torch.tensor([[0.0, 1.0, 2.0, 5.0]], dtype=torch.float64)
    discount = discounts(4)
    assert float(sorted_sums(torch.full((1, 4), 7.0), every, gain, discount, 1.0)) == pytest.approx(2.0 * float(discount.sum()))
    apart = torch.tensor([[0.0, 1e4, -1e4, 5e3]])
    assert float(sorted_sums(apart, every, gain, discount, 1.0)) == pytest.approx(float((gain[0, [1, 3, 0, 2]] * discount).sum()))
    assert not gradient(apart, every, gain, discount).any()


def test_float32_scores_far_from_zero_keep_their_digits() -> None:
    scores, valid, gain = drawn(2, 60)
    single = (scores + 1000).float()
    value, exact = (sorted_sums(s, valid, gain, discounts(60), 1.0) for s in (single, single.double()))
    torch.testing.assert_close(value, exact, rtol=1e-13, atol=0)
    found, wanted = (gradient(s, valid, gain, discounts(60)) for s in (single, single.double()))
    assert (found - wanted).norm() < 1e-6 * wanted.norm()


def test_first_and_second_derivatives_are_those_of_the_value() -> None:
    scores, valid, gain = drawn(3, 6, seed=3)
    leaf = (scores / 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: sorted_sums(s, valid, gain, discounts(5), 1.0), leaf)
    assert torch.autograd.gradgradcheck(lambda s: sorted_sums(s, valid, gain, discounts(5), 1.0), leaf)


def test_the_best_item_of_two_is_first_with_the_chance_of_the_sigmoid() -> None:
    every, gain = torch.ones(1, 2, dtype=torch.bool), torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    value = sorted_sums(torch.tensor([[2.0, 0.5]], dtype=torch.float64), every, gain, torch.ones(1, dtype=torch.float64), 0.5)
    assert float(value) == pytest.approx(1 / (1 + math.exp(-1.5 / 0.5)), rel=1e-14)
