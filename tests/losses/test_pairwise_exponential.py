"""The exponential loss against the double loop: value and gradient, weights, ties, lambda weights, the top, the far ends."""

from __future__ import annotations

import math
from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit


def precision_change(scores: Tensor, relevance: Tensor, i: int, j: int, k: int) -> float:
    """What Precision@k loses when i and j change places, for scores that are all different."""
    rank = scores.argsort(descending=True).argsort()
    return abs(int(relevance[i] > 0) - int(relevance[j] > 0)) * abs(int(rank[i] < k) - int(rank[j] < k)) / k


def loop(
    scores: Tensor, relevance: Tensor, weight: Tensor, topk: int | None = None, ties: str = "drop", lambda_weight: Any = None
) -> Tensor:
    """The mean over the pairs of one list."""
    total, number = scores.sum() * 0, 0.0
    better = [int((scores > s).sum()) for s in scores.detach()]
    for i, j in permutations(range(len(scores)), 2):
        if topk is not None and min(better[i], better[j]) >= topk:
            continue
        if relevance[i] > relevance[j]:
            lam = 1.0 if lambda_weight is None else precision_change(scores, relevance, i, j, lambda_weight.k)
            total = total + float(weight[i]) * lam * torch.exp(scores[j] - scores[i])
            number += float(weight[i])
        elif ties == "half" and relevance[i] == relevance[j] and i < j:
            w = float(weight[i] + weight[j]) / 2
            total = total + w * (torch.exp(scores[j] - scores[i]) + torch.exp(scores[i] - scores[j])) / 2
            number += w
    return total / number if number else total


def lists(n: int, grades: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    scores = 2 * torch.randn(3, n, generator=generator, dtype=torch.float64)
    weight = torch.where(torch.rand(3, n, generator=generator) < 0.2, 0, torch.rand(3, n, generator=generator)).double()
    return scores, torch.randint(0, grades, (3, n), generator=generator).double(), weight


OPTIONS: list[dict[str, Any]] = [
    {},
    {"ties": "half"},
    {"topk": 2},
    {"topk": 2, "ties": "half"},
    {"lambda_weight": losskit.DeltaPrecision(k=3)},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_are_those_of_the_double_loop(options: dict[str, Any], n: int, weighted: bool) -> None:
    scores, relevance, weight = lists(n)
    scores.requires_grad_()
    value = losskit.pairwise_exponential_loss(scores, relevance, weight=weight if weighted else None, reduction="none", **options)
    weight = weight if weighted else torch.ones_like(weight)
    wanted = torch.stack([loop(*row, **options) for row in zip(scores, relevance, weight, strict=True)])
    (slope,), (pull,) = torch.autograd.grad(value.sum(), scores), torch.autograd.grad(wanted.sum(), scores)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, pull, rtol=1e-12, atol=1e-12)
    assert n < 7 or (value.any() and pull.any())


def test_scores_a_hundred_apart_on_either_side_keep_their_digits() -> None:
    for gap in (100.0, -100.0):
        scores = torch.tensor([[gap, 0.0]], dtype=torch.float64, requires_grad=True)
        value = losskit.pairwise_exponential_loss(scores, torch.tensor([[1, 0]]))
        assert value.item() == pytest.approx(math.exp(-gap), rel=1e-13, abs=0)
        (slope,) = torch.autograd.grad(value, scores)
        assert slope.tolist() == [
            [pytest.approx(-math.exp(-gap), rel=1e-13, abs=0), pytest.approx(math.exp(-gap), rel=1e-13, abs=0)]
        ]


def test_float32_reaches_eighty_on_the_wrong_side() -> None:
    scores = torch.tensor([[-40.0, 40.0]], requires_grad=True)
    value = losskit.pairwise_exponential_loss(scores, torch.tensor([[1, 0]]))
    (slope,) = torch.autograd.grad(value, scores)
    assert value.item() == pytest.approx(math.exp(80), rel=1e-6)
    assert slope.tolist() == [[pytest.approx(-math.exp(80), rel=1e-6), pytest.approx(math.exp(80), rel=1e-6)]]


def test_items_of_one_grade_are_no_pair_unless_asked_for() -> None:
    scores, relevance = torch.tensor([[2.0, 0.0, 1.0]], dtype=torch.float64), torch.ones(1, 3)
    parts = losskit.parts(losskit.pairwise_exponential_loss, scores, relevance)
    assert (parts.total.item(), parts.weight.item()) == (0, 0)
    half = losskit.pairwise_exponential_loss(scores, relevance, ties="half")
    assert half.item() == pytest.approx((math.cosh(2) + 2 * math.cosh(1)) / 3, rel=1e-14)


def test_half_of_ties_and_a_metric_are_refused_together() -> None:
    with pytest.raises(ValueError, match=r'"ties" is "half", expected "drop"'):
        losskit.pairwise_exponential_loss(torch.zeros(1, 2), torch.zeros(1, 2), ties="half", lambda_weight=losskit.DeltaMAP())


def test_one_pair_far_on_the_wrong_side_rules_the_gradient() -> None:
    scores = torch.tensor([[-10.0, 0.0, 0.0, 0.0]], requires_grad=True)
    value = losskit.pairwise_exponential_loss(scores, torch.tensor([[2, 1, 0, 0]]))
    (slope,) = torch.autograd.grad(value, scores)
    number = 3 + 2
    assert slope[0, 0].item() == pytest.approx(-3 * math.exp(10) / number, rel=1e-6)
    assert slope[0, 1].item() == pytest.approx((math.exp(10) - 2) / number, rel=1e-6)
