"""Weights of the pairs of a list, counted, against a double loop."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from losskit.ops.pair_counts import pair_weight


def drawn(size: int, grades: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(size + 10 * grades)
    scores = (2 * torch.randn(3, size, generator=g)).round()
    weight = torch.rand(3, size, generator=g, dtype=torch.float64)
    return scores, torch.randint(grades, (3, size), generator=g).double(), torch.rand(3, size, generator=g) < 0.8, weight


def by_pairs(
    scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, topk: int | None, half: bool
) -> list[float]:
    totals: list[float] = []
    for row in range(len(scores)):
        items = [i for i, there in enumerate(valid[row].tolist()) if there]
        s, y = scores[row].tolist(), relevance[row].tolist()
        w = [1.0] * len(s) if weight is None else weight[row].tolist()
        top = {i for i in items if topk is None or sum(s[j] > s[i] for j in items) < topk}
        total = 0.0
        for i, j in itertools.combinations(items, 2):
            if i in top or j in top:
                total += (w[i] + w[j]) / 2 * half if y[i] == y[j] else w[i] if y[i] > y[j] else w[j]
        totals.append(total)
    return totals


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("topk", [None, 1, 3, 100])
@pytest.mark.parametrize("weighted", [False, True])
def test_it_is_the_weight_of_all_pairs(weighted: bool, topk: int | None, half: bool) -> None:
    for size, grades in itertools.product((0, 1, 2, 7, 50), (1, 2, 5, 50)):
        scores, relevance, valid, weight = drawn(size, grades)
        given = scores, relevance, valid, weight if weighted else None
        found = pair_weight(*given, topk=topk, half=half)
        assert found.dtype == torch.float64
        assert found.tolist() == pytest.approx(by_pairs(*given, topk, half), rel=1e-13, abs=1e-13)


def test_what_is_not_valid_may_be_nan_and_infinite_grades_are_no_padding() -> None:
    scores, relevance, valid, weight = drawn(50, 5)
    relevance = torch.where(relevance == 4, torch.inf, relevance)
    lost = [torch.where(valid, t, torch.nan) for t in (scores, relevance, weight)]
    for topk, half in itertools.product((None, 3), (False, True)):
        found = pair_weight(lost[0], lost[1], valid, lost[2], topk=topk, half=half)
        assert found.tolist() == pytest.approx(by_pairs(scores, relevance, valid, weight, topk, half), rel=1e-13)


def test_a_million_equal_items_are_counted_exactly() -> None:
    size = 10**6
    scores, valid = torch.zeros(1, size), torch.ones(1, size, dtype=torch.bool)
    same, two = torch.zeros(1, size), (torch.arange(size)[None] < 3).double()
    assert pair_weight(scores, same, valid, None, topk=None, half=False).item() == 0
    assert pair_weight(scores, same, valid, None, topk=None, half=True).item() == size * (size - 1) / 2
    assert pair_weight(scores, two, valid, None, topk=10, half=False).item() == 3 * (size - 3)


def test_it_has_no_gradient() -> None:
    scores, relevance, valid, weight = drawn(7, 3)
    found = pair_weight(scores.requires_grad_(), relevance, valid, weight.requires_grad_(), topk=2, half=True)
    assert not found.requires_grad
    assert found.any()
