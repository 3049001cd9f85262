"""Vectors of swaps: differences that keep their digits, means over the places of a tie, lists that do not know each other."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor

from losskit.ops.lambda_pairs import Lambda
from losskit.ops.list_ranks import places
from losskit.ops.swaps import average_precision, by_distance, by_place, discounts, ideal


def drawn(lists: int, n: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(0, max(n // 3, 1), (lists, n), generator=generator).double()
    gain = torch.randint(0, 3, (lists, n), generator=generator).double()
    valid = torch.rand(lists, n, generator=generator) < 0.8
    return torch.where(valid, scores, 0), torch.where(valid, gain, 0), valid


def tied_places(scores: Tensor, valid: Tensor, item: int) -> range:
    """The places 1, 2, ... that an item's tie takes."""
    above = int((valid & (scores > scores[item])).sum())
    return range(above + 1, above + 1 + int((valid & (scores == scores[item])).sum()))


@pytest.mark.parametrize("k", [None, 1, 3, 9])
def test_discounts_end_after_k_places_and_their_steps_add_up_to_them(k: int | None) -> None:
    table, gaps = discounts(6, k, torch.device("cpu"))
    wanted = [1 / math.log2(1 + r) if k is None or r <= k else 0.0 for r in range(1, 8)]
    assert table.tolist() == pytest.approx(wanted[:6], rel=1e-15)
    end = wanted[6] if k is None or k > 6 else 0.0
    torch.testing.assert_close(gaps.flip(0).cumsum(0).flip(0) + end, table, rtol=1e-14, atol=1e-16)


def test_the_ideal_has_the_highest_grades_first() -> None:
    _, gain, valid = drawn(4, 9)
    table, _ = discounts(9, 4, torch.device("cpu"))
    for b in range(4):
        best = sorted(gain[b][valid[b]].tolist(), reverse=True)
        wanted = sum(g / math.log2(2 + r) for r, g in enumerate(best[:4]))
        assert ideal(gain, gain, valid, table)[b].item() == pytest.approx(wanted, rel=1e-14)


@pytest.mark.parametrize("n", [1, 2, 7, 50])
def test_a_tie_has_the_mean_of_its_places_and_of_their_differences(n: int) -> None:
    scores, gain, valid = drawn(5, n)
    table, gaps = discounts(n, 5, torch.device("cpu"))
    found = by_place(gain, places(scores, valid), table, gaps)
    assert found.ordered is found.swapped is not None
    assert found.tied is not None
    for b in range(5):
        for item in valid[b].nonzero()[:, 0].tolist():
            values = [float(table[r - 1]) for r in tied_places(scores[b], valid[b], item)]
            apart = [abs(p - q) for p, q in combinations(values, 2)]
            assert found.ordered[b, item].item() == pytest.approx(sum(values) / len(values), rel=1e-14)
            assert found.tied[b, item].item() == pytest.approx(sum(apart) / max(len(apart), 1), rel=1e-13)


def test_the_distance_of_two_ties_is_that_of_their_middles() -> None:
    scores, gain, valid = drawn(5, 12)
    found = by_distance(gain, places(scores, valid), 0.25)
    assert (found.ordered, found.mu) == (None, 0.25)
    assert found.rank is not None
    assert found.apart is not None
    for b in range(5):
        for item in valid[b].nonzero()[:, 0].tolist():
            there = tied_places(scores[b], valid[b], item)
            apart = [abs(p - q) for p, q in combinations(there, 2)]
            assert found.rank[b, item].item() == pytest.approx(sum(there) / len(there), rel=1e-15)
            assert not apart or found.apart[b, item].item() == pytest.approx(sum(apart) / len(apart), rel=1e-15)


def test_both_kinds_of_weight_stand_beside_each_other() -> None:
    scores, gain, valid = drawn(2, 6)
    at, (table, gaps) = places(scores, valid), discounts(6, None, torch.device("cpu"))
    alone, both = by_place(gain, at, table, gaps), by_distance(gain, at, 3.0, by_place(gain, at, table, gaps))
    assert both.mu == 3
    for one, other in zip(alone[:4], both[:4], strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


def of_each_kind(scores: Tensor, gain: Tensor, valid: Tensor) -> list[Lambda]:
    at, (table, gaps) = places(scores, valid), discounts(scores.shape[-1], None, scores.device)
    return [
        by_place(gain, at, table, gaps),
        by_distance(gain, at, 1.0),
        average_precision((gain > 0).double() * valid, at),
    ]


def test_lists_do_not_know_each_other() -> None:
    given = drawn(4, 10, seed=2)
    together = of_each_kind(*given)
    for b in range(4):
        for all_lists, alone in zip(together, of_each_kind(*(t[b : b + 1] for t in given)), strict=True):
            for one, other in zip(all_lists[:6], alone[:6], strict=True):
                assert (one is None) == (other is None)
                if one is not None and other is not None:
                    torch.testing.assert_close(one[b : b + 1], other, rtol=0, atol=0)


@pytest.mark.parametrize("shape", [(2, 0), (0, 3)])
def test_lists_without_items_and_no_lists_have_vectors_too(shape: tuple[int, int]) -> None:
    nothing = torch.zeros(shape, dtype=torch.float64)
    for found in of_each_kind(nothing, nothing, torch.ones(shape, dtype=torch.bool)):
        assert all(t is None or t.shape == shape for t in found[:6])


def test_average_precision_of_a_list_where_all_or_none_is_relevant_is_finite() -> None:
    scores, valid = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.0]], dtype=torch.float64), torch.ones(1, 5, dtype=torch.bool)
    for relevant in (torch.zeros_like(scores), torch.ones_like(scores)):
        found = average_precision(relevant, places(scores, valid))
        assert all(t is None or t.isfinite().all() for t in found[:6])
        torch.testing.assert_close(found.gain, relevant / 5)


def test_a_million_places_down_two_tied_items_still_differ() -> None:
    n = 1_000_000
    scores, valid = torch.arange(n, 0, -1, dtype=torch.float64)[None].clone(), torch.ones(1, n, dtype=torch.bool)
    scores[0, -1] = scores[0, -2]
    at, (table, gaps) = places(scores, valid), discounts(n, None, scores.device)
    last = torch.zeros_like(scores).index_fill(1, torch.tensor(n - 1), 1)
    middle = n + 0.5
    for found, wanted in (
        (by_place(scores, at, table, gaps), math.log(2) / (middle * math.log(middle) ** 2)),
        (average_precision(last, at), 1 / ((n - 1) * n)),
    ):
        assert found.tied is not None
        assert found.tied[0, -1].item() == pytest.approx(wanted, rel=1e-10, abs=0)
