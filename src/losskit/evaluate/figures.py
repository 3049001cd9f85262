"""What a perplexity metric says at the end: figures by token, byte, character and word, an interval, and the groups."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ..core.check import between
from .intervals import ratio
from .summary import exp
from .totals import Key, Line, known_sum

__all__ = ["PerplexityResult", "figures"]


@dataclass(frozen=True)
class PerplexityResult:
    """Everything a :class:`Perplexity` knows; None where nothing was counted or a unit is not known."""

    tokens: int
    nats: float
    """The sum of -log p."""
    loss: float | None
    """nats / tokens."""
    perplexity: float | None
    """exp(loss): among how many tokens, all equally likely, the model is undecided."""
    bits_per_byte: float | None
    byte_perplexity: float | None
    character_perplexity: float | None
    word_perplexity: float | None
    bytes: int | None
    characters: int | None
    words: int | None
    documents: int
    """How many with a name."""
    standard_error: float | None
    """Of ``loss``, with documents as clusters; None unless every token is of a document and there are two."""
    low: float | None
    """Where the interval of ``perplexity`` begins."""
    high: float | None
    """Where it ends."""
    level: float
    """Of the interval."""
    groups: Mapping[str, PerplexityResult] = field(default_factory=dict)
    """The same for each group."""


def figures(found: Mapping[Key, Line], level: float) -> PerplexityResult:
    """The figures of all lines, and of the lines of each group."""
    between("level", level, 0, 1, strict=True)
    groups: dict[str, list[tuple[Key, Line]]] = {}
    for key, line in found.items():
        if key[0] is not None:
            groups.setdefault(key[0], []).append((key, line))
    return _figures(found.items(), level, {group: _figures(part, level, {}) for group, part in groups.items()})


def _figures(found: Iterable[tuple[Key, Line]], level: float, groups: Mapping[str, PerplexityResult]) -> PerplexityResult:
    found = [(key, line) for key, line in found if line.tokens or any(line.units)]
    nats, tokens = math.fsum(line.nats for _, line in found), sum(line.tokens for _, line in found)
    loss = nats / tokens if tokens else None
    units = [known_sum([line.units[i] for _, line in found]) if tokens else None for i in range(3)]
    rate = [nats / count if count else None for count in units]
    documents: dict[str | int, list[Line]] = {}
    for (_, document), line in found:
        if document is not None:
            documents.setdefault(document, []).append(line)
    error = low = high = None
    if tokens and all(key[1] is not None or not line.tokens for key, line in found):
        sums = [math.fsum(line.nats for line in of) for of in documents.values()]
        estimate = ratio(sums, [float(sum(line.tokens for line in of)) for of in documents.values()], level=level)
        error, low, high = estimate.standard_error, exponential(estimate.low), exponential(estimate.high)
    return PerplexityResult(
        tokens=tokens, nats=nats, loss=loss, perplexity=exponential(loss),
        bits_per_byte=None if rate[0] is None else rate[0] / math.log(2),
        byte_perplexity=exponential(rate[0]), character_perplexity=exponential(rate[1]), word_perplexity=exponential(rate[2]),
        bytes=units[0], characters=units[1], words=units[2],
        documents=len(documents), standard_error=error, low=low, high=high, level=level, groups=groups,
    )  # fmt: skip


def exponential(power: float | None) -> float | None:
    """e^power; None stays None."""
    return None if power is None else exp(power)
