"""A record written and read again is the record, whatever is zero in it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluate_helpers_models import hosted
from evaluate_tokenizers import tokenizer
from losskit.evaluate import perplexity, read_report
from losskit.evaluate.records import Divergence, DocumentScore, Surprise, context_bin, context_of

counts = st.none() | st.integers(0, 3)
floats = st.floats(0, 1e6)
records = st.builds(
    DocumentScore,
    id=st.text(),
    group=st.none() | st.text(max_size=3),
    nats=floats,
    squares=floats,
    tokens=st.integers(0, 3),
    unscored=st.integers(0, 3),
    bytes=counts,
    characters=counts,
    words=counts,
    contexts=st.dictionaries(st.integers(0, 40), st.tuples(floats, st.integers(1, 9)), max_size=3),
    worst=st.none() | st.builds(Surprise, st.integers(0, 9), floats, st.text(max_size=3), st.text(max_size=3)),
    blocks=st.lists(st.tuples(floats, st.integers(0, 9), counts, counts, counts), max_size=2).map(tuple),
    nonfinite=st.integers(0, 2),
    divergence=st.none()
    | st.builds(
        Divergence, floats, floats, st.integers(0, 9), floats, st.dictionaries(st.integers(0, 99), st.integers(1, 9), max_size=3)
    ),
)


@given(records)
def test_a_record_comes_back_from_json_as_it_was(record: DocumentScore) -> None:
    assert DocumentScore.from_json(json.loads(json.dumps(record.to_json()))) == record


def test_a_text_without_a_word_does_not_take_the_words_of_the_others(tmp_path: Any) -> None:
    texts = ["to be or not", "  ", "hello you"]
    options = {"window": 32, "bos": "auto"}
    model, words = hosted("llama"), tokenizer("byte", bos=True)
    live = perplexity(model, words, texts, **options)
    journaled = [perplexity(model, words, texts, resume=tmp_path / "journal", **options) for _ in range(2)]
    live.to_json(tmp_path / "report.json")
    for report in (*journaled, read_report(tmp_path / "report.json")):
        assert report.overall == live.overall
    assert live.overall.amounts["word"] == 6


@pytest.mark.parametrize("length", range(1, 200))
def test_a_context_is_in_the_bin_that_begins_at_or_before_it(length: int) -> None:
    bin = context_bin(length)
    assert context_of(bin) <= length < context_of(bin + 1)
