"""What an evaluation knows of one document, and of many: sums that can be added, written as JSON and read again."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

__all__ = ["FEW", "UNITS", "Amounts", "Divergence", "DocumentScore", "Surprise", "context_bin", "context_of"]

FEW = 10  # documents below which they are too few clusters for an interval of their own
UNITS = ("token", "byte", "character", "word")
_FINE = 4  # bins of context length an octave
_DECADE = 64  # bins of divergence a power of ten: a quantile is 2 % off at most
_LEAST = 1e-12
_LAST = 4096  # the bin of what is not finite


class Amounts(NamedTuple):
    """How much text was scored; None where there was no text, only tokens."""

    token: int
    byte: int | None
    character: int | None
    word: int | None


class Surprise(NamedTuple):
    """The least expected token of a document."""

    position: int
    """Among the document's tokens, from 0."""
    nats: float
    token: str
    before: str
    """The text just before it."""


@dataclass(frozen=True, slots=True)
class Divergence:
    """KL(reference || model) over the scored tokens of a document, in nats."""

    total: float
    largest: float
    same_top: int
    """Tokens where both find the same token the likeliest."""
    reference_nats: float
    """Of the reference model on the same tokens."""
    bins: Mapping[int, int]
    """How many tokens have a divergence in each bin."""

    @staticmethod
    def bin_of(value: float) -> int:
        """The bin of a divergence: 64 a power of ten, from 1e-12 on."""
        if not math.isfinite(value):
            return _LAST
        return 0 if value <= _LEAST else min(_LAST - 1, 1 + math.floor(_DECADE * math.log10(value / _LEAST)))

    @staticmethod
    def value_of(bin: int) -> float:
        """The middle of a bin."""
        return math.inf if bin == _LAST else 0.0 if bin == 0 else _LEAST * 10 ** ((bin - 0.5) / _DECADE)


@dataclass(frozen=True, slots=True)
class DocumentScore:
    """Sums over the scored tokens of one document."""

    id: str
    group: str | None
    nats: float
    """The sum of -log p."""
    squares: float
    """The sum of their squares."""
    tokens: int
    unscored: int
    """Tokens that no window predicts: the first one, where nothing comes before it, and what ``truncate`` cut."""
    bytes: int | None = None
    characters: int | None = None
    words: int | None = None
    contexts: Mapping[int, tuple[float, int]] | None = None
    """nats and tokens by how many positions came before, in bins of :func:`context_bin`."""
    worst: Surprise | None = None
    blocks: Sequence[tuple[float, int, int | None, int | None, int | None]] = ()
    """(nats, tokens, bytes, characters, words) of contiguous pieces; only where there are few documents."""
    nonfinite: int = 0
    """Tokens whose -log p is inf or NaN."""
    divergence: Divergence | None = None

    @property
    def loss(self) -> float:
        """Nats per token; NaN where nothing was scored."""
        return self.nats / self.tokens if self.tokens else math.nan

    def amount(self, unit: str) -> int | None:
        """How many of ``unit`` were scored."""
        return {"token": self.tokens, "byte": self.bytes, "character": self.characters, "word": self.words}[unit]

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; NaN and inf stay Python's, for who writes it."""
        found: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        found["contexts"] = [[bin, *sums] for bin, sums in sorted((self.contexts or {}).items())]
        found["worst"] = None if self.worst is None else list(self.worst)
        found["blocks"] = [list(block) for block in self.blocks]
        if self.divergence is not None:
            kept = {f.name: getattr(self.divergence, f.name) for f in fields(self.divergence)}
            found["divergence"] = {**kept, "bins": [[bin, count] for bin, count in sorted(self.divergence.bins.items())]}
        # what from_json puts back by itself; 0 bytes are not no bytes
        absent: dict[str, Any] = {
            "group": None,
            "bytes": None,
            "characters": None,
            "words": None,
            "worst": None,
            "divergence": None,
        }
        absent |= {"contexts": [], "blocks": [], "nonfinite": 0}
        return {name: value for name, value in found.items() if name not in absent or value != absent[name]}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> DocumentScore:
        """The same from what :meth:`to_json` gave.

        Raises:     ValueError for a record that is not one.
        """
        names = {f.name for f in fields(cls)}
        if not {"id", "nats", "tokens"} <= record.keys() or not record.keys() <= names:
            raise ValueError(f"a document's record has {sorted(record)}, expected some of {sorted(names)}")
        given = dict(record)
        for name in ("nats", "squares"):
            given[name] = float(given.get(name, 0.0))
        given.setdefault("group", None)
        given.setdefault("unscored", 0)
        given["contexts"] = {int(k): (float(s), int(n)) for k, s, n in record.get("contexts", ())}
        if record.get("worst") is not None:
            position, nats, token, before = record["worst"]
            given["worst"] = Surprise(position, float(nats), token, before)
        given["blocks"] = tuple((float(b[0]), *b[1:]) for b in record.get("blocks", ()))
        if record.get("divergence") is not None:
            one = dict(record["divergence"])
            given["divergence"] = Divergence(
                float(one["total"]), float(one["largest"]), one["same_top"], float(one["reference_nats"]),
                {int(k): int(v) for k, v in one["bins"]},
            )  # fmt: skip
        return cls(**given)


def context_bin(context: int) -> int:
    """The bin of so many positions before a token (0 is none): four an octave, one a length up to 4."""
    return -1 if context < 1 else math.floor(_FINE * math.log2(context) + 1e-9)


def context_of(bin: int) -> float:
    """The smallest context length of a bin."""
    return 0.0 if bin < 0 else float(math.ceil(2 ** (bin / _FINE) - 1e-9))


def added(many: Iterable[Mapping[int, tuple[float, int]]]) -> dict[int, tuple[float, int]]:
    """Sums by context of many documents."""
    sums: dict[int, list[float]] = {}
    counts: dict[int, int] = {}
    for one in many:
        for bin, (nats, tokens) in one.items():
            sums.setdefault(bin, []).append(nats)
            counts[bin] = counts.get(bin, 0) + tokens
    return {bin: (math.fsum(sums[bin]), counts[bin]) for bin in sorted(sums)}
