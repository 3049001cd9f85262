"""From documents to records: windows batched, read by the model, and the scores of each document gathered."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .model import LanguageModel
from .plan import Plan, Window
from .records import Divergence, DocumentScore, Surprise, context_bin
from .reference import Reference
from .text.tokens import units as units_of

__all__ = ["Batch", "NonFiniteError", "Prepared", "Scorer", "batches", "packs"]

_BLOCKS = 64  # pieces of a document that are kept where documents are few
_BEFORE = 40  # characters told before the least expected token


class NonFiniteError(ArithmeticError):
    """A token whose -log p is no finite number."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A document as it is scored."""

    id: str
    group: str | None
    ids: Sequence[int]
    """Without the prefix token, even if the text brought it; cut where the evaluation cuts."""
    cut: int = 0
    """Tokens that ``truncate`` took away."""
    text: str | None = None
    ends: Sequence[int] | None = None
    """Where in the text each token ends; None where that is not known."""
    begin: int = 0
    """Where in the text the first token begins."""
    brought: bool = False
    """Whether the text brought the prefix token itself."""
    whole: bool = False
    """Whether ``text`` is counted as a whole whatever was scored: the text of another field."""


class Batch(NamedTuple):
    """Windows that the model reads together: (document, window) and their ids, (B, L), padded at the right."""

    windows: Sequence[tuple[int, Window]]
    ids: Tensor


class _Tokens(NamedTuple):
    """Of each scored token of a document, in order."""

    nats: Tensor
    divergence: Tensor | None = None
    same: Tensor | None = None
    theirs: Tensor | None = None


def packs(plan: Plan, lengths: Sequence[int], batch_tokens: int) -> list[list[int]]:
    """Documents that are read together, so that a batch and its result depend on neither ranks nor interruptions.

    Longest first; as many documents as fit one batch, or one document that fills several.
    """
    found: list[list[int]] = []
    widest = rows = 0
    for document in sorted(range(len(lengths)), key=lambda d: (-lengths[d], d)):
        if not plan.scored(lengths[document]):
            continue
        count, first = plan.cost(lengths[document])[0], next(plan.windows(lengths[document]))
        # the first window of a document is its widest, and the longest document comes first
        if found and widest * (rows + count) <= batch_tokens:
            found[-1].append(document)
            rows += count
        else:
            found.append([document])
            widest, rows = max(first.read, 1), count
    return found


def batches(
    plan: Plan, documents: Sequence[Prepared], members: Sequence[int], prefix: int | None, batch_tokens: int
) -> Iterator[Batch]:
    """The windows of a pack's documents, document by document, as many at a time as ``batch_tokens`` allows."""
    held: list[tuple[int, Window]] = []
    widest = 1
    for document in members:
        for window in plan.windows(len(documents[document].ids)):
            widest = max(window.read, widest)
            if held and widest * (len(held) + 1) > batch_tokens:
                yield _batch(documents, held, prefix)
                held, widest = [], max(window.read, 1)
            held.append((document, window))
    if held:
        yield _batch(documents, held, prefix)


def _batch(documents: Sequence[Prepared], held: list[tuple[int, Window]], prefix: int | None) -> Batch:
    ids = torch.zeros(len(held), max(w.read for _, w in held), dtype=torch.int64)
    for row, (document, window) in enumerate(held):
        read = [prefix] if window.prefixed and prefix is not None else []
        read = [*read, *documents[document].ids[window.start : window.stop - 1]]
        ids[row, : len(read)] = torch.tensor(read)
    return Batch(held, ids)


class Scorer:
    """Scores packs of documents with one model, and beside it a reference."""

    def __init__(
        self,
        model: LanguageModel,
        plan: Plan,
        documents: Sequence[Prepared],
        *,
        prefix: int | None,
        batch_tokens: int,
        reference: Reference | None = None,
        save: Reference | None = None,
        few: Container[str] = (),
        nonfinite: str = "error",
    ) -> None:
        self.model, self.plan, self.documents, self.prefix = model, plan, documents, prefix
        self.batch_tokens, self.reference, self.save = batch_tokens, reference, save
        self.few, self.nonfinite = few, nonfinite
        self.bins = torch.tensor([context_bin(context) for context in range(plan.window + 2)])

    def pack(self, number: int, members: Sequence[int]) -> Iterator[int | list[DocumentScore]]:
        """Tokens scored after each batch, and at the end the records of the pack's documents."""
        parts: dict[int, list[tuple[Tensor, ...]]] = {document: [] for document in members}
        for place, batch in enumerate(batches(self.plan, self.documents, members, self.prefix, self.batch_tokens)):
            counts = [w.stop - w.first for _, w in batch.windows]
            columns = self._columns(batch, (number, place))
            split = [c.cpu().split(counts) for c in columns]
            for (document, _), *values in zip(batch.windows, *split, strict=True):
                parts[document].append(tuple(values))
            yield sum(counts)
        if self.save is not None:
            self.save.finish(number)
        yield [self._record(self.documents[d], _joined(parts[d])) for d in members]

    def _columns(self, batch: Batch, place: tuple[int, int]) -> list[Tensor]:
        """-log p of every scored token of the batch, and beside a reference its companions."""
        where = [(row, w.context - 1, w.read) for row, (_, w) in enumerate(batch.windows)]
        target = torch.cat(
            [torch.tensor(self.documents[d].ids[w.first : w.stop], dtype=torch.int64) for d, w in batch.windows]
        ).to(self.model.device)

        def rows(states: Tensor) -> Tensor:
            return torch.cat([states[row, start:stop] for row, start, stop in where])

        ids = batch.ids.to(self.model.device)
        mine = rows(self.model.states(ids))
        found = self.model.score(mine, target, top=self.reference is not None)
        if self.save is not None:
            self.save.write(place, mine)
        if self.reference is None:
            return [found.nats]
        theirs = self.reference.rows(place, ids, rows)
        other = self.reference.score(theirs, target)
        divergence = self.reference.divergence(self.model, mine, theirs)
        assert found.top is not None
        assert other.top is not None
        return [found.nats, divergence.double(), (found.top == other.top).double(), other.nats]

    def _record(self, one: Prepared, tokens: _Tokens) -> DocumentScore:
        nats = tokens.nats
        first = self.plan.scored(len(one.ids)) - len(one.ids)  # -1 where the first token has no context
        bad = ~nats.isfinite() if tokens.divergence is None else ~(nats.isfinite() & tokens.divergence.isfinite())
        if self.nonfinite == "error" and bool(bad.any()):
            self._refuse(one, int(bad.nonzero()[0]) - first, float(nats[bad][0]), tokens.divergence)
        values = nats.tolist()
        amounts = _amounts(one, -first, len(one.ids))
        return DocumentScore(
            id=one.id, group=one.group, nats=_sum(values), squares=_sum((nats * nats).tolist()), tokens=len(values),
            unscored=one.cut - first, bytes=amounts[0], characters=amounts[1], words=amounts[2],
            contexts=self._contexts(len(one.ids), nats), worst=_worst(one, nats, -first),
            blocks=self._blocks(one, nats, -first) if one.id in self.few else (), nonfinite=int(bad.sum()),
            divergence=_divergence(tokens),
        )  # fmt: skip

    def empty(self, one: Prepared) -> DocumentScore:
        """The record of a document of which nothing can be scored."""
        return DocumentScore(one.id, one.group, 0.0, 0.0, 0, len(one.ids) + one.cut)

    def _refuse(self, one: Prepared, position: int, value: float, divergence: Tensor | None) -> None:
        what = "its -log p"
        if math.isfinite(value) and divergence is not None:
            what, value = "its divergence from the reference", float(divergence[~divergence.isfinite()][0])
        token = one.ids[position]
        text = "" if one.text is None or one.ends is None else f" ({_text(one, position)!r})"
        raise NonFiniteError(
            f"document {one.id!r}, token {position} (id {token}){text}: {what} is {value}, expected a finite number; "
            'find what made it, or keep it with nonfinite="report"'
        )

    def _contexts(self, length: int, nats: Tensor) -> dict[int, tuple[float, int]]:
        context = torch.cat([torch.arange(w.context, w.context + w.stop - w.first) for w in self.plan.windows(length)])
        found, order, counts = self.bins[context].unique(return_inverse=True, return_counts=True)
        sums = torch.zeros(len(found), dtype=torch.float64).index_add_(0, order, nats)
        return {b: (s, n) for b, s, n in zip(found.tolist(), sums.tolist(), counts.tolist(), strict=True)}

    def _blocks(self, one: Prepared, nats: Tensor, first: int) -> list[tuple[float, int, int | None, int | None, int | None]]:
        size = max(min(self.plan.stride, len(nats)), -(-len(nats) // _BLOCKS))
        found = []
        for start in range(0, len(nats), size):
            part = nats[start : start + size]
            amounts = (None, None, None) if one.whole else _amounts(one, first + start, first + start + len(part))
            found.append((_sum(part.tolist()), len(part), *amounts))
        return found


def _joined(parts: Sequence[tuple[Tensor, ...]]) -> _Tokens:
    return _Tokens(*(torch.cat(column) for column in zip(*parts, strict=True)))


def _sum(values: Sequence[float]) -> float:
    """Exactly rounded; inf and NaN pass."""
    if all(map(math.isfinite, values)):
        return math.fsum(values)
    return sum(values)


def _amounts(one: Prepared, start: int, stop: int) -> tuple[int | None, int | None, int | None]:
    """Bytes, characters and words of tokens [start, stop); None where the text of tokens is not known."""
    if one.text is None:
        return None, None, None
    if one.whole:  # of another text no part can be told: all of it, or nothing
        return _units(one.text) if start == 0 and stop == len(one.ids) and not one.cut else (None, None, None)
    if one.ends is None:
        if one.brought or start > 0 or stop < len(one.ids) or one.cut:
            return None, None, None
        return _units(one.text)
    begin = one.ends[start - 1] if start else one.begin
    return _units(one.text, begin, max(begin, one.ends[stop - 1]))


def _units(text: str, start: int = 0, stop: int | None = None) -> tuple[int, int, int]:
    found = units_of(text, start, stop)
    return found.byte, found.character, found.word


def _text(one: Prepared, position: int) -> str:
    assert one.text is not None
    assert one.ends is not None
    return one.text[one.ends[position - 1] if position else one.begin : one.ends[position]]


def _worst(one: Prepared, nats: Tensor, first: int) -> Surprise | None:
    if not len(nats):
        return None
    position = int(torch.where(nats.isnan(), torch.inf, nats).argmax())
    at = position + first
    if one.text is None or one.ends is None or one.whole:
        return Surprise(at, float(nats[position]), f"id {one.ids[at]}", "")
    begin = one.ends[at - 1] if at else one.begin
    return Surprise(at, float(nats[position]), _text(one, at), one.text[max(0, begin - _BEFORE) : begin])


def _divergence(tokens: _Tokens) -> Divergence | None:
    if tokens.divergence is None or tokens.same is None or tokens.theirs is None:
        return None
    values = tokens.divergence.tolist()
    bins: dict[int, int] = {}
    for value in values:
        bin = Divergence.bin_of(value)
        bins[bin] = bins.get(bin, 0) + 1
    return Divergence(_sum(values), max(values), int(tokens.same.sum()), _sum(tokens.theirs.tolist()), bins)
