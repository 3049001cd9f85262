"""NeuralNDCG against the whole matrix of NeuralSort, entry by entry."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.neural_ndcg import NeuralNDCGLoss, _chance, neural_ndcg_loss

CASES = ["plain", "ties", "equal scores", "equal grades", "irrelevant", "weighted"]


def drawn(case: str, size: int, lists: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Scores, grades, a mask and weights."""
    generator = torch.Generator().manual_seed(size)
    scores = torch.randn(lists, size, generator=generator, dtype=torch.float64)
    grades = torch.randint(5, (lists, size), generator=generator).double()
    mask = torch.rand(lists, size, generator=generator) < 0.8
    weight = 3 * torch.rand(lists, size, generator=generator, dtype=torch.float64) if case == "weighted" else None
    if case in ("ties", "equal scores"):
        scores = (2 * scores).round() if case == "ties" else scores * 0 + 0.3
    if case in ("equal grades", "irrelevant"):
        grades = grades * 0 + (2 if case == "equal grades" else 0)
    return scores, grades, mask, weight


def by_entries(
    s: Tensor, y: list[float], w: list[float], *, temperature: float = 1.0, k: int | None = None, gain: str = "exponential"
) -> Tensor:
    """1 - sum_r (P G)_r / log2(1 + r) / ideal, P_ri = softmax_i(((n + 1 - 2 r) s_i - sum_j |s_i - s_j|) / T)."""
    gains = [v * (2**g - 1 if gain == "exponential" else g) for g, v in zip(y, w, strict=True)]
    if len(set(gains)) < 2:
        return s.sum() * 0
    n, earned = len(s), s.new_zeros(())
    spread = [sum((abs(own - other) for other in s), s.new_zeros(())) for own in s]
    for r in range(1, min(n, k or n) + 1):
        row = torch.stack([((n + 1 - 2 * r) * own - apart) / temperature for own, apart in zip(s, spread, strict=True)])
        for p, g in zip(row.softmax(0), gains, strict=True):
            earned = earned + p * g / math.log2(1 + r)
    return 1 - earned / sum(g / math.log2(2 + place) for place, g in enumerate(sorted(gains, reverse=True)[:k]))


@pytest.mark.parametrize("options", [{}, {"temperature": 0.3, "gain": "linear"}, {"temperature": 2.0, "k": 3}])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_matrix(size: int, case: str, options: dict[str, Any]) -> None:
    scores, grades, mask, weight = drawn(case, size)
    hidden = torch.where(mask, scores, math.nan).requires_grad_()
    value = neural_ndcg_loss(hidden, torch.where(mask, grades, math.nan), mask=mask, weight=weight, reduction="none", **options)
    (slope,) = torch.autograd.grad(value.sum(), hidden)
    learns = False
    for row, seen in enumerate(mask):
        s = scores[row, seen].requires_grad_()
        w = [1.0] * len(s) if weight is None else weight[row, seen].tolist()
        wanted = by_entries(s, grades[row, seen].tolist(), w, **options)
        (steep,) = torch.autograd.grad(wanted, s)
        torch.testing.assert_close(value[row], wanted.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(slope[row, seen], steep, rtol=1e-12, atol=1e-12)
        assert not slope[row, ~seen].any()
        learns |= bool(steep.any())
    assert learns or size < 7 or case in ("equal grades", "irrelevant")


@pytest.mark.parametrize("k", [None, 1, 3])
def test_near_a_temperature_of_zero_the_loss_is_one_less_ndcg(k: int | None) -> None:
    grades = torch.tensor([3.0, 0.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    ideal = sum((2**g - 1) / math.log2(2 + p) for p, g in enumerate(sorted(grades.tolist(), reverse=True)[:k]))
    for order in itertools.permutations(range(5)):
        earned = sum((2 ** float(grades[i]) - 1) / math.log2(2 + p) for p, i in enumerate(order[:k]))
        scores = torch.empty(5, dtype=torch.float64)
        scores[list(order)] = -torch.arange(5, dtype=torch.float64)
        assert float(neural_ndcg_loss(scores, grades, temperature=1e-3, k=k)) == pytest.approx(1 - earned / ideal, abs=1e-12)


def test_two_good_items_above_a_bad_one_are_counted_more_than_once() -> None:
    value = neural_ndcg_loss(torch.tensor([1.1, 1.1, 0.0], dtype=torch.float64), torch.tensor([1, 1, 0]))
    assert -0.06 < float(value) < -0.05


def test_equal_scores_share_every_place() -> None:
    grades = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    discount = [1 / math.log2(2 + place) for place in range(4)]
    ideal = 3 * discount[0] + 1 * discount[1]
    assert float(neural_ndcg_loss(torch.zeros(2, 4), grades)) == pytest.approx(1 - 4 / 4 * sum(discount) / ideal)
    assert _chance(grades) == pytest.approx(1 - 4 / 4 * sum(discount) / ideal)
    assert float(neural_ndcg_loss(torch.zeros(2, 4), grades, k=2)) == pytest.approx(1 - 4 / 4 * sum(discount[:2]) / ideal)
    assert _chance(grades, k=2) == pytest.approx(1 - 4 / 4 * sum(discount[:2]) / ideal)


def test_a_list_whose_gains_are_all_equal_is_zero_and_does_not_count() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]] * 5, requires_grad=True)
    grades = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 0.0, 0.0], [4.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    mask = torch.tensor([[True] * 3, [True] * 3, [True, False, False], [False] * 3, [True] * 3])
    total, count = losskit.parts(neural_ndcg_loss, scores, grades, mask=mask)
    assert count == 1
    assert torch.equal(total, neural_ndcg_loss(scores[4], grades[4]))
    (slope,) = torch.autograd.grad(total, scores)
    assert not slope[:4].any()
    assert slope[4].any()


def test_gaps_of_ten_thousand_and_gains_beyond_the_floats_are_finite() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
        value = neural_ndcg_loss(scores, torch.tensor([[5000.0, 0.0, 4999.0], [5000.0, 0.0, 0.0]]), reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), scores)
        assert value.tolist() == pytest.approx([0.0, 1 - 1 / 2], abs=1e-6)
        assert slope.isfinite().all()


def test_the_gradient_raises_what_is_relevant() -> None:
    scores = torch.tensor([0.0, 0.05], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(neural_ndcg_loss(scores, torch.tensor([1, 0])), scores)
    # of two items the first place is drawn with sigmoid(s_1 - s_2), and the second with the rest
    p = 1 / (1 + math.exp(0.05))
    assert slope.tolist() == pytest.approx([-p * (1 - p) * (1 - 1 / math.log2(3)), p * (1 - p) * (1 - 1 / math.log2(3))])


def test_float32_gradients_have_six_digits() -> None:
    scores, grades, mask, _ = drawn("plain", 400)
    one, other = scores.float().requires_grad_(), scores.float().double().requires_grad_()
    (found,), (exact,) = (torch.autograd.grad(neural_ndcg_loss(s, grades, mask=mask), s) for s in (one, other))
    assert (found - exact).norm() < 1e-6 * exact.norm()


def test_the_module_holds_its_options() -> None:
    scores, grades, mask, _ = drawn("plain", 9)
    module = NeuralNDCGLoss(temperature=0.3, k=4, gain="linear")
    assert torch.equal(
        module(scores, grades, mask=mask), neural_ndcg_loss(scores, grades, temperature=0.3, k=4, gain="linear", mask=mask)
    )
