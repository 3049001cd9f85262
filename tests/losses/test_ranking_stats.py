"""Numbers of a batch of lists, against counting by hand."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch

import losskit
from losskit.losses.ranking_stats import ranking_stats

SCORES = torch.tensor([[9.0, 1.0, 1.0, -9.0], [2.0, 2.0, 2.0, 2.0], [0.0, 5.0, 0.0, 0.0]])
RELEVANCE = torch.tensor([[0, 2, 1, 1], [1, 1, 1, 1], [3, 0, 0, 0]])


def test_pairs_are_counted_as_by_hand() -> None:
    found = ranking_stats(SCORES, RELEVANCE)
    # 1 above 0 thrice: far behind 9 each; 2 above the 1s: a tie, and far ahead; 3 above 0s: behind by 5, two ties
    apart = [
        float(s[i] - s[j]) for s, y in zip(SCORES, RELEVANCE, strict=True) for i in range(4) for j in range(4) if y[i] > y[j]
    ]
    assert found.pairs == len(apart)
    assert found.in_order == pytest.approx(sum((d > 0) + (d == 0) / 2 for d in apart) / len(apart))
    assert found.equal_scores == pytest.approx(sum(d == 0 for d in apart) / len(apart))
    assert found.saturated == pytest.approx(sum(d > math.log(99) for d in apart) / len(apart))
    assert found.far_wrong == pytest.approx(sum(d < -math.log(99) for d in apart) / len(apart))
    alike = sum(y[i] == y[j] for y in RELEVANCE.tolist() for i, j in combinations(range(4), 2))
    assert found.equal_relevance == pytest.approx(alike / 18)


def test_lists_are_counted_by_what_they_lack() -> None:
    found = ranking_stats(SCORES, torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1], [3, 0, 0, 0]]))
    assert (found.lists, found.items) == (3, 4.0)
    assert found.without_pair == pytest.approx(2 / 3)
    assert found.without_relevant == pytest.approx(1 / 3)
    assert found.largest == 18.0
    assert found.spread == pytest.approx(float(SCORES.std(-1, correction=0).mean()))


def test_padding_and_ragged_lists_are_the_lists_themselves() -> None:
    lengths = [4, 0, 1, 3]
    generator = torch.Generator().manual_seed(0)
    scores, relevance = torch.randn(8, generator=generator), torch.randint(3, (8,), generator=generator)
    flat = ranking_stats(scores, relevance, offsets=torch.tensor([0, *lengths]).cumsum(0))
    mask = torch.arange(5) < torch.tensor(lengths)[:, None]
    padded = torch.full((4, 5), math.nan).masked_scatter(mask, scores)
    assert ranking_stats(padded, torch.zeros(4, 5, dtype=torch.long).masked_scatter(mask, relevance), mask=mask) == flat
    assert flat.lists == 3


def test_nan_is_counted_and_left_out() -> None:
    bad = SCORES.clone()
    bad[0, 0] = math.nan
    found = ranking_stats(bad, RELEVANCE)
    assert found.nan == 1
    assert "nan        1 items" in str(found)
    mask = torch.ones(3, 4, dtype=torch.bool)
    mask[0, 0] = False
    assert found._replace(nan=0) == ranking_stats(SCORES, RELEVANCE, mask=mask)


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
def test_nothing_gives_nan_where_there_is_nothing_to_average(shape: tuple[int, ...]) -> None:
    found = ranking_stats(torch.zeros(shape), torch.zeros(shape))
    assert (found.lists, found.pairs, found.largest) == (0, 0, 0.0)
    assert math.isnan(found.in_order)
    assert math.isnan(found.spread)
    assert str(found)


def test_errors_are_those_of_a_loss() -> None:
    with pytest.raises(losskit.ShapeError, match='"relevance" has shape'):
        ranking_stats(SCORES, RELEVANCE[0])
    with pytest.raises(TypeError, match='"scores" has dtype'):
        ranking_stats(RELEVANCE, RELEVANCE)
