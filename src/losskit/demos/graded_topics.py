"""Python's help as a graded search: its topics' texts, what people ask it for, and which topics answer, how well."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import NamedTuple

import torch
from torch import Tensor

from . import generator
from .data import paragraphs

__all__ = ["SYMBOL", "WORD", "Query", "Search", "Topic", "folds", "search", "words"]

EACH = 10  # queries of one kind for one topic: the names that a topic of methods defines must not outnumber all else
HALF = 0.5  # of the paragraphs of a topic that stand in another one: they are one family
HEADING = re.compile(r"^(\S[^\n]*)\n([*=\-~^])\2{2,}[ \t]*$\n?", re.M)
DEFINITION = re.compile(r"^ {0,3}(?:(?:class|async|static|classmethod) )?[A-Za-z_][\w.]*\.([A-Za-z_]\w*)(?:\([^\n]*)?$\n?", re.M)
CODE = re.compile(r"``?([^`\n]+)``?")

WORD = re.compile(r'"([^"\s\w]{1,3})"|([A-Za-z_]\w*|\d+)|(?<=\s)([^\w\s"]{1,3})(?=\s)')
"""A word, a name, or a symbol that stands alone or in quotes, as code does in these texts."""
SYMBOL = re.compile(r"\W|_+$|[bfru]?['\"]+$", re.I)


class Topic(NamedTuple):
    """What is to be found. Its key in Python's tables is not among it: no feature may see the answer's name."""

    title: str
    text: str
    """Without its title, its headings and the lines that define a name: queries are made of them."""


class Query(NamedTuple):
    """What is asked, where it comes from, and the place of the topic that answers it."""

    text: str
    kind: str
    """keyword, symbol, topic name, heading, defined name"""
    target: int


class Search(NamedTuple):
    """Topics, queries, and the grade of every topic for every query, 0 to 3, (queries, topics)."""

    topics: Sequence[Topic]
    queries: Sequence[Query]
    grades: Tensor

    @property
    def targets(self) -> Tensor:
        """The topic that answers each query: queries that share it go together."""
        return torch.tensor([one.target for one in self.queries])


def words(text: str) -> list[str]:
    """The words and symbols of a text in order."""
    return ["".join(parts).lower() for parts in WORD.findall(text)]


class Help(NamedTuple):
    """Python's own tables: what ``help`` shows for a name and lists as related, as keys of its texts."""

    texts: Mapping[str, str]
    names: Mapping[str, object]
    symbols: Mapping[str, str]

    @classmethod
    def read(cls) -> Help:
        """The tables of this Python; word for word the same text is one topic."""
        try:
            raw: dict[str, str] = import_module("pydoc_data.topics").topics
        except ImportError as missing:
            raise ImportError(
                "losskit demo graded-search needs pydoc_data of the standard library: install all of it"
            ) from missing
        helper = import_module("pydoc").Helper
        # newer Pythons write code in backquotes, older ones in straight quotes
        texts = {key: CODE.sub(r'"\1"', text) for key, text in raw.items()}
        return cls(texts, {**helper.keywords, **helper.topics}, helper.symbols)

    def found(self, name: str, more: str = "") -> tuple[str, tuple[str, ...]] | None:
        """The text shown for a name, and the texts of what is listed as related; None where help shows no text."""
        entry = self.names.get(name)
        if isinstance(entry, str) and entry:  # another name for the same
            first, _, rest = entry.partition(" ")
            return self.found(first, f"{rest} {more}") if first != name else None
        if not isinstance(entry, tuple) or entry[0] not in self.texts:
            return None
        related = [self._label(one) for one in f"{entry[1]} {more}".split()]
        return str(entry[0]), tuple(dict.fromkeys(label for label in related if label and label != entry[0]))

    def _label(self, name: str) -> str | None:
        entry = self.names.get(name)
        while isinstance(entry, str) and entry:
            entry = self.names.get(entry.partition(" ")[0])
        return str(entry[0]) if isinstance(entry, tuple) and entry[0] in self.texts else None


def asked(help: Help) -> Iterator[tuple[str, str, str, tuple[str, ...]]]:
    """(text, kind, key of the answer, keys of what is related) of every query, in the order of the tables."""
    known = Counter(word for text in help.texts.values() for word in words(text))
    for name in help.names:
        if found := help.found(name):
            text, kind = (parted(name, known), "topic name") if name.isupper() else (name, "keyword")
            yield text, kind, *found
    for symbol, entry in help.symbols.items():
        first, _, rest = entry.partition(" ")
        if found := help.found(first, rest):
            yield symbol, "symbol", *found
    titles = {title(text).lower() for text in help.texts.values()}
    for kind, pattern in (("heading", HEADING), ("defined name", DEFINITION)):
        for text, key in written(help.texts, pattern, titles):
            yield text, kind, key, ()


def written(texts: Mapping[str, str], pattern: re.Pattern[str], titles: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Headings or defined names with the shortest text that has them; evenly spaced ones of a text that has too many."""
    at: dict[str, list[str]] = {}
    for key in sorted(texts, key=lambda key: (len(texts[key]), key)):
        for match in pattern.finditer(texts[key]):
            at.setdefault(plain(match[1]), []).append(key)
    of: dict[str, list[str]] = {}
    for text, keys in at.items():
        if text.lower() not in titles:  # what is a title is found by its title
            of.setdefault(keys[0], []).append(text)
    for key, found in of.items():
        step = max(1.0, len(found) / EACH)
        yield from ((found[int(i * step)], key) for i in range(min(EACH, len(found))))


def plain(text: str) -> str:
    """A heading without its marks."""
    return re.sub(r"[\"*“”]", "", text).strip()


def title(text: str) -> str:
    """The title of a topic."""
    found = HEADING.search(text)
    return plain(found[1]) if found else plain(text.split("\n")[0])


def parted(name: str, known: Mapping[str, int]) -> str:
    """TRUTHVALUE as people write it: one word that the texts have, or the two of them that are had most often."""
    name = name.lower()
    if name in known:
        return name
    cuts = [(known.get(name[:i], 0) * known.get(name[i:], 0), name[:i], name[i:]) for i in range(4, len(name) - 3)]
    often, first, second = max(cuts, default=(0, "", ""))
    return f"{first} {second}" if often else name


@functools.cache
def search() -> Search:
    """All of it, read from the Python that runs this.

    Raises:     ImportError for a Python that came without its documentation.
    """
    help = Help.read()
    same: dict[str, int] = {}  # of texts that are the same, word for word, there is one
    place = {key: same.setdefault(text, len(same)) for key, text in help.texts.items()}
    topics = [Topic(title(text), DEFINITION.sub("", HEADING.sub("", text)).strip()) for text in same]
    near = related(help, place)
    family = families(list(same))
    queries: dict[str, Query] = {}
    rows: list[Tensor] = []
    for text, kind, key, listed in asked(help):
        if text.lower() not in queries:  # asked in two ways: the answer is what help shows
            queries[text.lower()] = Query(text, kind, place[key])
            rows.append(grade(place[key], {place[one] for one in listed}, near, family))
    return Search(topics, list(queries.values()), torch.stack(rows))


def related(help: Help, place: Mapping[str, int]) -> Tensor:
    """(topics, topics) whether help lists the second below the first, under any of the first's names."""
    near = torch.zeros(len(set(place.values())), len(set(place.values())), dtype=torch.bool)
    for name in help.names:
        if found := help.found(name):
            for other in found[1]:
                near[place[found[0]], place[other]] = True
    return near


def families(texts: Sequence[str]) -> Tensor:
    """(topics, topics) whether one holds half of the other's paragraphs: a section and the chapter around it."""
    own = [paragraphs(text) for text in texts]
    holds = torch.tensor([[len(a & b) >= HALF * len(b) > 0 for b in own] for a in own])
    return holds | holds.T


def grade(target: int, listed: set[int], near: Tensor, family: Tensor) -> Tensor:
    """3 for the answer, 2 for what help lists as related, 1 for what it lists below those and for the answer's family."""
    second = near[target].clone()
    if listed:
        second[list(listed)] = True
    row = torch.where(near[second].any(0) | family[target], 1, 0)
    row = torch.where(second, 2, row)
    row[target] = 3
    return row


def folds(targets: Tensor, count: int, seed: int) -> Tensor:
    """The fold of each query: all queries of a topic in one, and the folds as equal as that allows."""
    sizes = torch.bincount(targets)
    order = torch.randperm(len(sizes), generator=generator(seed))
    order = order[sizes[order].argsort(descending=True, stable=True)]
    full, fold = [0] * count, torch.zeros(len(sizes), dtype=torch.long)
    for topic in order.tolist():
        fold[topic] = least = full.index(min(full))
        full[least] += int(sizes[topic])
    return fold[targets]
