"""Places of items by score, ties and padding; the sort by bits against torch's own."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losskit.ops import list_ranks
from losskit.ops.list_ranks import begins, order, places, runs, valid_first

NUMBERS = st.floats(width=32, allow_nan=False, allow_subnormal=True)


@settings(max_examples=60, deadline=None)
@given(st.lists(NUMBERS | st.sampled_from([0.0, -0.0, math.inf, -math.inf, 1.0]), max_size=30), st.booleans(), st.booleans())
def test_the_order_is_that_of_a_stable_sort(numbers: list[float], double: bool, descending: bool) -> None:
    key = torch.tensor(numbers, dtype=torch.float64 if double else torch.float32)
    assert torch.equal(order(key, descending=descending), key.argsort(descending=descending, stable=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("descending", [False, True])
def test_long_rows_are_ordered_one_by_one(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, descending: bool) -> None:
    monkeypatch.setattr(list_ranks, "_RADIX", 5)
    for shape in ((1, 30), (2, 3, 30), (0, 30), (30,)):
        key = (3 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).round().to(dtype)
        assert torch.equal(order(key, descending=descending), key.argsort(dim=-1, descending=descending, stable=True))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int8, torch.uint8])
def test_the_ends_of_whole_numbers_are_ordered(dtype: torch.dtype) -> None:
    ends = torch.iinfo(dtype)
    key = torch.tensor([0, ends.min, ends.max, ends.min, 1], dtype=dtype)
    assert order(key, descending=True).tolist() == [2, 4, 0, 1, 3]


def test_zeros_of_both_signs_tie_and_nan_comes_last() -> None:
    key = torch.tensor([math.nan, 0.0, -0.0, -math.nan, -1.0])
    assert order(key).tolist() == [4, 1, 2, 0, 3]
    assert order(key, descending=True).tolist() == [1, 2, 4, 0, 3]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_other_types_are_ordered_too(dtype: torch.dtype) -> None:
    key = torch.randint(4, (3, 20), generator=torch.Generator().manual_seed(0)).to(dtype)
    assert torch.equal(order(key), key.to(torch.int64).argsort(dim=-1, stable=True))
    assert torch.equal(order(key, descending=True), key.to(torch.int64).argsort(dim=-1, descending=True, stable=True))


def test_the_order_is_the_same_in_a_map_and_in_a_compiled_graph() -> None:
    key = torch.randn(4, 3, 9, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    assert torch.equal(torch.vmap(order)(key), order(key))
    torch.compiler.reset()
    assert torch.equal(torch.compile(order, fullgraph=True, backend="aot_eager")(key), order(key))


def test_places_are_the_same_in_a_map() -> None:
    scores = torch.randn(4, 2, 9, generator=torch.Generator().manual_seed(0)).round()
    valid = torch.rand(4, 2, 9, generator=torch.Generator().manual_seed(1)) < 0.8
    for mapped, straight in zip(torch.vmap(places)(scores, valid), zip(*map(places, scores, valid), strict=True), strict=True):
        assert torch.equal(mapped, torch.stack(straight))


def by_hand(scores: list[float], valid: list[bool]) -> tuple[list[int], list[int]]:
    above = [sum(v and t > s for t, v in zip(scores, valid, strict=True)) for s in scores]
    tied = [sum(v and t == s for t, v in zip(scores, valid, strict=True)) for s in scores]
    return above, tied


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-2, 2), st.booleans()), min_size=1, max_size=12))
def test_places_count_what_scores_higher_and_what_scores_the_same(items: list[tuple[int, bool]]) -> None:
    scores, valid = [float(s) for s, _ in items], [v for _, v in items]
    at = places(torch.tensor([scores]), torch.tensor([valid]))
    above, tied = by_hand(scores, valid)
    for place, there in enumerate(valid):
        if there:
            assert (int(at.above[0, place]), int(at.tied[0, place])) == (above[place], tied[place])
        else:
            assert (int(at.above[0, place]), int(at.tied[0, place])) == (sum(valid), 1)


def test_a_list_without_items_has_no_places() -> None:
    at = places(torch.zeros(2, 0), torch.zeros(2, 0, dtype=torch.bool))
    assert at.above.shape == at.tied.shape == (2, 0)


def test_a_run_begins_where_any_key_changes() -> None:
    one, other = torch.tensor([[1.0, 1.0, 1.0, math.nan, math.nan]]), torch.tensor([[0, 0, 2, 2, 2]])
    assert begins(one).tolist() == [[True, False, False, True, True]]
    assert begins(other).tolist() == [[True, False, True, False, False]]
    assert begins(one[0], other[0]).tolist() == [True, False, True, True, True]
    assert begins(one[:, :0], other[:, :0]).shape == (1, 0)


def test_what_is_not_valid_goes_behind_in_the_same_order() -> None:
    at, valid = torch.tensor([[3, 1, 0, 2]]), torch.tensor([[True, False, True, False]])
    assert valid_first(at, valid).tolist() == [[0, 2, 3, 1]]


def test_runs_say_where_each_place_begins_and_ends() -> None:
    begins = torch.tensor([[True, False, True, False, False], [True, True, False, False, True]])
    first, after = runs(begins)
    assert first.tolist() == [[0, 0, 2, 2, 2], [0, 1, 1, 1, 4]]
    assert after.tolist() == [[2, 2, 5, 5, 5], [1, 4, 4, 4, 5]]


def test_order_waits_for_no_gradient() -> None:
    key: Tensor = torch.randn(3, requires_grad=True)
    assert not order(key).requires_grad
