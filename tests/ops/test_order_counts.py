"""Pairs short of a margin against a loop over all pairs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losskit.ops.order_counts import pairs_short_of

ITEMS = st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5), st.booleans()), max_size=14)


@settings(max_examples=80, deadline=None)
@given(ITEMS, st.sampled_from([-1.0, 0.0, 2.0, 0.5]), st.booleans())
def test_the_count_is_that_of_a_loop(items: list[tuple[int, int, bool]], margin: float, touching: bool) -> None:
    scores, relevance, valid = (torch.tensor([[item[k] for item in items]]) for k in range(3))
    found = pairs_short_of(margin, scores.double(), relevance.double(), valid.bool(), touching=touching)
    seen = [(s, y) for s, y, there in items if there]
    apart = [s - t for s, y in seen for t, z in seen if y > z]
    assert found.tolist() == [sum(d < margin or (touching and d == margin) for d in apart)]


@pytest.mark.parametrize("grades", [2, 5, 1000])
def test_many_lists_at_once_are_each_list_alone(grades: int) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 40, generator=generator, dtype=torch.float64).round(decimals=1)
    relevance = torch.randint(grades, (5, 40), generator=generator).double()
    valid = torch.rand(5, 40, generator=generator) < 0.8
    found = pairs_short_of(0.0, scores, relevance, valid)
    alone = [pairs_short_of(0.0, s[v][None], y[v][None], v[v][None]) for s, y, v in zip(scores, relevance, valid, strict=True)]
    assert torch.equal(found, torch.cat(alone))
    assert found.sum() > 0
