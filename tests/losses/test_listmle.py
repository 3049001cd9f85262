"""ListMLE and p-ListMLE against the product of their choices, the mean over orders of ties, and where peers go wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.listmle import listmle_loss
from losskit.losses.plistmle import plistmle_loss

DISCOUNTS: dict[str, Callable[[int, int], float]] = {
    "dcg": lambda k, n: 1 / math.log2(1 + k),
    "exponential": lambda k, n: (2.0 ** (n - k) - 1) / (2.0 ** (n - 1) - 1 or 1),
}


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, grades and weights; in every second draw scores tie too."""
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(4, (size,), generator=generator).double()
    weight = torch.rand(size, generator=generator, dtype=torch.float64).round(decimals=1)
    return scores.round() if seed % 2 else scores, relevance, weight


def in_order(scores: Tensor, order: list[int], weight: list[float], discount: Callable[[int], float]) -> Tensor:
    """sum_k d_k w_k (logsumexp_{t >= k} s_t - s_k): the cost of one order."""
    total = scores.sum() * 0
    for k, item in enumerate(order):
        left = torch.stack([scores[i] for i in order[k:]]).logsumexp(0)
        total = total + discount(k + 1) * weight[item] * (left - scores[item])
    return total


def by_choices(
    scores: Tensor, relevance: Tensor, weight: Tensor, ties: str, discount: Callable[[int, int], float] = lambda k, n: 1.0
) -> Tensor:
    """Grade by grade; at each choice the equals that are left (Efron: on average) and all that is below."""
    y, w, n = relevance.tolist(), weight.tolist(), len(relevance)
    if ties == "stable":
        return in_order(scores, sorted(range(n), key=lambda i: -y[i]), w, lambda k: discount(k, n))
    total, k = scores.sum() * 0, 0
    for grade in sorted(set(y), reverse=True):
        tied = [i for i in range(n) if y[i] == grade]
        steps = [discount(k + taken + 1, n) for taken in range(len(tied))]
        for taken, step in enumerate(steps):
            left = [scores[i] + (math.log(1 - taken / len(tied)) if ties == "efron" else 0.0) for i in tied]
            left += [scores[i] for i in range(n) if y[i] < grade]
            heavy = step * sum(w[i] for i in tied) / len(tied) if ties == "efron" else sum(steps) / len(tied) * w[tied[taken]]
            total = total + heavy * torch.stack(left).logsumexp(0)
        total = total - sum(sum(steps) / len(tied) * w[i] * scores[i] for i in tied)
        k += len(tied)
    return total


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def spread(size: int, *values: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The same lists with an item that is masked, of NaN, after each."""
    mask = torch.arange(2 * size) % 2 == 0
    wide = [torch.full((2 * size,), math.nan, dtype=torch.float64) for _ in values]
    for full, given in zip(wide, values, strict=True):
        full[mask] = given
    return mask, wide


@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("ties", ["efron", "breslow", "stable"])
@pytest.mark.parametrize("discount", [None, "dcg", "exponential"])
def test_value_and_gradient_are_those_of_the_definition(discount: Any, ties: Any, size: int) -> None:
    options: dict[str, Any] = {"ties": ties} if discount is None else {"ties": ties, "discount": discount}
    loss: Callable[..., Tensor] = listmle_loss if discount is None else plistmle_loss
    steps = {} if discount is None else {"discount": DISCOUNTS[discount]}
    for seed in range(4):
        scores, relevance, weight = drawn(size, seed)
        leaf = scores.clone().requires_grad_()
        wanted = by_choices(leaf, relevance, weight, ties, **steps)
        if not (weight * (relevance > relevance.min() if size else relevance)).any():
            wanted = wanted * 0  # nothing above the lowest grade: nothing to learn
        slope = gradient(wanted, leaf)
        mask, (s, y, w) = spread(size, scores, relevance, weight)
        s.requires_grad_()
        plain, masked = loss(leaf, relevance, weight=weight, **options), loss(s, y, weight=w, mask=mask, **options)
        for value, x, seen in ((plain, leaf, slice(None)), (masked, s, mask)):
            assert value.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
            found = gradient(value, x)
            assert found[seen].tolist() == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-12)
            assert found.count_nonzero() == found[seen].count_nonzero()
        assert slope.any() == (size > 1 and bool((relevance != relevance[:1]).any()))


def orders(relevance: list[float]) -> list[list[int]]:
    """All orders of falling relevance."""
    at = range(len(relevance))
    return [list(p) for p in itertools.permutations(at) if all(relevance[a] >= relevance[b] for a, b in itertools.pairwise(p))]


def test_efron_is_the_mean_over_all_orders_where_tied_scores_agree_and_never_below_it() -> None:
    for seed in range(6):
        scores, relevance, _ = drawn(6, seed)
        agreeing = relevance**2 - relevance
        for s in (scores, agreeing):
            for loss, discount in ((listmle_loss, lambda k: 1.0), (plistmle_loss, lambda k: DISCOUNTS["dcg"](k, 6))):
                costs = [in_order(s, order, [1.0] * 6, discount) for order in orders(relevance.tolist())]
                mean = float(torch.stack(costs).mean())
                efron = float(loss(s, relevance))
                if s is agreeing:
                    assert efron == pytest.approx(mean, rel=1e-12)
                else:
                    assert efron >= mean - 1e-12
                assert float(loss(s, relevance, ties="breslow")) >= efron - 1e-12


def test_random_ties_are_orders_and_all_of_them_come() -> None:
    scores, relevance = torch.tensor([0.0, 1.0, -1.0, 2.0], dtype=torch.float64), [1.0, 1.0, 0.0, 1.0]
    wanted = sorted(float(in_order(scores, order, [1.0] * 4, lambda k: 1.0)) for order in orders(relevance))
    generator = torch.Generator().manual_seed(0)
    lists, grades = scores.expand(2000, 4), torch.tensor(relevance).expand(2000, 4)
    found = listmle_loss(lists, grades, ties="random", generator=generator, reduction="none")
    values, often = found.round(decimals=9).unique(return_counts=True)
    assert values.tolist() == pytest.approx(wanted, rel=1e-8)
    assert (often - 2000 / 6).abs().max() < 5 * math.sqrt(2000 / 6)  # five standard deviations
    again = listmle_loss(lists, grades, ties="random", generator=generator.manual_seed(0), reduction="none")
    assert torch.equal(found, again)


def test_stable_ties_mean_the_order_of_the_list() -> None:
    scores, equal = torch.tensor([2.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 0.0])
    in_turn = float(listmle_loss(scores, torch.tensor([3.0, 2.0, 1.0])))
    assert float(listmle_loss(scores, equal, ties="stable")) == pytest.approx(in_turn)
    turned = listmle_loss(scores[[1, 0, 2]], equal, ties="stable")
    assert float(turned) > in_turn


def falling(scores: list[float], dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """A list whose order by relevance is that of its items."""
    return torch.tensor([scores], dtype=dtype), torch.arange(len(scores), 0, -1.0)[None]


def test_a_thousand_scores_one_apart_cost_457_99() -> None:
    """TF-Ranking says -inf: one shift for the whole list (tensorflow#56749)."""
    wanted = math.fsum(math.log(math.fsum(math.exp(-t) for t in range(1000 - k))) for k in range(1000))
    assert wanted == pytest.approx(457.9908165, abs=1e-7)
    for dtype in (torch.float32, torch.float64):
        scores, relevance = falling([999.0 - k for k in range(1000)], dtype)
        scores.requires_grad_()
        value = listmle_loss(scores, relevance)
        assert value.item() == pytest.approx(wanted, rel=1e-7)
        assert gradient(value, scores).isfinite().all()


@pytest.mark.parametrize("loss", [listmle_loss, plistmle_loss])
@pytest.mark.parametrize("width", [30.0, 100.0, 200.0])
def test_d5_float32_gradients_are_right_at_any_spread(loss: Callable[..., Tensor], width: float) -> None:
    """allRank's are off by 2 to 7: it shifts the whole list by one number and adds 1e-10."""
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        single = (width * torch.rand(1, 40, generator=generator)).requires_grad_()
        relevance = torch.rand(1, 40, generator=generator)
        leaf = single.detach().double().requires_grad_()
        weights = [1 / math.log2(1 + k) for k in range(1, 41)] if loss is plistmle_loss else [1.0] * 40
        order = relevance[0].argsort(descending=True).tolist()
        exact = gradient(in_order(leaf[0], order, [1.0] * 40, lambda k, weights=weights: weights[k - 1]), leaf)
        found = gradient(loss(single, relevance), single)
        assert exact.abs().max() > 0.5
        assert (found - exact).abs().max() < 1e-6 * exact.abs().max().clamp(min=1)


@pytest.mark.parametrize("pads", [0, 1, 2, 4])
@pytest.mark.parametrize("loss", [listmle_loss, plistmle_loss])
def test_d3_and_d6_pads_leave_the_loss_alone(loss: Callable[..., Tensor], pads: int) -> None:
    """sentence-transformers went from .2633 to .9759, 1.4671, 2.1627 with 1, 2, 4 pads; TF-Ranking adds log of pads!."""
    scores, relevance = falling([1.2, 0.0])
    scores = torch.cat([scores, torch.full((1, pads), math.nan, dtype=torch.float64)], 1).requires_grad_()
    relevance = torch.cat([relevance, torch.full((1, pads), -1.0)], 1)
    value = loss(scores, relevance, mask=torch.arange(2 + pads)[None] < 2)
    assert value.item() == pytest.approx(math.log1p(math.exp(-1.2)), rel=1e-12)
    assert value.item() == pytest.approx(0.2633, abs=1e-4)
    p = 1 / (1 + math.exp(1.2))
    assert gradient(value, scores)[0].tolist() == pytest.approx([-p, p, *[0.0] * pads], rel=1e-12)


def test_d4_a_confident_order_costs_its_tail() -> None:
    """log(sum + 1e-10) says 16.97 for [0, -40]."""
    for dtype in (torch.float32, torch.float64):
        scores, relevance = falling([0.0, -40.0], dtype)
        scores.requires_grad_()
        for loss in (listmle_loss, plistmle_loss):
            value = loss(scores, relevance)
            assert value.item() == pytest.approx(math.exp(-40), rel=1e-6, abs=0)
            assert gradient(value, scores)[0].tolist() == pytest.approx([-math.exp(-40), math.exp(-40)], rel=1e-6, abs=0)


def test_d4_a_score_of_100_is_finite() -> None:
    """exp(100) is inf in float32."""
    scores, relevance = falling([100.0, 99.0, 0.0], torch.float32)
    wanted = math.log1p(math.exp(-1)) + math.exp(-99) / math.log2(3)
    assert float(plistmle_loss(scores, relevance)) == pytest.approx(wanted, rel=1e-6)


def test_d4_a_list_of_zero_loss_is_connected_and_labels_are_looked_at() -> None:
    scores, relevance = falling([2.0, 0.0])
    scores.requires_grad_()
    nothing = plistmle_loss(scores, torch.ones(1, 2))
    assert nothing.requires_grad
    assert nothing == 0
    assert not gradient(nothing, scores).any()
    assert plistmle_loss(scores, relevance.flip(1)) > 2  # the other way round costs more


def test_only_lists_with_two_grades_and_weight_above_the_lowest_count() -> None:
    scores = torch.zeros(3, 2, dtype=torch.float64)
    relevance, weight = torch.tensor([[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    for loss in (listmle_loss, plistmle_loss):
        parts = losskit.parts(loss, scores, relevance, weight=weight)
        assert (float(parts.total), float(parts.weight)) == (pytest.approx(math.log(2)), 1.0)


def test_an_item_of_weight_zero_must_still_be_beaten() -> None:
    scores, relevance = falling([0.0, 0.0, 0.0])
    value = listmle_loss(scores, relevance, weight=torch.tensor([[1.0, 0.0, 0.0]]))
    assert value.item() == pytest.approx(math.log(3))


@pytest.mark.parametrize("options", [{}, {"ties": "breslow"}, {"ties": "stable"}], ids=str)
@pytest.mark.parametrize("loss", [listmle_loss, plistmle_loss])
def test_second_derivatives_are_right(loss: Callable[..., Tensor], options: dict[str, Any]) -> None:
    scores, relevance, weight = drawn(7, 4)
    assert torch.autograd.gradgradcheck(lambda s: loss(s, relevance, weight=weight, **options), [scores.requires_grad_()])


def test_options_are_checked() -> None:
    scores, relevance = falling([1.0, 0.0])
    with pytest.raises(ValueError, match='"ties" must be'):
        listmle_loss(scores, relevance, ties="average")
    with pytest.raises(ValueError, match='"generator" is given with ties='):
        listmle_loss(scores, relevance, generator=torch.Generator())
    with pytest.raises(ValueError, match='"discount" must be'):
        plistmle_loss(scores, relevance, discount="log")
    with pytest.raises(losskit.ShapeError, match=r'"discount" returned shape \(1,\), expected \(2,\)'):
        plistmle_loss(scores, relevance, discount=lambda rank: rank[:1])
    with pytest.raises(ValueError, match=r'"discount" returned -1.0, expected finite weights >= 0'):
        plistmle_loss(scores, relevance, discount=lambda rank: -rank)


def test_levels_are_ln_of_l_factorial_and_the_orders_of_equals() -> None:
    relevance = torch.tensor([[1.0, 1.0, 0.0], [2.0, 2.0, 2.0]])
    levels = losskit.reference("listmle_loss", list_size=3, relevance=relevance)
    assert levels.chance == pytest.approx(math.log(6))
    assert levels.floor == pytest.approx(math.log(2))  # either of the two may be first
    breslow = losskit.reference("listmle_loss", list_size=3, relevance=relevance, ties="breslow")
    assert breslow.chance is None
    assert breslow.floor == pytest.approx(2 * math.log(2))
    weighted = losskit.reference("plistmle_loss", list_size=3, relevance=relevance)
    assert weighted.chance == pytest.approx(math.log(3) + math.log(2) / math.log2(3))
    assert weighted.floor == pytest.approx(math.log(2))
    assert losskit.reference("plistmle_loss", list_size=3, discount=torch.reciprocal).chance is None
