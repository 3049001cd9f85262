"""Every character of a text has one owner among its tokens, so that bytes, characters and words add up to the whole."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers, processors, trainers

from evaluate_helpers_hosts import HOSTS, TANGLED, adapted, ends, pieces
from losskit.evaluate.text.spans import owned, owned_bytes
from losskit.evaluate.text.tokens import Encoded, Tokenizer, Units, units

UNICODE = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


def owner_by_definition(spans: Sequence[tuple[int, int]], length: int) -> list[int]:
    """The owner of each character, one by one."""
    found = []
    for at in range(length):
        touching = [i for i, (start, end) in enumerate(spans) if start <= at < end]
        after = [i for i, (start, end) in enumerate(spans) if start < end and start > at]
        found.append(touching[-1] if touching else after[0] if after else len(spans) - 1)
    return found


# who owns what


@pytest.mark.parametrize("name", HOSTS)
@settings(max_examples=60, deadline=None)
@given(text=UNICODE, data=st.data())
def test_units_of_any_split_of_the_tokens_add_up_to_the_whole(name: str, text: str, data: st.DataObject) -> None:
    found = ends(name, text)
    assert found == sorted(found)
    assert len(found) == len(adapted(name).encode(text).ids)
    if not found:
        return
    assert found[-1] == len(text)
    cuts = data.draw(st.lists(st.sampled_from(found), max_size=5).map(sorted))
    borders = [0, *cuts, len(text)]
    parts = [units(text, start, stop) for start, stop in pairwise(borders)]
    assert Units(*map(sum, zip(*parts, strict=True))) == units(text)


@pytest.mark.parametrize("name", HOSTS)
def test_units_of_all_tokens_add_up_on_text_with_every_trap(name: str) -> None:
    parts = [units(each) for each in pieces(name, TANGLED)]
    assert sum(part.byte for part in parts) == len(TANGLED.encode())
    assert sum(part.character for part in parts) == len(TANGLED)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), min_size=1, max_size=9), st.integers(0, 3))
def test_owners_are_those_of_the_definition(drawn: list[tuple[int, int]], tail: int) -> None:
    # overlapping, equal and with gaps, but none inside of another
    starts = sorted(start for start, _ in drawn)
    stops = sorted(start + width for start, width in drawn)
    spans = list(zip(starts, stops, strict=True))
    length = stops[-1] + tail
    owners = owner_by_definition(spans, length)
    assert owned(spans, length) == [sum(owner <= i for owner in owners) for i in range(len(spans))]


def test_a_character_split_over_tokens_is_the_last_ones() -> None:
    assert owned([(0, 1), (1, 2), (1, 2), (1, 2), (2, 3)], 3) == [1, 1, 1, 2, 3]
    assert pieces("fast-byte", "a龘b") == ["a", "", "", "龘", "b"]
    assert owned_bytes([b"a", b"\xe9", b"", b"\xbe\x98b"], "a龘b") == [1, 1, 1, 3]


def test_bytes_of_another_text_own_nothing() -> None:
    assert owned_bytes([b"A"], "a") is None


def test_what_nobody_touches_is_the_next_tokens_and_the_tail_the_last_ones() -> None:
    assert owned([(1, 3), (5, 6)], 9) == [3, 9]
    assert pieces("fast-wordpiece", "  for  for ") == ["  for", "  for "]


def test_a_token_without_characters_owns_none_of_its_neighbours() -> None:
    assert owned([(0, 2), (0, 0), (2, 4)], 4) == [2, 2, 4]
    assert owned([(0, 0), (0, 2)], 2) == [0, 2]
    assert owned([(0, 2), (0, 0)], 2) == [2, 2]


def test_offsets_that_run_backwards_still_give_every_character_one_owner() -> None:
    assert owned([(2, 3), (0, 1), (1, 2)], 3) == [0, 1, 3]


def test_a_prefix_blank_that_the_text_has_not_owns_nothing() -> None:
    assert pieces("fast-unigram", "龘")[0] == ""
    assert "".join(pieces("fast-unigram", "龘")) == "龘"


def test_one_character_that_the_normaliser_makes_several_is_the_last_ones() -> None:
    tokens = adapted("fast-unigram")
    texts = [tokens.text_of([each]) for each in tokens.encode("½").ids]
    assert len(texts) > 2
    assert pieces("fast-unigram", "½")[-1] == "½"


def test_blanks_that_a_post_processor_trims_stay_with_their_token() -> None:
    assert pieces("fast-bpe-trim", TANGLED) == pieces("rust-bpe", TANGLED)
    host = RustTokenizer(models.BPE())
    host.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    host.train_from_iterator(["a. "] * 9, trainers.BpeTrainer(vocab_size=5, show_progress=False))
    host.post_processor = processors.ByteLevel(trim_offsets=True)
    assert owned(host.encode("a. a. ").offsets, 6) == [2, 6]
    assert Tokenizer(host).encode("a. a. ").ends == [3, 6]


def test_a_text_without_tokens_has_no_ends() -> None:
    for text in ("", " \n"):
        assert adapted("fast-wordpiece").encode(text) == Encoded([], [])


# units


def test_blanks_of_split_are_those_of_isspace_and_of_regular_expressions() -> None:
    every = list(map(chr, range(sys.maxunicode + 1)))
    blanks = [each for each in every if each.isspace()]
    assert [each for each in every if not each.split()] == blanks
    assert re.findall(r"\s", "".join(every)) == blanks
    assert all(f"a{each}b".split() == ["a", "b"] for each in blanks)


@given(st.text(st.sampled_from("ab \n\u00a0\u2028é龘🙃"), max_size=20), st.data())
def test_a_word_is_counted_where_its_last_character_lies(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    stop = data.draw(st.integers(start, len(text)))
    last = [match.end() - 1 for match in re.finditer(r"\S+", text)]
    expected = Units(len(text[start:stop].encode()), stop - start, sum(start <= at < stop for at in last))
    assert units(text, start, stop) == expected
    assert units(text).word == len(text.split())


@pytest.mark.parametrize(("start", "stop"), [(-1, 2), (2, 1), (0, 4)])
def test_a_span_outside_of_the_text_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="expected 0 <= start <= stop <= 3"):
        units("abc", start, stop)
