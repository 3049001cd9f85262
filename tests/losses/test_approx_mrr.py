"""ApproxMRR against a double loop over answers and other items."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.approx_mrr import ApproxMRRLoss, _chance, approx_mrr_loss
from losskit.ops.soft_ranks import soft_ranks

CASES = ["plain", "ties", "equal scores", "all relevant", "irrelevant", "weighted"]


def drawn(case: str, size: int, lists: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Scores, relevance, a mask and weights."""
    generator = torch.Generator().manual_seed(size)
    scores = torch.randn(lists, size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(-1, 2, (lists, size), generator=generator).double()
    mask = torch.rand(lists, size, generator=generator) < 0.8
    weight = torch.randint(4, (lists, size), generator=generator).double() if case == "weighted" else None
    if case in ("ties", "equal scores"):
        scores = (2 * scores).round() if case == "ties" else scores * 0 + 0.3
    if case in ("all relevant", "irrelevant"):
        relevance = relevance * 0 + (1 if case == "all relevant" else 0)
    return scores, relevance, mask, weight


def by_pairs(s: Tensor, y: list[float], w: list[float], temperature: float) -> Tensor:
    """1 - 1 / (1 + sum_j e_j / (e_j + sum_i w_i e_i)), e = exp(s / T), each ratio as 1 / (1 + sum_i w_i exp((s_i - s_j) / T))."""
    answers = [i for i in range(len(s)) if y[i] > 0 and w[i] > 0]
    rank = 1 + s.sum() * 0
    for j, other in enumerate(s):
        if y[j] <= 0 and answers:
            beaten = s.new_ones(())
            for i in answers:
                beaten = beaten + w[i] / max(w[a] for a in answers) * ((s[i] - other) / temperature).exp()
            rank = rank + 1 / beaten
    return 1 - 1 / rank


@pytest.mark.parametrize("temperature", [0.1, 1.0])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_double_loop(size: int, case: str, temperature: float) -> None:
    scores, relevance, mask, weight = drawn(case, size)
    hidden = torch.where(mask, scores, math.nan).requires_grad_()
    seen_only = torch.where(mask, relevance, math.nan)
    value = approx_mrr_loss(hidden, seen_only, temperature=temperature, mask=mask, weight=weight, reduction="none")
    (slope,) = torch.autograd.grad(value.sum(), hidden)
    learns = False
    for row, seen in enumerate(mask):
        s = scores[row, seen].requires_grad_()
        w = [1.0] * len(s) if weight is None else weight[row, seen].tolist()
        wanted = by_pairs(s, relevance[row, seen].tolist(), w, temperature)
        (steep,) = torch.autograd.grad(wanted, s)
        torch.testing.assert_close(value[row], wanted.detach(), rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(slope[row, seen], steep, rtol=1e-12, atol=1e-12)
        assert not slope[row, ~seen].any()
        learns |= bool(steep.any())
    assert learns or size < 7 or case in ("all relevant", "irrelevant")


def test_with_one_relevant_item_the_rank_is_its_soft_rank() -> None:
    scores, _, every, _ = drawn("plain", 12)
    for i in range(12):
        relevance = torch.zeros(3, 12)
        relevance[:, i] = 1
        ranks = soft_ranks(scores, torch.ones_like(every), 0.3)[:, i]
        torch.testing.assert_close(approx_mrr_loss(scores, relevance, temperature=0.3, reduction="none"), 1 - 1 / ranks)


def test_near_a_temperature_of_zero_the_loss_is_one_less_the_reciprocal_rank_of_the_first() -> None:
    relevance = torch.tensor([1.0, 0.0, 2.0, 0.0, -1.0])
    for order in itertools.permutations(range(5)):
        scores = torch.empty(5, dtype=torch.float64)
        scores[list(order)] = -torch.arange(5, dtype=torch.float64)
        first = 1 + min(order.index(0), order.index(2))
        assert float(approx_mrr_loss(scores, relevance, temperature=1e-3)) == pytest.approx(1 - 1 / first, abs=1e-12)


def test_the_rank_is_the_mean_place_of_the_first_relevant_item_over_all_random_orders() -> None:
    """Plackett-Luce: items are drawn one after the other, with chances in proportion to exp(s / T)."""
    scores, relevance = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64), torch.tensor([1, 0, 0, 1])
    odds, mean = (scores / 0.7).exp().tolist(), 0.0
    for order in itertools.permutations(range(4)):
        chance = math.prod(odds[i] / sum(odds[j] for j in order[place:]) for place, i in enumerate(order))
        mean += chance * (1 + min(place for place, i in enumerate(order) if relevance[i]))
    assert float(approx_mrr_loss(scores, relevance, temperature=0.7)) == pytest.approx(1 - 1 / mean, rel=1e-13)


def test_two_relevant_items_of_one_score_are_not_in_each_others_way() -> None:
    scores = torch.tensor([5.0, 5.0, 0.0])
    assert approx_mrr_loss(scores, torch.tensor([1, 1, 0])) < 1e-20
    assert float(approx_mrr_loss(scores, torch.tensor([1, 0, 0]))) == pytest.approx(1 - 1 / 1.5)


def test_equal_scores_are_at_the_mean_place_of_the_first_of_several() -> None:
    relevance = torch.tensor([[1.0, 2.0, 0.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 0.0], [0.0] * 5, [1.0] * 5])
    wanted = (1 - 3 / 6 + 1 - 2 / 6) / 2
    assert float(approx_mrr_loss(torch.zeros(4, 5), relevance)) == pytest.approx(wanted)
    assert _chance(relevance) == pytest.approx(wanted)
    assert math.isnan(_chance(relevance[2:]))


def test_a_list_without_a_relevant_or_an_irrelevant_item_is_zero_and_does_not_count() -> None:
    scores = torch.tensor([[1.0, 2.0, 3.0]] * 5, requires_grad=True)
    relevance = torch.tensor([[0, 0, 0], [1, 2, 1], [1, 0, 0], [1, 0, 0], [1, 1, 0]])
    weight = torch.tensor([[1.0] * 3, [1.0] * 3, [0.0, 1.0, 1.0], [1.0] * 3, [1.0] * 3])
    mask = torch.tensor([[True] * 3, [True] * 3, [True] * 3, [True, False, False], [True] * 3])
    total, count = losskit.parts(approx_mrr_loss, scores, relevance, weight=weight, mask=mask)
    assert count == 1
    assert torch.equal(total, approx_mrr_loss(scores[4], relevance[4]))
    (slope,) = torch.autograd.grad(total, scores)
    assert not slope[:4].any()
    assert slope[4].any()


def test_a_small_loss_keeps_its_digits() -> None:
    scores = torch.tensor([4.0, 0.0], dtype=torch.float64, requires_grad=True)
    value = approx_mrr_loss(scores, torch.tensor([1, 0]))
    (slope,) = torch.autograd.grad(value, scores)
    assert value.item() == pytest.approx(math.exp(-40), rel=1e-12, abs=0)
    assert slope.tolist() == pytest.approx([-10 * math.exp(-40), 10 * math.exp(-40)], rel=1e-12, abs=0)


def test_gaps_of_ten_thousand_are_finite_in_every_precision() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        scores = torch.tensor([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]], dtype=dtype, requires_grad=True)
        value = approx_mrr_loss(scores, torch.tensor([[1, 0, 1], [1, 0, 0]]), reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), scores)
        assert value.tolist() == pytest.approx([0.0, 1 - 1 / 3])
        assert slope.isfinite().all()


def test_an_answer_of_weight_zero_might_as_well_not_be_there() -> None:
    scores, relevance, _, _ = drawn("plain", 7)
    relevance[:, 2], weight = 1, torch.ones(3, 7, dtype=torch.float64)
    weight[:, 2] = 0
    mask = weight != 0
    assert torch.equal(approx_mrr_loss(scores, relevance, weight=weight), approx_mrr_loss(scores, relevance, mask=mask))
    assert torch.equal(approx_mrr_loss(scores, relevance, weight=8 * weight), approx_mrr_loss(scores, relevance, weight=weight))


def test_the_best_answer_is_pulled_most() -> None:
    scores = torch.tensor([0.2, 0.0, 0.3], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(approx_mrr_loss(scores, torch.tensor([1, 1, 0])), scores)
    assert slope[0] < slope[1] < 0 < slope[2]
    assert float(slope[0] / slope[1]) == pytest.approx(math.exp(0.2 / 0.1))


def test_a_temperature_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match='"temperature" must be > 0'):
        approx_mrr_loss(torch.zeros(1, 2), torch.ones(1, 2), temperature=0.0)


def test_the_module_holds_its_options() -> None:
    scores, relevance, mask, _ = drawn("plain", 9)
    assert torch.equal(
        ApproxMRRLoss(temperature=0.3)(scores, relevance, mask=mask),
        approx_mrr_loss(scores, relevance, temperature=0.3, mask=mask),
    )
