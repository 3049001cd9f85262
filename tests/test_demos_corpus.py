"""The text of the language model: its tokens are exact, nothing of it is in both splits, and its units are their formulas."""

from __future__ import annotations

import lzma
import math
import sys
from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from losskit.demos.corpus import Score, Text, chance, compressed, read, split, unigram
from losskit.demos.data import paragraphs, topics
from losskit.demos.tokens import WORD, learn

SENTENCES = [b"the cat sat on the mat\n\n   the hat, the bat: 12 + 12 == 24\n", "naïve café – «the» 日本\r\n\t".encode() * 3]


# tokens


@given(st.binary(max_size=200))
def test_any_bytes_come_back_and_are_counted_exactly(text: bytes) -> None:
    tokenizer = learn(SENTENCES, 300)
    (tokens,) = tokenizer.encode([text])
    assert tokenizer.decode(tokens) == text
    assert sum(len(tokenizer.pieces[token]) for token in tokens) == len(text)
    assert tokenizer.start not in tokens


@given(st.lists(st.binary(max_size=60), max_size=4), st.integers(257, 290))
@settings(max_examples=50)
def test_the_tokens_are_those_of_the_slow_way(texts: list[bytes], size: int) -> None:
    """Count all pairs, join the most frequent one, and count again."""
    words = Counter(tuple(word) for text in texts for word in WORD.findall(text))
    merges: dict[tuple[int, int], int] = {}
    while len(merges) < size - 257:
        pairs: Counter[tuple[int, int]] = Counter()
        for word, often in words.items():
            for pair in pairwise(word):
                pairs[pair] += often
        if not pairs or max(pairs.values()) < 2:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges[best] = 256 + len(merges)
        joined: Counter[tuple[int, ...]] = Counter()
        for word, often in words.items():
            out: list[int] = []
            for token in word:
                out = [*out[:-1], merges[best]] if out and (out[-1], token) == best else [*out, token]
            joined[tuple(out)] += often
        words = joined
    tokenizer = learn(texts, size)
    assert list(tokenizer.merges.items()) == list(merges.items())
    encoded = Counter(tuple(tokenizer.encode([word])[0]) for text in texts for word in WORD.findall(text))
    assert encoded == words


def test_tokens_stand_for_the_bytes_of_their_parts_and_the_last_for_none() -> None:
    tokenizer = learn(SENTENCES, 290)
    assert list(tokenizer.pieces[:256]) == [bytes([byte]) for byte in range(256)]
    for (left, right), token in tokenizer.merges.items():
        assert tokenizer.pieces[token] == tokenizer.pieces[left] + tokenizer.pieces[right]
    assert tokenizer.pieces[tokenizer.start] == b""
    assert b" the" in tokenizer.pieces


# the text


@pytest.mark.parametrize("seed", [0, 1])
def test_no_topic_and_no_paragraph_is_in_both_splits(seed: int) -> None:
    learned, held = split(seed)
    assert learned.keys().isdisjoint(held)
    assert {**learned, **held} == topics()
    said = [set().union(*(paragraphs(text.decode()) for text in part.values())) for part in (learned, held)]
    assert said[0].isdisjoint(said[1])
    whole, kept = (sum(map(len, part.values())) for part in (topics(), held))
    assert 0.08 * whole < kept <= round(0.1 * whole)
    assert max(map(len, held.values())) <= kept / 3
    assert split(seed) == (learned, held)
    assert split(seed + 1)[1] != held


def test_a_topic_is_left_out_for_repeating_a_longer_one_and_for_nothing_else() -> None:
    import pydoc_data.topics

    texts, kept = pydoc_data.topics.topics, topics()
    seen = {name: paragraphs(text) for name, text in texts.items()}
    assert set(kept) < set(texts)
    for name in texts:
        longer = [other for other in kept if other != name and len(texts[other]) >= len(texts[name])]
        repeated = any(not seen[name].isdisjoint(seen[other]) for other in longer)
        assert repeated == (name not in kept)


def test_a_python_without_its_manual_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ImportError, match="needs pydoc_data of the standard library"):
        topics()


def test_the_tokens_are_learned_from_what_is_not_held_out() -> None:
    text = read(1, 300)
    learned, held = split(1)
    assert (text.learned, text.held) == (learned, held)
    assert text.tokenizer == learn(learned.values(), 300) != learn(held.values(), 300)
    assert len(text.widths) == 300
    for topic, tokens in zip(held.values(), text.tokens(held), strict=True):
        assert tokens[0] == text.tokenizer.start
        assert text.tokenizer.decode(tokens) == topic
        assert int(text.widths[torch.tensor(tokens)].sum()) == len(topic)


# scores


def test_perplexity_is_the_exponential_of_the_mean_and_bits_per_byte_its_share_of_the_bytes() -> None:
    one = Score(nats=40 * math.log(8), tokens=40, bytes=60)
    assert one.loss == pytest.approx(math.log(8))
    assert one.perplexity == pytest.approx(8)
    assert one.bits_per_byte == pytest.approx(3 * 40 / 60)


@pytest.mark.parametrize("size", [257, 270, 300])
def test_a_model_of_equal_bytes_has_eight_bits_per_byte_whatever_the_tokens(size: int) -> None:
    tokenizer = learn(SENTENCES, size)
    (tokens,) = tokenizer.encode([SENTENCES[1]])
    widths = [len(tokenizer.pieces[token]) for token in tokens]
    one = Score(sum(width * math.log(256) for width in widths), len(tokens), sum(widths))
    assert one.bytes == len(SENTENCES[1])
    assert one.bits_per_byte == pytest.approx(8)
    assert one.perplexity == pytest.approx(256 ** (one.bytes / one.tokens))  # which does depend on them


def test_chance_and_token_frequencies_are_their_formulas() -> None:
    widths, known, held = torch.tensor([1, 2, 3]), torch.tensor([0, 0, 0, 1]), torch.tensor([0, 2])
    assert chance(held, widths).perplexity == pytest.approx(3)
    assert chance(held, widths).bits_per_byte == pytest.approx(2 * math.log2(3) / 4)
    found = unigram(known, held, widths)
    assert found.nats == pytest.approx(-math.log(4 / 7) - math.log(1 / 7))
    assert (found.tokens, found.bytes) == (2, 4)


def test_xz_counts_what_the_held_out_text_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    text = Text({"a": SENTENCES[0] * 20}, {"b": SENTENCES[1]}, learn([], 257))
    found = compressed(text, tokens=10)
    added = len(lzma.compress(SENTENCES[0] * 20 + SENTENCES[1], preset=9)) - len(lzma.compress(SENTENCES[0] * 20, preset=9))
    assert found is not None
    assert found.bits_per_byte == pytest.approx(8 * added / len(SENTENCES[1]), rel=0.1)
    monkeypatch.setitem(sys.modules, "lzma", None)
    assert compressed(text, tokens=10) is None
