"""Sums over the pairs of a sorted sequence, of polynomials of how far the two are apart: running sums, no differences."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["Piece", "bent", "total_and_slope"]


class Piece(NamedTuple):
    """A sequence in rising order, cut into segments; a pair is an early and a late entry of one segment."""

    at: Tensor
    """(B, K): which entry stands at each place."""
    gap: Tensor
    """(B, K): how far each key is from the one before it; 0 at the first of a segment."""
    step: Tensor | None
    """(B, K): the same of a second key, whose difference is a factor of every pair."""
    first: Tensor | None
    """(B, K): the first place of the segment, None where there is one segment; ``after`` the place after its last."""
    after: Tensor | None
    powers: tuple[float, ...]
    """A pair at distance d counts sum_q powers[q] d^q."""
    whole: bool
    """Whether all masses are 0 or 1, of which every sum is exact."""
    terms: list[tuple[Tensor, Tensor]]
    """Masses (B, K) by entry: a pair has those of its early and of its late one. An entry has no mass for the other part."""


def total_and_slope(piece: Piece) -> tuple[Tensor, Tensor]:
    """The sum over all pairs (B,), and its derivative (B, K) by the key of each entry.

    With M[q](k) = sum of early masses times (key_k - key)^q, the sum over late j of M[q](j) is taken by parts: what M[q]
    grows by at each place, times the late mass from there on. Every summand is a product of gaps and masses.
    """
    total, slope = torch.zeros_like(piece.gap[..., 0]), None
    by_step = int(piece.step is not None)
    for x, y in _placed(piece):
        early, late = _moments(piece, x), _mirrored(piece, y)
        rest = late(0, 0).flip(-1)
        for power, factor in enumerate(piece.powers):
            if factor == 0:
                continue
            grown = early.growth(power, by_step)
            total = total + factor * (y * early(0, 0) if grown is None else rest * grown).sum(-1)
            if power:
                rise, fall = y * early(power - 1, by_step), x * late(power - 1, by_step).flip(-1)
                slope = _sum(slope, _times(factor * power, rise - fall))
    assert slope is not None  # a piece that does not depend on the scores is none
    return total, torch.empty_like(slope).scatter(-1, piece.at, slope)


def bent(piece: Piece, moved: Tensor) -> Tensor:
    """The derivative (B, K) of the sum of (moved_late - moved_early)^2 over the pairs, by entry."""
    moved, by_step = moved.gather(-1, piece.at), int(piece.step is not None)
    found = torch.zeros_like(moved)
    piece = piece._replace(whole=False)
    for x, y in _placed(piece):
        rise = moved * _moments(piece, x)(0, by_step) - _moments(piece, x * moved)(0, by_step)
        fall = moved * _mirrored(piece, y)(0, by_step).flip(-1) - _mirrored(piece, y * moved)(0, by_step).flip(-1)
        found = found + 2 * (y * rise + x * fall)
    return torch.empty_like(found).scatter(-1, piece.at, found)


def _placed(piece: Piece) -> list[tuple[Tensor, Tensor]]:
    return [(x.gather(-1, piece.at), y.gather(-1, piece.at)) for x, y in piece.terms]


class _Moments:
    """M[a, b](k): the sum of mass times distance^a times second distance^b over all that stands up to place k."""

    def __init__(self, mass: Tensor, gap: Tensor, step: Tensor | None, first: Tensor | None, *, whole: bool) -> None:
        self.gap, self.step, self.first = gap, step, first
        self.known = {(0, 0): _running(mass, first, whole=whole)}

    def __call__(self, a: int, b: int) -> Tensor:
        if (a, b) not in self.known:
            grown = self.growth(a, b)
            assert grown is not None
            self.known[a, b] = _running(grown, self.first, whole=False)
        return self.known[a, b]

    def growth(self, a: int, b: int) -> Tensor | None:
        """What M[a, b] grows by at each place: (d + gap)^a (e + step)^b - d^a e^b. None for M[0, 0]."""
        found: Tensor | None = None
        for i in range(a + 1):
            for j in range(b + 1):
                if (i, j) == (a, b):
                    continue
                part = _times(math.comb(a, i) * math.comb(b, j), _before(self(i, j)))
                for _ in range(a - i):
                    part = part * self.gap
                for _ in range(b - j):
                    assert self.step is not None
                    part = part * self.step
                found = _sum(found, part)
        return found


def _times(factor: float, value: Tensor) -> Tensor:
    return value if factor == 1 else factor * value


def _sum(one: Tensor | None, other: Tensor) -> Tensor:
    return other if one is None else one + other


def _moments(piece: Piece, mass: Tensor) -> _Moments:
    return _Moments(mass, piece.gap, piece.step, piece.first, whole=piece.whole)


def _mirrored(piece: Piece, mass: Tensor) -> _Moments:
    """The moments from the other end; places are counted from there."""
    gap = piece.gap.roll(-1, -1).flip(-1)
    step = None if piece.step is None else piece.step.roll(-1, -1).flip(-1)
    first = None if piece.after is None else mass.shape[-1] - piece.after.flip(-1)
    return _Moments(mass.flip(-1), gap, step, first, whole=piece.whole)


def _before(value: Tensor) -> Tensor:
    return F.pad(value[..., :-1], (1, 0))


def _running(value: Tensor, first: Tensor | None, *, whole: bool) -> Tensor:
    """The sum of each segment up to each place.

    As a difference of sums over all segments, with what their rounding has lost summed beside them: a segment of small
    numbers behind one of large numbers keeps its digits.
    """
    total = value.cumsum(-1)
    if first is None:
        return total
    before = _before(total)
    found = total - before.gather(-1, first)
    if whole:
        return found
    lost = (value - (total - before)).cumsum(-1)
    return found + (lost - _before(lost).gather(-1, first))
