"""Pairwise logistic and soft zero-one losses: against a double loop, and what other libraries get wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from laws import LAWS
from losskit.core.card import CATALOGUE
from losskit.losses.lambda_weights import DeltaMAP, DeltaNDCG, LambdaWeight, NDCGLoss2, NDCGLoss2PlusPlus
from losskit.losses.pairwise_hinge import pairwise_hinge_loss
from losskit.losses.pairwise_logistic import pairwise_logistic_loss, pairwise_soft_zero_one_loss

Loss = Callable[..., Tensor]
LOSSES: tuple[Loss, ...] = (pairwise_logistic_loss, pairwise_soft_zero_one_loss)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def looped(
    loss: Loss, s: list[float], y: list[float], w: list[float], *, k: int | None = None, half: bool = False
) -> tuple[float, list[float]]:
    """The mean over pairs, and its gradient, in plain Python."""
    top = [k is None or sum(other > mine for other in s) < k for mine in s]
    total, weight, gradient = 0.0, 0.0, [0.0] * len(s)
    for i in range(len(s)):
        for j in range(len(s)):
            share = w[i] if y[i] > y[j] else (w[i] + w[j]) / 4 if half and i != j and y[i] == y[j] else 0.0
            if not share or not (top[i] or top[j]):
                continue
            d = s[i] - s[j]
            soft = loss is pairwise_soft_zero_one_loss
            total += share * (sigmoid(-d) if soft else max(-d, 0) + math.log1p(math.exp(-abs(d))))
            slope = -share * (sigmoid(d) * sigmoid(-d) if soft else sigmoid(-d))
            weight += share
            gradient[i] += slope
            gradient[j] -= slope
    by = weight or 1.0
    return total / by, [g / by for g in gradient]


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores and grades with ties, weights."""
    generator = torch.Generator().manual_seed(seed + size)
    scores = (torch.randn(size, generator=generator, dtype=torch.float64) * 6).round() / 4
    return scores, torch.randint(4, (size,), generator=generator).double(), torch.rand(size, generator=generator).double()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("options", [{}, {"ties": "half"}, {"topk": 3}, {"topk": 3, "ties": "half"}])
def test_value_and_gradient_are_those_of_a_double_loop(loss: Loss, size: int, options: dict[str, Any]) -> None:
    s, y, w = drawn(size)
    for weight, grades in ((None, y), (w, y), (w, torch.ones_like(y))):
        scores = s.clone().requires_grad_()
        found = loss(scores, grades, weight=weight, **options)
        ones = torch.ones_like(s) if weight is None else weight
        value, gradient = looped(
            loss, s.tolist(), grades.tolist(), ones.tolist(), k=options.get("topk"), half=options.get("ties") == "half"
        )
        assert found.item() == pytest.approx(value, rel=1e-12, abs=1e-12)
        (slope,) = torch.autograd.grad(found, scores)
        assert slope.tolist() == pytest.approx(gradient, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
def test_masked_items_may_be_nan(loss: Loss) -> None:
    s, y, w = drawn(9)
    seen = torch.arange(9) % 3 != 1
    spoiled = [torch.where(seen, t, math.nan).requires_grad_(t is s) for t in (s, y, w)]
    found = loss(spoiled[0], spoiled[1], mask=seen, weight=spoiled[2])
    value, gradient = looped(loss, s[seen].tolist(), y[seen].tolist(), w[seen].tolist())
    assert found.item() == pytest.approx(value, rel=1e-12)
    (slope,) = torch.autograd.grad(found, spoiled[0])
    assert slope[seen].tolist() == pytest.approx(gradient, rel=1e-12, abs=1e-12)
    assert not slope[~seen].any()


@pytest.mark.parametrize("gap", [30.0, 1e4])
def test_d1_a_pair_far_on_the_wrong_side_still_pulls_by_one(gap: float) -> None:
    """allRank, sentence-transformers, ptranking: log(sigmoid(d).clamp(min=1e-10)) has gradient 0 beyond 23."""
    scores = torch.tensor([0.0, gap]).requires_grad_()
    loss = pairwise_logistic_loss(scores, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(gap)
    assert torch.autograd.grad(loss, scores)[0].tolist() == [-1.0, 1.0]


def test_d1_a_weight_does_not_bring_the_gradient_down_earlier() -> None:
    """The same peers raise the clamped sigmoid to the power of the weight: with 4 it is gone at -8; exact is -5.77."""
    weighted = torch.tensor([0.0, 8.0], dtype=torch.float64).requires_grad_()
    loss = pairwise_logistic_loss(weighted, torch.tensor([1.0, 0.0]), weight=torch.tensor([4.0, 1.0]), pair_reduction="sum")
    assert torch.autograd.grad(loss, weighted)[0][0].item() == pytest.approx(-4 * sigmoid(8.0), rel=1e-12)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [{}, {"lambda_weight": DeltaNDCG()}, {"pair_reduction": "pooled"}, {"topk": 1}])
@pytest.mark.parametrize("relevance", [[1.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
def test_d2_no_pair_is_a_connected_zero(loss: Loss, options: dict[str, Any], relevance: list[float]) -> None:
    """allRank, sentence-transformers#4032: the mean over an empty set is NaN."""
    scores = torch.tensor([1.0, 2.0, 3.0]).requires_grad_()
    found = loss(scores, torch.tensor(relevance), **options)
    assert found.item() == 0
    assert torch.autograd.grad(found, scores)[0].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("options", [{}, {"pair_reduction": "pooled"}, {"lambda_weight": NDCGLoss2()}])
def test_d9_tensorflow_ranking_359_padding_changes_nothing(loss: Loss, options: dict[str, Any]) -> None:
    """TF-Ranking divides by the padded number of items."""
    scores = torch.tensor([[0.6, 0.8, math.nan, 9.0], [0.5, 0.8, 0.4, -9.0]])
    relevance, seen = torch.tensor([[1, 0, 5, 5], [0, 1, 0, 5]]), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 0]]).bool()
    padded = loss(scores, relevance, mask=seen, reduction="none", **options)
    alone = [loss(s[m], y[m], **options) for s, y, m in zip(scores, relevance, seen, strict=True)]
    torch.testing.assert_close(padded, torch.stack(alone) * torch.tensor([1.0, 2.0 if "pair_reduction" in options else 1.0]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_d10_a_pair_of_neighbours_100_on_the_wrong_side_costs_100_of_its_weight(dtype: torch.dtype) -> None:
    """pytorchltr's log2(1 + e^100) is inf."""
    scores = torch.tensor([0.0, 100.0], dtype=dtype, requires_grad=True)
    value = pairwise_logistic_loss(scores, torch.tensor([1.0, 0.0]), lambda_weight=NDCGLoss2())
    neighbours = 1 - 1 / math.log2(3)
    assert value.item() == pytest.approx(100 * neighbours, rel=1e-6)
    (slope,) = torch.autograd.grad(value, scores)
    assert slope.tolist() == pytest.approx([-neighbours, neighbours], rel=max(1e-6, torch.finfo(dtype).eps))


def test_lightgbm_3420_a_relevant_item_below_the_top_is_still_pulled_up() -> None:
    scores = torch.tensor([3.0, 2.0, 1.0, 0.0]).requires_grad_()
    loss = pairwise_logistic_loss(scores, torch.tensor([0.0, 0.0, 0.0, 1.0]), topk=1)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient.tolist() == pytest.approx([sigmoid(3.0), 0.0, 0.0, -sigmoid(3.0)], rel=1e-6)


@pytest.mark.parametrize("loss", LOSSES)
def test_tensorflow_ranking_73_monotone_relabelling_changes_nothing(loss: Loss) -> None:
    s, y, w = drawn(20)
    for relabelled in (10 * y - 3, y**3, torch.exp2(y)):
        assert loss(s, relabelled, weight=w, ties="half").item() == loss(s, y, weight=w, ties="half").item()


def test_ranknet_asks_for_equal_scores_of_a_tie() -> None:
    """P = 1/2: (log(1 + e^-d) + log(1 + e^d)) / 2, ln 2 at best."""
    equal, apart = torch.zeros(2), torch.tensor([0.0, 2.0])
    grades = torch.ones(2)
    assert pairwise_logistic_loss(equal, grades, ties="half").item() == pytest.approx(math.log(2))
    assert pairwise_logistic_loss(apart, grades, ties="half").item() == pytest.approx(math.log(1 + math.exp(2)) - 1)


def test_a_tied_pair_of_the_soft_count_is_half_wrong_whatever_the_scores() -> None:
    scores = torch.tensor([0.0, 5.0], dtype=torch.float64).requires_grad_()
    loss = pairwise_soft_zero_one_loss(scores, torch.ones(2), ties="half")
    assert loss.item() == pytest.approx(0.5)
    assert torch.autograd.grad(loss, scores)[0].abs().max() < 1e-15


def test_far_apart_the_soft_count_is_one_less_auc() -> None:
    s, grades = torch.randperm(30).double(), (torch.arange(30) % 3 == 0).double()
    wrong = sum(float(a < b) for a in s[grades == 1] for b in s[grades == 0]) / (10 * 20)
    assert pairwise_soft_zero_one_loss(1000 * s, grades).item() == pytest.approx(wrong, rel=1e-12)


@pytest.mark.parametrize("weight", [DeltaNDCG(k=3), NDCGLoss2(), DeltaMAP()])
@pytest.mark.parametrize("loss", [*LOSSES, pairwise_hinge_loss])
@pytest.mark.parametrize(
    "law",
    [
        "padding_changes_nothing",
        "the_order_of_items_does_not_matter",
        "extreme_inputs_stay_finite",
        "half_precision_is_computed_in_float32",
        "nothing_to_learn_is_a_connected_zero",
    ],
)
def test_lambda_weights_obey_the_laws(law: str, loss: Loss, weight: LambdaWeight) -> None:
    """They are no variant of the card: their gradient is the derivative of no value."""
    LAWS[law](CATALOGUE[loss.__name__], {"lambda_weight": weight})


def test_lambda_weights_compile() -> None:
    LAWS["compiles_as_one_graph"](CATALOGUE["pairwise_logistic_loss"], {"lambda_weight": NDCGLoss2PlusPlus()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_scores_are_computed_in_float32(loss: Loss, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = (8 * torch.randn(3, 40, generator=generator)).to(dtype).requires_grad_()
    grades = torch.randint(5, (3, 40), generator=generator)
    wide = scores.detach().double().requires_grad_()
    found, exact = loss(scores, grades), loss(wide, grades)
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(exact.item(), rel=1e-6)
    mine, right = torch.autograd.grad(found, scores)[0], torch.autograd.grad(exact, wide)[0]
    assert mine.dtype == dtype
    torch.testing.assert_close(mine.double(), right, rtol=4 * torch.finfo(dtype).eps, atol=1e-7)
