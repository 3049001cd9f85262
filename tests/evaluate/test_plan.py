"""Windows: every token once, with a context; counted without being listed."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from losskit.evaluate.plan import Plan, contexts


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    prefix = draw(st.sampled_from(["every", "first", "none"]))
    window = draw(st.integers(2, 12))
    return Plan(window, draw(st.integers(1, window - (prefix == "every"))), prefix)


@given(plans(), st.integers(0, 60))
def test_every_token_is_scored_once_after_at_least_one_position(plan: Plan, tokens: int) -> None:
    plan.check()
    windows = list(plan.windows(tokens))
    assert [t for w in windows for t in range(w.first, w.stop)] == list(range(tokens))[plan.prefix == "none" :]
    for w in windows:
        assert 1 <= w.read <= plan.window
        assert w.context >= 1
        assert w.first - w.start >= (0 if w is windows[0] else 1)  # at least one token of its own document
    assert plan.scored(tokens) == sum(w.stop - w.first for w in windows)


@given(plans(), st.integers(0, 60))
def test_where_a_window_lies_does_not_depend_on_what_comes_after(plan: Plan, tokens: int) -> None:
    longer = list(plan.windows(tokens + 5))
    for one, other in zip(plan.windows(tokens), longer, strict=False):
        assert one._replace(stop=0) == other._replace(stop=0)


@given(plans(), st.lists(st.integers(0, 60), max_size=4))
def test_costs_and_contexts_are_those_of_the_windows(plan: Plan, lengths: list[int]) -> None:
    seen: Counter[int] = Counter()
    for tokens in lengths:
        windows = list(plan.windows(tokens))
        assert plan.cost(tokens) == (len(windows), sum(w.read for w in windows))
        seen.update(w.context + t - w.first for w in windows for t in range(w.first, w.stop))
    found = contexts(plan, lengths)
    if not seen:
        assert found is None
        return
    assert found is not None
    assert (found.least, found.most) == (min(seen), max(seen))
    assert found.mean == pytest.approx(sum(c * n for c, n in seen.items()) / seen.total())
    assert sum(n for c, n in seen.items() if c >= found.p05) >= 0.95 * seen.total()


def test_a_hundred_million_tokens_are_counted_at_once() -> None:
    count, read = Plan(2048, 512, "every").cost(100_000_000)
    assert count == 1 + -(-(100_000_000 - 2048) // 512)
    assert read > 3.9e8
