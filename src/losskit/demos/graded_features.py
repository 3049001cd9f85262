"""What a text says about a query, in numbers: BM25 of its parts, words in common, exact hits, and what the best texts are like."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .graded_topics import SYMBOL, Query, Search, Topic, words

__all__ = ["BM25", "Field", "features", "terms"]

SATURATION, LENGTH = 1.2, 0.75  # k1 and b of BM25, Robertson and Zaragoza 2009
STEM = 5  # letters: statement, statements and "stated" are one, which is what a small corpus needs
BEST = 3  # texts by BM25 whose likeness and titles say what is related
NOTHING = "\0"
BM25 = "BM25 of the text"
"""The feature that is also the search to beat."""


class Field(NamedTuple):
    """Counts of every term in every text, (texts, terms), and the place of each term."""

    counts: Tensor
    place: Mapping[str, int]

    @classmethod
    def of(cls, texts: Sequence[Sequence[str]]) -> Field:
        """The terms of each text, counted."""
        place: dict[str, int] = {}
        for text in texts:
            for term in text:
                place.setdefault(term, len(place))
        counts = torch.zeros(len(texts), len(place), dtype=torch.float64)
        for row, text in zip(counts, texts, strict=True):
            for term, times in Counter(text).items():
                row[place[term]] = times
        return cls(counts, place)

    @property
    def rarity(self) -> Tensor:
        """How much a term tells: the fewer texts have it, the more; never below 0."""
        have = (self.counts > 0).double().sum(0)
        return ((len(self.counts) - have + 0.5) / (have + 0.5)).log1p()

    def asked(self, queries: Sequence[Sequence[str]]) -> Tensor:
        """(queries, terms) which terms of the texts a query has."""
        rows = torch.zeros(len(queries), len(self.place), dtype=torch.float64)
        for row, query in zip(rows, queries, strict=True):
            row[[self.place[term] for term in query if term in self.place]] = 1
        return rows

    def bm25(self, queries: Sequence[Sequence[str]]) -> Tensor:
        """(queries, texts)."""
        length = self.counts.sum(1, keepdim=True)
        least = SATURATION * (1 - LENGTH + LENGTH * length / length.mean())
        weight = self.rarity * self.counts * (SATURATION + 1) / (self.counts + least)
        return self.asked(queries) @ weight.T

    def cosine(self, other: Tensor) -> Tensor:
        """Of rows of counts of the same terms with the texts; logarithmic counts, rare terms count for more."""
        own, given = (torch.nn.functional.normalize(rows.log1p() * self.rarity, dim=1) for rows in (self.counts, other))
        return given @ own.T

    def covered(self, queries: Sequence[Sequence[str]]) -> Tensor:
        """Which part of a query a text has, each term by its rarity; one that no text has counts as the rarest."""
        asked = self.asked(queries)
        rarest = math.log1p(2 * len(self.counts) + 1)
        missing = [[float(sum(term not in self.place for term in set(query)))] for query in queries]
        unknown = rarest * torch.tensor(missing, dtype=torch.float64)
        whole = (asked @ self.rarity)[:, None] + unknown
        return (asked * self.rarity) @ (self.counts > 0).double().T / whole.clamp(min=1e-9)

    def within(self, queries: Sequence[Sequence[str]]) -> Tensor:
        """Which part of a text the query has, each term by its rarity."""
        held = (self.counts > 0).double() * self.rarity
        return self.asked(queries) @ (held / held.sum(1, keepdim=True).clamp(min=1e-9)).T


def terms(text: str) -> list[str]:
    """Words, and the parts of names: __getitem__ is also getitem."""
    return [part for word in words(text) for part in [word, *([p for p in word.split("_") if p] if "_" in word else [])]]


def asked(query: Query) -> list[str]:
    """The terms of a query: a symbol is one as it stands."""
    return [query.text] if SYMBOL.search(query.text) and " " not in query.text and not words(query.text) else terms(query.text)


def stems(parts: Sequence[str]) -> list[str]:
    return [part[:STEM] for part in parts]


def letters(text: str) -> list[str]:
    """Three letters in a row, of each word on its own."""
    return [word[i : i + 3] for word in (f"<{part}>" for part in terms(text)) for i in range(len(word) - 2)]


def opening(topic: Topic) -> str:
    """The first paragraph that is prose."""
    blocks = [block for block in re.split(r"\n\s*\n", topic.text) if block and not block.startswith(" ")]
    return blocks[0] if blocks else topic.text


def _passages(topics: Sequence[Topic], queries: Sequence[Sequence[str]]) -> Tensor:
    """BM25 of the best paragraph: a long text may answer in one of them."""
    blocks = [(i, terms(block)) for i, topic in enumerate(topics) for block in re.split(r"\n\s*\n", topic.text)]
    scores = Field.of([block for _, block in blocks]).bm25(queries)
    at = torch.tensor([i for i, _ in blocks]).expand(len(queries), -1)
    return torch.zeros(len(queries), len(topics), dtype=torch.float64).scatter_reduce(1, at, scores, "amax")


def _of_pairs(queries: Sequence[str], texts: Sequence[str], measure: Callable[[str, str], float]) -> Tensor:
    """A number for every query and text."""
    return torch.tensor([[measure(query, text) for text in texts] for query in queries], dtype=torch.float64)


def spaced(text: str) -> str:
    """The words with one blank around each, so that a phrase is found as words; nothing that can be found without words."""
    found = words(text)
    return f" {' '.join(found)} " if found else NOTHING


def _phrase(query: str, text: str) -> float:
    return math.log1p(text.count(query))


def _dense(query: str, text: str) -> float:
    return 1000 * text.count(query) / (1 + text.count(" "))


def _early(query: str, text: str) -> float:
    """1 at the beginning of the text, towards 0 at its end, 0 where the phrase is not."""
    at = text.find(query)
    return 1 - at / len(text) if at >= 0 else 0.0


def _code(query: str, text: str) -> float:
    """Hits between quotes, as these texts write code."""
    return math.log1p(text.count(f'"{query}"') + text.count(f'"{query}('))


def _grammar(query: str, text: str) -> float:
    """Whether a rule of the grammar, all that is in ``text``, has it between quotes."""
    return float(f'"{query}"' in text)


def _named(topics: Sequence[Topic]) -> Tensor:
    """(texts, texts) how often the first names the title of the second."""
    texts, titles = [spaced(one.text) for one in topics], [spaced(one.title) for one in topics]
    return _of_pairs(titles, texts, _phrase).T.fill_diagonal_(0)


class _Best(NamedTuple):
    """The first texts of each query by BM25, (queries, BEST), and their scores: one without a hit is none of them."""

    scores: Tensor
    places: Tensor

    def mean(self, rows: Tensor) -> Tensor:
        """Of the rows (texts, texts) of these texts."""
        return (rows[self.places] * (self.scores > 0).unsqueeze(-1)).sum(1) / BEST


def features(search: Search) -> dict[str, Tensor]:
    """Every feature by name, each (queries, topics); nothing in them knows a grade or a topic's key."""
    topics, queries = search.topics, search.queries
    parts = [asked(one) for one in queries]
    body, title, first = (
        Field.of([terms(text) for text in texts])
        for texts in ([t.text for t in topics], [t.title for t in topics], [opening(t) for t in topics])
    )
    rough = Field.of([stems(terms(f"{t.title} {t.text}")) for t in topics])
    bm25, names = body.bm25(parts), _named(topics)
    best = _Best(*bm25.topk(BEST))
    head, start = (
        Field.of([letters(text) for text in texts]) for texts in ([t.title for t in topics], [opening(t) for t in topics])
    )
    pieces = [letters(one.text) for one in queries]
    texts, asks = [t.text for t in topics], [one.text for one in queries]
    looked, phrases = [spaced(text) for text in texts], [spaced(ask) for ask in asks]
    rules = ["\n".join(line for line in text.split("\n") if "::=" in line) for text in texts]
    long = torch.tensor([math.log(1 + len(text)) for text in texts], dtype=torch.float64)
    return {
        BM25: bm25,
        "BM25 of the title": title.bm25(parts),
        "BM25 of the opening": first.bm25(parts),
        "BM25 of the best paragraph": _passages(topics, parts),
        "BM25 of stems": rough.bm25([stems(part) for part in parts]),
        "cosine": body.cosine(body.asked(parts)),
        "share of the query": body.covered(parts),
        "share of it in the title": title.covered(parts),
        "phrase": _of_pairs(phrases, looked, _phrase),
        "phrase per 1000 words": _of_pairs(phrases, looked, _dense),
        "how early": _of_pairs(phrases, looked, _early),
        "in code": _of_pairs(asks, texts, _code),
        "letters of the title": head.cosine(head.asked(pieces)),
        "letters of the opening": start.cosine(start.asked(pieces)),
        "like the best three": best.mean(body.cosine(body.counts)),
        "named by the best three": best.mean(names),
        "names the best three": best.mean(names.T),
        "share of the title": title.within(parts),
        "in the grammar": _of_pairs(asks, rules, _grammar),
        "length": long.expand(len(queries), -1),
    }
