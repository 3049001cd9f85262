"""Hinges over all pairs of a list as sums over sorted sequences, any number of grades in O(n log n).

Two levels differ first in exactly one bit. So a bit cuts the levels into blocks, in each of which those with the bit set are
above those without, and all bits together have every pair once.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .hinge_moments import Piece
from .list_ranks import begins, order, runs

__all__ = ["Items", "graded_pieces", "in_grades", "tied_pieces", "with_itself"]


class Items(NamedTuple):
    """The items of lists in rising order of their grade, (B, L), those that are not valid last."""

    at: Tensor
    """Where in the list the item stands."""
    score: Tensor
    level: Tensor
    """0, 1, 2, ... for the grades of the list from the lowest."""
    counts: Tensor
    """1., 0. where not valid."""
    weight: Tensor | None
    """0 where not valid."""
    gain: Tensor | None
    ordered: Tensor | None
    swapped: Tensor | None
    tied: Tensor | None

    @property
    def mass(self) -> Tensor:
        """What a pair counts for by its item of the higher grade."""
        return self.counts if self.weight is None else self.weight


def in_grades(
    scores: Tensor,
    relevance: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
    *places: Tensor | None,
) -> Items:
    """The lists put in order; ``places`` are gain, ordered, swapped and tied of the pairs' weights."""
    wide = relevance.dtype
    key = torch.where(valid, relevance, torch.inf)
    at = order(key)
    key, there = key.gather(-1, at), valid.gather(-1, at)
    score = torch.where(valid, scores.detach(), 0).to(wide)
    # whole numbers are subtracted without an error, so that equal distances stay equal
    score = score - (score.sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1)).round()
    held = [None if t is None else torch.where(there, t.to(wide).gather(-1, at), 0) for t in (weight, *places)]
    held += [None] * (5 - len(held))
    return Items(at, score.gather(-1, at), begins(key).cumsum(-1) - 1, there.to(wide), *held)


def _then(at: Tensor, key: Tensor | None) -> Tensor:
    """An order by ``key``, and within that as before."""
    return at if key is None else at.gather(-1, order(key.gather(-1, at)))


def _top(level: Tensor) -> int:
    """The highest level of any list; on CUDA, where looking would synchronise, the highest that there can be."""
    if level.device.type != "cpu":
        return level.shape[-1] - 1
    return int(level.max()) if level.numel() else 0


def _small(number: Tensor, top: int) -> Tensor:
    return number.to(torch.uint8 if top < 256 else torch.int32)  # a radix sort has fewer digits to look at


Terms = list[tuple[Tensor, Tensor]]


def _piece(
    at: Tensor,
    key: Tensor,
    segments: Sequence[Tensor | None],
    powers: tuple[float, ...],
    terms: Terms,
    *,
    second: Tensor | None = None,
    whole: bool = False,
) -> Piece:
    """The sequence of entries ``at``, rising in ``key`` in each segment, which is a run of equal numbers."""
    numbers = [number.gather(-1, at) for number in segments if number is not None]
    starts = begins(*numbers) if numbers else None

    def gaps(value: Tensor) -> Tensor:
        value = value.gather(-1, at)
        gap = value.diff(dim=-1, prepend=value[..., :1])
        return gap if starts is None else torch.where(starts, 0, gap)

    first, after = (None, None) if starts is None else runs(starts)
    return Piece(at, gaps(key), None if second is None else gaps(second), first, after, powers, whole, terms)


def graded_pieces(items: Items, margin: float, power: int) -> Iterator[Piece]:
    """The pairs (i, j) with y_i > y_j, each in one piece, weighed max(0, margin - (s_i - s_j))^power."""
    top = _top(items.level)
    ranked = _Ranked.of(items, margin) if items.ordered is not None else None
    borders = _borders(items.level) if items.gain is not None else None
    for bit in range(top.bit_length()):
        block = None if top >> (bit + 1) == 0 else _small(items.level >> (bit + 1), top >> (bit + 1))
        upper = (items.level >> bit) % 2 == 1
        above, below = torch.where(upper, items.mass, 0), torch.where(upper, 0, items.counts)
        terms = [(above, below)]
        if items.gain is not None and borders is not None:
            border = ((items.level >> bit) | 1) << bit  # the lowest of the upper levels of the block
            least = items.gain.gather(-1, borders.gather(-1, border.clamp(max=borders.shape[-1] - 1)))
            terms = [(above * (items.gain - least), below), (above, below * (least - items.gain))]
        if ranked is not None:
            yield from ranked.pieces(items, upper, block, terms, margin, power)
            continue
        # equal keys stay in the order of their grades: an item exactly at the margin comes before the upper one, and is no pair
        shifted = torch.where(upper, items.score - margin, items.score)
        at = _then(order(shifted), block)
        whole = items.weight is None and items.gain is None
        yield _piece(at, shifted, [block], _only(power), terms, whole=whole)


def _borders(level: Tensor) -> Tensor:
    """Where each level begins, the last place for a level that does not exist."""
    size = level.shape[-1]
    here = torch.arange(size, device=level.device).expand(level.shape)
    slot = torch.where(begins(level), level, size)
    return torch.full_like(level, size - 1)[..., :1].expand(*level.shape[:-1], size + 1).scatter(-1, slot, here)[..., :size]


def _only(power: int) -> tuple[float, ...]:
    return (0.0,) * power + (1.0,)


def _around(margin: float, power: int, sign: int) -> tuple[float, ...]:
    """The coefficients of (margin + sign d)^power."""
    return tuple(math.comb(power, q) * margin ** (power - q) * float(sign) ** q for q in range(power + 1))


def tied_pieces(items: Items, margin: float, power: int) -> Iterator[Piece]:
    """The unordered pairs of one grade, weighed (l(d) + l(-d)) / 2 (w_i + w_j) / 2, and each item with itself.

    Entries are all items as the lower one, then all as the upper one.
    """
    none, several = torch.zeros_like(items.counts), _several(items)
    counts, mass = (torch.where(several, t, 0) for t in (items.counts, items.mass))
    lower, upper = (torch.cat([t, none], -1) for t in (counts, mass)), (torch.cat([none, t], -1) for t in (mass, counts))
    terms = [(y / 4, x) for x, y in zip(lower, upper, strict=True)]
    shifted = torch.cat([items.score, items.score - margin], -1)
    top = _top(items.level)
    level = torch.cat([items.level, items.level], -1)
    block = None if top == 0 else _small(level, top)
    yield _piece(_then(order(shifted), block), shifted, [block], _only(power), terms)


def _several(items: Items) -> Tensor:
    first, after = runs(begins(items.level))
    return after - first > 1


def with_itself(items: Items, margin: float, power: int) -> Tensor:
    """What the pieces of ties have too much (B,): no pair of its grade weighs less, so that nothing is lost by taking it away."""
    return torch.where(_several(items), items.mass, 0).sum(-1) * margin**power / 2


class _Ranked(NamedTuple):
    """What weights by place need besides: a pair's weight depends on which score is higher.

    Pairs in the right order but inside the margin lie in a window. Scores are cut into cells as wide as the margin, so that the
    window is the beginning of one cell and the end of the one below: sums within cells, never differences of sums.
    """

    by_score: Tensor
    """Equal scores in the order of their grades, so that a tie is never an early upper and a late lower one."""
    high_first: Tensor
    """Equal scores the other way round."""
    cell: Tensor
    own_border: Tensor
    """``ordered`` of the highest score in the cell; ``lower_border`` that of the highest score below the cell."""
    lower_border: Tensor

    @classmethod
    def of(cls, items: Items, margin: float) -> _Ranked:
        by_score = order(items.score)
        score = items.score.gather(-1, by_score)
        cell = torch.floor(score / margin) if margin > 0 else torch.zeros_like(score)
        first, after = runs(begins(cell))
        ordered = items.ordered.gather(-1, by_score) if items.ordered is not None else score

        def back(value: Tensor) -> Tensor:
            return torch.zeros_like(value).scatter(-1, by_score, value)

        own, lower = ordered.gather(-1, after - 1), ordered.gather(-1, (first - 1).clamp(min=0))
        high_first = items.score.shape[-1] - 1 - order(items.score.flip(-1))
        return cls(by_score, high_first, back(cell), back(own), back(lower))

    def pieces(
        self,
        items: Items,
        upper: Tensor,
        block: Tensor | None,
        terms: Terms,
        margin: float,
        power: int,
    ) -> Iterator[Piece]:
        assert items.ordered is not None
        assert items.tied is not None
        by_score = _then(self.by_score, block)
        yield _piece(by_score, items.score, [block], _around(margin, power, 1), terms, second=items.swapped)
        if margin == 0:
            return
        below, swap = _around(margin, power, -1), [(y, x) for x, y in terms]
        yield _piece(by_score, items.score, [items.score, block], below, [(x, y * items.tied) for x, y in swap])
        high_first = _then(self.high_first, block)
        yield _piece(high_first, items.score, [self.cell, block], below, swap, second=items.ordered)
        shifted = torch.where(upper, items.score - margin, items.score)
        cell = torch.where(upper, self.cell - 1, self.cell)
        # beyond 2^53 cells there is none below
        ahead = torch.where(self.cell > self.cell - 1, items.ordered - self.lower_border, 0)
        behind = self.own_border - items.ordered
        both = [(x * ahead, y) for x, y in terms] + [(x, y * behind) for x, y in terms]
        yield _piece(_then(_then(order(shifted), cell), block), shifted, [cell, block], _only(power), both)
