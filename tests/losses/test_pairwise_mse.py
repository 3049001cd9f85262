"""Pairwise squared error against the double loop: value and gradient, weights, lambda weights, the top of the list."""

from __future__ import annotations

import math
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit


def discount(rank: int, k: int | None) -> float:
    return 1 / math.log2(1 + rank) if k is None or rank <= k else 0.0


def delta_ndcg(scores: Tensor, relevance: Tensor, i: int, j: int, k: int | None) -> float:
    """|G_i - G_j| |D_i - D_j| / ideal DCG@k, for scores that are all different."""
    rank = {item: r for r, item in enumerate(scores.argsort(descending=True).tolist(), 1)}
    best = sum((2**y - 1) * discount(r, k) for r, y in enumerate(sorted(relevance.tolist(), reverse=True), 1))
    gain = abs(2 ** float(relevance[i]) - 2 ** float(relevance[j]))
    return gain * abs(discount(rank[i], k) - discount(rank[j], k)) / best if best else 0.0


def loop(scores: Tensor, relevance: Tensor, weight: Tensor, topk: int | None = None, lambda_weight: Any = None) -> Tensor:
    """The mean over the pairs of one list."""
    total, number = scores.sum() * 0, 0.0
    better = [int((scores > s).sum()) for s in scores.detach()]
    for i, j in combinations(range(len(scores)), 2):
        i, j = (i, j) if relevance[i] >= relevance[j] else (j, i)
        if topk is not None and min(better[i], better[j]) >= topk:
            continue
        tied = bool(relevance[i] == relevance[j])
        lam = 1.0
        if lambda_weight is not None:
            if tied:
                continue
            by_label = isinstance(lambda_weight, losskit.LabelDifference)
            lam = float(relevance[i] - relevance[j]) if by_label else delta_ndcg(scores, relevance, i, j, lambda_weight.k)
        w = float(weight[i] + weight[j]) / 2 if tied else float(weight[i])
        total = total + w * lam * ((scores[i] - scores[j]) - (relevance[i] - relevance[j])) ** 2
        number += w
    return total / number if number else total


def lists(n: int, seed: int = 0, grades: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed + n)
    scores = 2 * torch.randn(3, n, generator=generator, dtype=torch.float64)
    weight = torch.where(torch.rand(3, n, generator=generator) < 0.2, 0, torch.rand(3, n, generator=generator)).double()
    return scores, torch.randint(0, grades, (3, n), generator=generator).double(), weight


OPTIONS: list[dict[str, Any]] = [
    {},
    {"topk": 2},
    {"lambda_weight": losskit.LabelDifference()},
    {"lambda_weight": losskit.DeltaNDCG()},
    {"lambda_weight": losskit.DeltaNDCG(k=3), "topk": 3},
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("n", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient_are_those_of_the_double_loop(options: dict[str, Any], n: int, weighted: bool) -> None:
    scores, relevance, weight = lists(n)
    scores.requires_grad_()
    value = losskit.pairwise_mse_loss(scores, relevance, weight=weight if weighted else None, reduction="none", **options)
    weight = weight if weighted else torch.ones_like(weight)
    wanted = torch.stack([loop(*row, **options) for row in zip(scores, relevance, weight, strict=True)])
    (slope,), (pull,) = torch.autograd.grad(value.sum(), scores), torch.autograd.grad(wanted.sum(), scores)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slope, pull, rtol=1e-12, atol=1e-12)
    assert n < 7 or (value.all() and pull.any())


def test_equal_grades_ask_for_equal_scores() -> None:
    scores = torch.tensor([[3.0, 1.0, 1.0]], dtype=torch.float64, requires_grad=True)
    value = losskit.pairwise_mse_loss(scores, torch.ones(1, 3))
    torch.testing.assert_close(value.item(), (4 + 4 + 0) / 3, rtol=1e-14, atol=0)
    assert torch.autograd.grad(value, scores)[0].tolist() == [
        [pytest.approx(8 / 3), pytest.approx(-4 / 3), pytest.approx(-4 / 3)]
    ]


def test_equal_grades_are_no_pair_where_a_metric_says_what_pairs_count() -> None:
    scores, relevance = torch.tensor([[3.0, 1.0, 0.0]]), torch.ones(1, 3)
    parts = losskit.parts(losskit.pairwise_mse_loss, scores, relevance, lambda_weight=losskit.LabelDifference())
    assert (parts.total.item(), parts.weight.item()) == (0, 0)


def test_what_all_scores_of_a_list_have_in_common_does_not_matter() -> None:
    scores, relevance, _ = lists(7)
    moved = scores + torch.tensor([[100.0], [-3.0], [1e4]], dtype=torch.float64)
    torch.testing.assert_close(losskit.pairwise_mse_loss(moved, relevance), losskit.pairwise_mse_loss(scores, relevance))
    assert losskit.pairwise_mse_loss(relevance + 5, relevance).item() == pytest.approx(0, abs=1e-28)


def test_gaps_of_ten_thousand_are_right_in_half_precision() -> None:
    scores = torch.tensor([[5000.0, -5000.0]], dtype=torch.float16)
    assert losskit.pairwise_mse_loss(scores, torch.tensor([[0.0, 1.0]])).item() == pytest.approx((1e4 + 1) ** 2, rel=1e-6)


def test_pairs_are_added_or_pooled() -> None:
    scores, relevance = torch.tensor([[1.0, 0.0, 9.0], [0.0, 2.0, 5.0]]), torch.zeros(2, 3)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    squares = [1.0, 4.0 + 25.0 + 9.0]

    def value(pair_reduction: Any) -> float:
        return losskit.pairwise_mse_loss(scores, relevance, mask=mask, pair_reduction=pair_reduction).item()

    assert value("mean") == pytest.approx((squares[0] + squares[1] / 3) / 2)
    assert value("sum") == pytest.approx(sum(squares) / 2)
    assert value("pooled") == pytest.approx(sum(squares) / 4)


def test_there_is_no_option_for_ties() -> None:
    options: dict[str, Any] = {"ties": "half"}
    with pytest.raises(TypeError, match="ties"):
        losskit.pairwise_mse_loss(torch.zeros(1, 2), torch.zeros(1, 2), **options)
