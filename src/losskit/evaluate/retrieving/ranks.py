"""Where relevant documents stand: how many others score higher and how many the same, counted tile by tile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from .relevance import Relevance
from .scores import Scorer

__all__ = ["Block", "Counter", "Ranks", "Ties", "blocks"]

Ties = Literal["mean", "pessimistic", "optimistic"]

_PAIR_BYTES = 400  # some fifty numbers for each relevant document of a block, while figures are computed
_FEW = 32  # rows of queries below which reading all documents again costs more than a second look
_COMPARED = 32  # bounds; looking up each score among more of them is faster (20 to 75 ns a score against 0.5 a comparison)


class Block(NamedTuple):
    """Some queries, and their relevant documents in as many columns as the one with the most has."""

    query: Tensor
    """(B,) int64"""
    document: Tensor
    """(B, R) int64"""
    gain: Tensor
    """(B, R) float64, 0 in a column that holds nothing"""
    own: Tensor | None
    """(B,) int64: the document that is the query itself, -1 for none"""


class Ranks(NamedTuple):
    """Of each relevant document, float64 (B, R), in the order of scores from low to high; columns that hold nothing are last."""

    above: Tensor
    """Documents that score higher."""
    tied: Tensor
    """Documents with this score, itself among them."""
    relevant_above: Tensor
    relevant_tied: Tensor
    gain: Tensor
    relevant: Tensor
    """(B,): columns that hold something"""

    @property
    def holds(self) -> Tensor:
        """(B, R) bool"""
        return torch.arange(self.gain.shape[1], device=self.gain.device) < self.relevant.unsqueeze(1)

    def broken(self, ties: Ties) -> Ranks:
        """The same with ties broken for or against the relevant documents; "mean" leaves them."""
        if ties == "mean":
            return self
        place = torch.arange(self.gain.shape[1], device=self.gain.device)
        # columns of one score stand from small gains to large ones
        from_top = self.relevant.unsqueeze(1) - 1 - place - self.relevant_above
        ahead = self.relevant_tied - 1 - from_top if ties == "pessimistic" else from_top
        others = self.tied - self.relevant_tied if ties == "pessimistic" else 0
        above = torch.where(self.holds, self.above + others + ahead, 0)
        one = torch.ones_like(self.tied)
        return Ranks(above, one, self.relevant_above + ahead, one, self.gain, self.relevant)


def blocks(relevance: Relevance, own: Tensor | None, rows: int, memory: int) -> Iterator[Block]:
    """All queries that have a relevant document, those with few of them first, so that columns stand empty seldom."""
    order = relevance.count.argsort(stable=True)
    counts = relevance.count[order].tolist()
    start = sum(1 for count in counts if not count)
    room = max(1, memory // _PAIR_BYTES)
    while start < len(counts):
        size = min(rows, len(counts) - start)
        if size * counts[start + size - 1] > room:
            size = max(1, min(size, room // counts[start + size - 1]))
        yield _block(relevance, own, order[start : start + size], counts[start + size - 1])
        start += size


def _block(relevance: Relevance, own: Tensor | None, query: Tensor, columns: int) -> Block:
    place = torch.arange(columns, device=query.device)
    holds = place < relevance.count[query].unsqueeze(1)
    at = (relevance.start[query].unsqueeze(1) + place).clamp_(max=len(relevance.document) - 1)
    document = relevance.document[at]
    if own is not None:
        own = own[query]
        holds &= document != own.unsqueeze(1)
    gain = holds.double() if relevance.gain is None else torch.where(holds, relevance.gain[at], 0)
    return Block(query, document, gain, own)


class Counter:
    """Counts for blocks of queries, within a byte budget: the scores of a block against all documents, if these are few
    enough; else against a stretch of them at a time, which is looked at twice.
    """

    def __init__(self, scorer: Scorer, memory: int) -> None:
        self.scorer, self.memory, total = scorer, memory, len(scorer.documents.rows)
        self.width = scorer.width(memory)
        held = max(1, memory // 2 // 8)  # scores
        whole = max(1, -(-total // self.width)) * self.width
        most = 256 if scorer.documents.rows.device.type == "cpu" else 4096
        self.rows = min(most, max(1, held // whole))
        self.length = whole
        if self.rows < _FEW and whole > self.width:
            self.rows = min(_FEW * 2, max(1, held // self.width))
            self.length = max(1, held // self.rows // self.width) * self.width
        self.starts = list(range(0, total, self.length))
        # fresh memory costs as much as the arithmetic: one piece serves all blocks
        empty = torch.empty(0, dtype=torch.float64, device=scorer.documents.rows.device)
        self.scores = empty.new_empty(self.rows if total else 0, self.length)
        self.larger = empty.new_empty(len(self.scores), self.width)

    def ranks(self, block: Block) -> Ranks:
        """The ranks of the block's relevant documents."""
        factors = self.scorer.queries.factors(block.query)
        scores, larger = self.scores[: len(factors)], self.larger[: len(factors)]
        mine = torch.full_like(block.gain, torch.inf)
        for start in self.starts:
            self._look(factors, block, start, scores)
            inside = (block.gain > 0) & (block.document >= start) & (block.document < start + self.length)
            at = (block.document - start).clamp_(0, self.length - 1)
            mine = torch.where(inside, scores.gather(1, at), mine)
        mine, gain = _ordered(mine, block.gain)
        bounds = torch.cat([mine, _just_below(mine)], 1)
        beyond = torch.zeros_like(bounds)
        for start in reversed(self.starts):  # the last stretch is still there
            if start != self.starts[-1]:
                self._look(factors, block, start, scores)
            beyond += _beyond(scores, bounds, larger)
        return _ranks(mine, gain, *beyond.chunk(2, 1))

    def _look(self, factors: Tensor, block: Block, start: int, out: Tensor) -> None:
        self.scorer.fill(factors, start, self.width, out)
        if block.own is not None:
            at = (block.own - start).unsqueeze(1)
            inside = (block.own.unsqueeze(1) >= 0) & (at >= 0) & (at < self.length)
            at = at.clamp(0, self.length - 1)
            out.scatter_(1, at, torch.where(inside, -torch.inf, out.gather(1, at)))


def _ordered(mine: Tensor, gain: Tensor) -> tuple[Tensor, Tensor]:
    """By score, and by gain where scores are equal; what holds nothing has the score inf and comes last."""
    gain, order = gain.sort(dim=1, stable=True)
    mine, again = mine.gather(1, order).sort(dim=1, stable=True)
    return mine, gain.gather(1, again)


def _just_below(scores: Tensor) -> Tensor:
    low = torch.nextafter(scores, scores.new_full((), -torch.inf))
    return torch.where(scores == 0, -1e-300, low)  # where denormal numbers are flushed, the next one below 0 is 0


def _beyond(scores: Tensor, bounds: Tensor, larger: Tensor) -> Tensor:
    """How many scores of each row are greater than each bound: (B, L), (B, K), room for a tile -> (B, K)."""
    found = torch.zeros_like(bounds)
    if bounds.shape[1] <= _COMPARED:
        for tile in scores.split(larger.shape[1], 1):
            for column, bound in zip(found.unbind(1), bounds.unsqueeze(2).unbind(1), strict=True):
                column += torch.gt(tile, bound, out=larger).sum(1)
        return found
    bounds, order = bounds.sort(dim=1)
    passed = bounds.new_zeros(len(bounds), bounds.shape[1] + 1, dtype=torch.int64)  # how many scores exceed so many bounds
    one = passed.new_ones(())
    for tile in scores.split(max(1, larger.shape[1] // 8), 1):  # a copy and int64 places of it stay small
        place = torch.searchsorted(bounds, tile.contiguous())
        passed.scatter_add_(1, place, one.expand_as(place))
    return found.scatter_(1, order, passed[:, 1:].flip(1).cumsum(1).flip(1).double())


def _ranks(mine: Tensor, gain: Tensor, above: Tensor, at_least: Tensor) -> Ranks:
    first, behind = torch.searchsorted(mine, mine), torch.searchsorted(mine, mine, right=True)
    holds = gain > 0
    relevant = holds.sum(1)
    return Ranks(
        above,
        torch.where(holds, at_least - above, 1),
        torch.where(holds, relevant.unsqueeze(1) - behind, 0).double(),
        torch.where(holds, behind - first, 1).double(),
        gain,
        relevant,
    )
