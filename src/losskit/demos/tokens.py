"""Byte-pair encoding learned on the spot: the tokens of a small language model, and the bytes that each stands for."""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

__all__ = ["Tokenizer", "learn"]

Pair = tuple[int, int]

# no token crosses the ends of these: a word, a number or a run of signs with the blank before it, and white space;
# every byte is in one of them
WORD = re.compile(rb" ?[A-Za-z]+| ?[0-9]+| ?[^\sA-Za-z0-9]+|\s+(?!\S)|\s+")


class Tokenizer(NamedTuple):
    """Tokens 0 to 255 are bytes, each further one is two earlier ones, and the last begins a document and has no bytes."""

    merges: Mapping[Pair, int]
    pieces: Sequence[bytes]
    """The bytes of each token."""

    @property
    def start(self) -> int:
        """The token that begins a document."""
        return len(self.pieces) - 1

    def encode(self, texts: Iterable[bytes]) -> list[list[int]]:
        """The tokens of each text, without the one that begins it."""
        known: dict[bytes, list[int]] = {}
        found: list[list[int]] = []
        for text in texts:
            tokens: list[int] = []
            for word in WORD.findall(text):
                if word not in known:
                    known[word] = self._merged(word)
                tokens += known[word]
            found.append(tokens)
        return found

    def decode(self, tokens: Iterable[int]) -> bytes:
        """The text again."""
        return b"".join(self.pieces[token] for token in tokens)

    def _merged(self, word: bytes) -> list[int]:
        """The merges applied to a word, the one that was learned first before the others."""
        tokens = list(word)
        while len(tokens) > 1:
            first = min(pairwise(tokens), key=lambda pair: self.merges.get(pair, len(self.pieces)))
            if first not in self.merges:
                break
            tokens = _merge(tokens, first, self.merges[first])
        return tokens


def _merge(tokens: Sequence[int], pair: Pair, token: int) -> list[int]:
    """``tokens`` with every ``pair`` of neighbours, from the left, become one ``token``."""
    found: list[int] = []
    for one in tokens:
        if found and (found[-1], one) == pair:
            found[-1] = token
        else:
            found.append(one)
    return found


def learn(texts: Iterable[bytes], size: int) -> Tokenizer:
    """At most ``size`` tokens: as often as it can be, the most frequent pair of neighbours becomes one more.

    A pair that occurs once is left alone; of equally frequent pairs the one of earlier tokens is taken.
    """
    counts = Counter(word for text in texts for word in WORD.findall(text))
    words, times = [list(word) for word in counts], list(counts.values())
    pairs: Counter[Pair] = Counter()
    where: defaultdict[Pair, set[int]] = defaultdict(set)

    def count(word: int, times: int) -> None:
        for pair in pairwise(words[word]):
            pairs[pair] += times
            where[pair].add(word)

    for word, often in enumerate(times):
        count(word, often)
    queue = [(-often, pair) for pair, often in pairs.items()]
    heapq.heapify(queue)
    merges: dict[Pair, int] = {}
    pieces = [bytes([byte]) for byte in range(256)]
    while queue and len(pieces) < size - 1:
        often, best = heapq.heappop(queue)
        if often > -2:
            break
        if pairs[best] != -often:  # the count has changed since, and is in the queue again
            continue
        merges[best] = len(pieces)
        touched: set[Pair] = set()
        for word in where.pop(best):
            touched.update(pairwise(words[word]))
            count(word, -times[word])
            words[word] = _merge(words[word], best, len(pieces))
            touched.update(pairwise(words[word]))
            count(word, times[word])
        pieces.append(pieces[best[0]] + pieces[best[1]])
        for pair in touched - {best}:
            heapq.heappush(queue, (-pairs[pair], pair))
    return Tokenizer(merges, [*pieces, b""])
