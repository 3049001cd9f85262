"""The rows that a loss of lists sees: padding and NaN away, ragged lists in groups, and the mean over them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.losses.lists import Found, Lists, over_lists

SCORES = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=torch.float64)
SEEN: list[Lists] = []


def total(lists: Lists) -> Found:
    """The sum of a list's scores; a list without items has nothing to learn."""
    SEEN.append(lists)
    return Found((lists.scores * lists.counts).sum(-1), lists.valid.any(-1))


def summed(scores: Tensor, relevance: Tensor | None = None, *, reduction: Any = "none", **given: Tensor | None) -> Tensor:
    SEEN.clear()
    relevance = torch.zeros_like(scores) if relevance is None else relevance
    options = dict.fromkeys(("mask", "weight", "query_weight", "offsets")) | given
    return over_lists(total, scores, relevance, *options.values(), reduction, None)


def test_leading_axes_come_back() -> None:
    assert summed(torch.ones(2, 3, 4)).tolist() == [[4.0] * 3] * 2
    assert summed(torch.ones(4)).shape == ()
    assert summed(torch.ones(2, 0)).tolist() == [0.0, 0.0]
    assert summed(torch.ones(0, 3)).shape == (0,)


def test_what_is_masked_is_0_for_the_body() -> None:
    mask = torch.tensor([[True, False, True], [False, False, False]])
    bad = SCORES.masked_fill(~mask, math.nan)
    assert summed(bad, bad, mask=mask, weight=bad).tolist() == [1.0 + 9.0, 0.0]
    (lists,) = SEEN
    assert lists.scores[~mask].tolist() == lists.relevance[~mask].tolist() == [0.0] * 4
    assert summed(bad, mask=mask, reduction="mean") == 4.0


def test_a_nan_that_counts_makes_its_list_nan_and_no_other() -> None:
    for place in ("scores", "relevance"):
        given = {name: SCORES.clone() for name in ("scores", "relevance")}
        given[place][0, 1] = math.nan
        found = summed(given["scores"], given["relevance"])
        assert found[0].isnan(), place
        assert found[1] == 15.0
        assert summed(given["scores"], given["relevance"], reduction="mean").isnan()


def test_a_nan_does_not_cut_the_graph() -> None:
    bad = SCORES.clone()
    bad[0, 0] = math.nan
    leaf = bad.requires_grad_()
    summed(leaf).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad[0, 0].isnan()
    assert leaf.grad[1].tolist() == [1.0] * 3


def test_a_list_of_weight_0_is_not_even_looked_at() -> None:
    bad = SCORES.clone()
    bad[0] = math.nan
    weight = torch.tensor([0.0, 2.0], dtype=torch.float64)
    assert summed(bad, query_weight=weight).tolist() == [0.0, 30.0]
    assert summed(bad, query_weight=weight, reduction="mean") == 15.0
    assert not SEEN[0].valid[0].any()


def test_ragged_lists_come_in_groups_of_about_one_length() -> None:
    lengths = torch.tensor([3, 900, 0, 1, 4, 700, 2])
    offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    scores = torch.rand(int(offsets[-1]), dtype=torch.float64)
    found = summed(scores, offsets=offsets)
    torch.testing.assert_close(found, torch.stack([part.sum() for part in scores.split(lengths.tolist())]))
    assert sum(lists.scores.numel() for lists in SEEN) <= 2 * len(scores)


def test_weights_of_ragged_lists_are_those_of_their_lists() -> None:
    offsets, weight = torch.tensor([0, 2, 2, 3]), torch.tensor([1.0, 5.0, 3.0])
    flat = torch.tensor([1.0, 2.0, 4.0])
    assert summed(flat, offsets=offsets, query_weight=weight, reduction="mean") == (3.0 + 3 * 4.0) / (1.0 + 3.0)
    assert summed(flat, offsets=offsets, query_weight=weight * 0).tolist() == [0.0] * 3
    assert summed(flat[:0], offsets=torch.tensor([0])).shape == (0,)
    assert summed(flat[:0], offsets=torch.tensor([0, 0, 0])).tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("offsets", "says"),
    [
        ([0, 2], "goes from 0 to 2, expected from 0 to 3"),
        ([1, 3], "goes from 1 to 3"),
        ([0, 2, 1, 3], "falls from 2 to 1 at index 2"),
    ],
)
def test_offsets_that_are_no_offsets_are_refused(offsets: list[int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        summed(torch.ones(3), offsets=torch.tensor(offsets))


def test_half_precision_becomes_float32() -> None:
    (value,) = {summed(SCORES.to(dtype)).dtype for dtype in (torch.float16, torch.bfloat16, torch.float32)}
    assert value == torch.float32
    assert summed(SCORES).dtype == torch.float64
