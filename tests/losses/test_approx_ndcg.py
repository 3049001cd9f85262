"""ApproxNDCG against a double loop over the items of a list."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.approx_ndcg import ApproxNDCGLoss, _among_first, _chance, approx_ndcg_loss

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


def among_first(s: Tensor, k: int, temperature: float) -> Tensor:
    """h = sigmoid((s - t) / T) by a long search for the t with sum h = k, and its derivative.

    0 = sum_i v_i (ds_i - dt) with v = h (1 - h) / T, so that dh_i = v_i (ds_i - sum_j v_j ds_j / sum_j v_j).
    """
    if k >= len(s):
        return torch.ones_like(s)
    h = _among_first(s.detach(), k, temperature)
    v, step = h * (1 - h) / temperature, s - s.detach()
    return h + v * (step - (v * step).sum() / v.sum())


def by_pairs(
    s: Tensor, y: list[float], w: list[float], *, temperature: float, k: int | None = None, gain: str = "exponential"
) -> Tensor:
    """1 - sum_i w_i G_i h_i / log2(1 + r_i) / ideal, r_i = 1 + sum over the others of sigmoid((s_j - s_i) / T)."""
    gains = [v * (2**g - 1 if gain == "exponential" else g) for g, v in zip(y, w, strict=True)]
    if len(set(gains)) < 2:
        return s.sum() * 0
    inside = torch.ones_like(s) if k is None else among_first(s, k, temperature)
    best = sum(g / math.log2(2 + place) for place, g in enumerate(sorted(gains, reverse=True)[:k]))
    earned = s.new_zeros(())
    for i, own in enumerate(s):
        rank = s.new_ones(())
        for j, other in enumerate(s):
            if i != j:
                rank = rank + torch.sigmoid((other - own) / temperature)
        earned = earned + gains[i] * inside[i] / torch.log2(1 + rank)
    return 1 - earned / best


def gradient(scores: Tensor, grades: Tensor, **options: Any) -> Tensor:
    leaf = scores.clone().requires_grad_()
    (found,) = torch.autograd.grad(approx_ndcg_loss(leaf, grades, **options, reduction="sum"), leaf)
    return found


@pytest.mark.parametrize("options", [{}, {"temperature": 1.0, "gain": "linear"}, {"temperature": 0.5, "k": 3}])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_double_loop(size: int, case: str, options: dict[str, Any]) -> None:
    scores, grades, mask, weight = drawn(case, size)
    hidden = torch.where(mask, scores, math.nan).requires_grad_()
    value = approx_ndcg_loss(hidden, torch.where(mask, grades, math.nan), mask=mask, weight=weight, reduction="none", **options)
    (slope,) = torch.autograd.grad(value.sum(), hidden)
    learns = False
    for row, seen in enumerate(mask):
        s = scores[row, seen].requires_grad_()
        w = [1.0] * len(s) if weight is None else weight[row, seen].tolist()
        wanted = by_pairs(s, grades[row, seen].tolist(), w, **{"temperature": 0.1, **options})
        (steep,) = torch.autograd.grad(wanted, s)
        torch.testing.assert_close(value[row], wanted.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(slope[row, seen], steep, rtol=1e-12, atol=1e-12)
        assert not slope[row, ~seen].any()
        learns |= bool(steep.any())
    assert learns or size < 7 or case in ("equal grades", "irrelevant")


@pytest.mark.parametrize("k", [None, 1, 2, 3, 5])
def test_d12_near_a_temperature_of_zero_the_loss_is_one_less_ndcg(k: int | None) -> None:
    """ptranking's SoftRank takes the first k of the best order, and not those of its scores."""
    grades = torch.tensor([3.0, 0.0, 1.0, 2.0, 1.0], dtype=torch.float64)
    ideal = sum((2**g - 1) / math.log2(2 + p) for p, g in enumerate(sorted(grades.tolist(), reverse=True)[:k]))
    for order in itertools.permutations(range(5)):
        earned = sum((2 ** float(grades[i]) - 1) / math.log2(2 + p) for p, i in enumerate(order[:k]))
        scores = torch.empty(5, dtype=torch.float64)
        scores[list(order)] = -torch.arange(5, dtype=torch.float64)
        assert float(approx_ndcg_loss(scores, grades, temperature=1e-3, k=k)) == pytest.approx(1 - earned / ideal, abs=1e-12)


@pytest.mark.parametrize("k", [None, 1, 2, 4, 8])
def test_the_loss_is_between_zero_and_one_however_hard_it_is_pushed_below(k: int | None) -> None:
    generator = torch.Generator().manual_seed(1)
    grades = torch.randint(3, (16, 9), generator=generator).double()
    scores = torch.randn(16, 9, generator=generator, dtype=torch.float64).requires_grad_()
    search = torch.optim.Adam([scores], lr=0.15)
    for _ in range(60):
        value = approx_ndcg_loss(scores, grades, temperature=1.0, k=k, reduction="none")
        assert (value >= 0).all()
        assert (value <= 1).all()
        search.zero_grad()
        value.sum().backward()
        search.step()
    assert value.mean() < 0.2


def test_equal_scores_share_the_middle_place() -> None:
    grades = torch.tensor([[2.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 0.0]])
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    assert float(approx_ndcg_loss(torch.zeros(2, 4), grades)) == pytest.approx(1 - 4 / math.log2(1 + 2.5) / ideal)
    assert _chance(grades) == pytest.approx(1 - 4 / math.log2(1 + 2.5) / ideal)
    at_two = float(approx_ndcg_loss(torch.zeros(2, 4), grades, k=2))
    assert at_two == pytest.approx(1 - 4 * (2 / 4) / math.log2(1 + 2.5) / ideal)
    assert math.isnan(_chance(grades[1:]))


def test_equal_scores_of_a_list_much_longer_than_k_are_not_at_rest() -> None:
    grades = torch.zeros(1, 500, dtype=torch.float64)
    grades[0, 7] = 1
    slope = gradient(torch.zeros(1, 500, dtype=torch.float64), grades, k=10)
    assert slope[0, 7] < -0.01
    assert slope.sum().abs() < 1e-12


def test_a_list_whose_gains_are_all_equal_is_zero_and_does_not_count() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]] * 5, requires_grad=True)
    grades = torch.tensor([[0.0, 0.0, 0.0], [2.0, 2.0, 2.0], [1.0, 0.0, 0.0], [4.0, 1.0, 1.0], [2.0, 1.0, 1.0]])
    mask = torch.tensor([[True] * 3, [True] * 3, [True, False, False], [False] * 3, [True] * 3])
    total, count = losskit.parts(approx_ndcg_loss, scores, grades, mask=mask)
    assert count == 1
    assert torch.equal(total, approx_ndcg_loss(scores[4], grades[4]))
    (slope,) = torch.autograd.grad(total, scores)
    assert not slope[:4].any()
    assert slope[4].any()


def test_exponential_gains_of_any_size_do_not_overflow() -> None:
    scores = torch.tensor([0.1, 0.3, 0.2, 0.0])
    for shift in (100.0, 5000.0):  # 2^y - 1 in proportion 4 : 2 : 1, and nothing beside them
        grades = torch.tensor([shift + 2, shift + 1, shift, 0.0])
        value = approx_ndcg_loss(scores, grades, temperature=0.5)
        small = approx_ndcg_loss(scores, torch.tensor([4.0, 2.0, 1.0, 0.0]), temperature=0.5, gain="linear")
        assert float(value) == pytest.approx(float(small), rel=1e-6)
    tiny = approx_ndcg_loss(scores, 1e-12 * torch.tensor([4.0, 2.0, 1.0, 0.0]), temperature=0.5)
    assert float(tiny) == pytest.approx(float(small), rel=1e-6)


def test_tensorflow_ranking_232_no_nan_from_lists_that_have_nothing_to_teach_or_scores_that_ran_away() -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0], [3.0, 3.0, 3.0], [-1e4, 1e4, 1e4], [0.0, 1.0, 2.0]])
    grades = torch.tensor([[1.0, 0.0, 2.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0], [0.0, 0.0, 5.0]])
    mask = torch.tensor([[True] * 3, [True] * 3, [True] * 3, [False, False, True]])
    for dtype in (torch.float16, torch.float32, torch.float64):
        leaf = scores.to(dtype).requires_grad_()
        value = approx_ndcg_loss(leaf, grades, mask=mask, reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), leaf)
        assert value.isfinite().all()
        assert slope.isfinite().all()
        assert value[[1, 3]].tolist() == [0.0, 0.0]
        assert slope[2, 1] == -slope[2, 2] != 0  # two items of one score are all that can move


def test_tensorflow_ranking_363_labels_that_are_places_up_to_500_are_learned_and_lists_of_one_do_not_hide_it() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = 1.0 + torch.stack([torch.randperm(500, generator=generator)[:20] for _ in range(4)])
    alone = torch.zeros(4, 20, dtype=torch.bool)
    alone[:, 0] = True
    scores = 0.1 * torch.randn(8, 20, generator=generator)
    scores.requires_grad_()
    mask = torch.cat([torch.ones_like(alone), alone])
    value = approx_ndcg_loss(scores, labels.repeat(2, 1), mask=mask)
    (slope,) = torch.autograd.grad(value, scores)
    assert 0.1 < value.item() < 1
    assert (slope[:4].abs().amax(-1) > 1e-3).all()
    assert torch.equal(value, approx_ndcg_loss(scores[:4], labels))


def test_a_weight_multiplies_the_gain_and_one_of_zero_still_takes_its_place() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0])
    grades, weight = torch.tensor([2.0, 1.0, 1.0]), torch.tensor([0.0, 6.0, 1.0])  # gains 0, 6, 1 at the places 1, 2, 3
    ideal = 6 / math.log2(2) + 1 / math.log2(3)
    wanted = 1 - (6 / math.log2(3) + 1 / math.log2(4)) / ideal
    assert float(approx_ndcg_loss(scores, grades, weight=weight, temperature=0.01)) == pytest.approx(wanted, rel=1e-6)


def test_the_gradient_raises_what_is_relevant() -> None:
    slope = gradient(torch.tensor([0.0, 0.05], dtype=torch.float64), torch.tensor([1.0, 0.0]))
    assert slope[0] == -slope[1] < 0


def test_float32_gradients_have_six_digits() -> None:
    for options in ({}, {"k": 5}):
        scores, grades, mask, _ = drawn("plain", 200)
        exact = gradient(scores.float().double(), grades, mask=mask, **options)
        found = gradient(scores.float(), grades, mask=mask, **options)
        assert (found - exact).norm() < 1e-6 * exact.norm()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"temperature": 0.0}, '"temperature" must be > 0'),
        ({"gain": "squared"}, '"gain" must be'),
        ({"k": 0}, '"k" must be >= 1'),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        approx_ndcg_loss(torch.zeros(1, 2), torch.ones(1, 2), **options)


def test_the_module_holds_its_options() -> None:
    scores, grades, mask, _ = drawn("plain", 9)
    module = ApproxNDCGLoss(temperature=0.3, k=4, gain="linear")
    assert torch.equal(
        module(scores, grades, mask=mask), approx_ndcg_loss(scores, grades, temperature=0.3, k=4, gain="linear", mask=mask)
    )
