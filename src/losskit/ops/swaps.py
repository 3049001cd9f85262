"""By how much a metric changes when two items of a list change places, as vectors of items; a tie is the mean of its orders."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.check import wide
from .lambda_pairs import Lambda, steps
from .list_ranks import Places, places

__all__ = ["average_precision", "by_distance", "by_place", "discounts", "ideal"]


class _Ties(NamedTuple):
    """The places 1..L of a list, (B, L) by place, and the items that share them."""

    at: Places
    place: Tensor
    """1, 2, ..."""
    first: Tensor
    """The index of the first place of the tie"""
    inside: Tensor
    """The how many-th place of its tie it is: 1, 2, ..., t"""
    width: Tensor
    """t, or 1 where no valid item stands"""

    def total(self, table: Tensor) -> Tensor:
        """The sum of ``table`` over the places of each item's tie: by adding them, since prefix sums lose digits far down."""
        table = torch.where(self.inside <= self.width, table, 0).expand(self.first.shape)
        return torch.zeros_like(table).scatter_add(-1, self.first, table).gather(-1, self.within)

    def mean(self, table: Tensor) -> Tensor:
        return self.total(table) / self.at.tied

    # sum_{a < b <= t} (f_a - f_b) = sum_{k < t} k (t - k) (f_k - f_{k+1}): every pair of places crosses the gaps between them
    def crossings(self, gaps: Tensor) -> Tensor:
        """The sum over the pairs of places in each item's tie of what lies between them, ``gaps`` being from place to place."""
        return self.total(self.inside * (self.width - self.inside) * gaps)

    def pairs(self) -> Tensor:
        """Pairs of places in each item's tie, 1 where there is none."""
        tied = self.at.tied.to(self.place.dtype)
        return (tied * (tied - 1) / 2).clamp(min=1)

    def above(self, density: Tensor) -> Tensor:
        """The sum of ``density`` over the places above each item's tie."""
        sums = torch.cat([torch.zeros_like(density[..., :1]), density.cumsum(-1)], -1)
        return sums.gather(-1, self.at.above)

    @property
    def within(self) -> Tensor:
        """The first place of each item's tie, as an index."""
        return self.at.above.clamp(max=max(self.first.shape[-1] - 1, 0))


def _ties(at: Places) -> _Ties:
    size = at.above.shape[-1]
    here = torch.arange(size, device=at.above.device)
    # an item that is not valid stands behind all others
    marks = torch.zeros_like(at.above).scatter(-1, at.above, at.above)
    first = marks.cummax(-1).values if size else marks
    width = torch.ones_like(at.above).scatter(-1, at.above, at.tied).gather(-1, first)
    place = wide(here + 1)
    return _Ties(at, place, first, (here - first + 1).to(place.dtype), width.to(place.dtype))


def discounts(size: int, k: int | None, device: torch.device) -> tuple[Tensor, Tensor]:
    """1 / log2(1 + place) of the places 1..size, 0 beyond ``k``, and by how much each is above the next."""
    place = wide(torch.arange(1, size + 1, device=device))
    table, gaps = math.log(2) / torch.log1p(place), steps(place)
    if k is None:
        return table, gaps
    return torch.where(place <= k, table, 0), torch.where(place < k, gaps, torch.where(place == k, table, 0))


def ideal(gain: Tensor, relevance: Tensor, valid: Tensor, table: Tensor) -> Tensor:
    """The sum of gain times ``table`` when the most relevant come first, (B, 1)."""
    return (gain * _ties(places(relevance, valid)).mean(table)).sum(-1, keepdim=True)


def by_place(gain: Tensor, at: Places, table: Tensor, gaps: Tensor) -> Lambda:
    """|gain_i - gain_j| |table at the place of i - that of j|, for a table that falls by ``gaps`` from place to place."""
    ties = _ties(at)
    value = ties.mean(table)
    return Lambda(gain, value, value, ties.crossings(gaps) / ties.pairs())


def by_distance(gain: Tensor, at: Places, mu: float, places_too: Lambda | None = None) -> Lambda:
    """mu |gain_i - gain_j| steps(d) for items d places apart, added to ``places_too``; tied ones are at their mean distance."""
    # the mean place of a tie, and the mean distance of two of its t places
    tied = at.tied.to(gain.dtype)
    rank, apart = at.above + (tied + 1) / 2, (tied + 1) / 3
    if places_too is None:
        return Lambda(gain, rank=rank, apart=apart, mu=mu)
    return places_too._replace(rank=rank, apart=apart, mu=mu)


# R AP = sum over relevant t of h(t) / t, h(r) the relevant items up to place r, A(r) = sum over relevant t <= r of 1 / t.
# A relevant item at place a and an irrelevant one at b > a change it by [h(a)/a - A(a)] - [h(b)/b - A(b)]; the other way round
# (h + 1) / r stands for h / r. In a tie of t items, m relevant, with H relevant above, others are relevant with probability rho:
#   E h(r)/r - A(r) = -A_above + (H sum_k 1/r_k - rho sum_k k (t - k) / (r_k r_{k+1})) / t,             rho = (m - y) / (t - 1)
#   two items of one tie: sum_k k (t - k) (H + 1 + rho (k - 1)) / (r_k r_{k+1}) over t (t - 1) / 2 pairs, rho = (m - 1) / (t - 2)
def average_precision(relevant: Tensor, at: Places) -> Lambda:
    """The change of average precision; ``relevant`` is 1 or 0, (B, L), and 0 where not valid."""
    ties, tied = _ties(at), at.tied.to(relevant.dtype)
    inverse, gaps = 1 / ties.place, 1 / (ties.place * (ties.place + 1))
    hits = torch.zeros_like(relevant).scatter_add(-1, ties.within, relevant)  # of a tie, at its first place
    share = (hits.gather(-1, ties.first) / ties.width).where(ties.inside <= ties.width, 0)
    own, before = hits.gather(-1, ties.within), ties.above(hits)
    crossed = ties.crossings(gaps)
    rho = (own - relevant) / (tied - 1).clamp(min=1)
    ordered = (before * ties.total(inverse) - rho * crossed) / tied - ties.above(share * inverse)
    other = (own - 1).clamp(min=0) / (tied - 2).clamp(min=1)
    pair = ((before + 1) * crossed + other * ties.crossings(gaps * (ties.inside - 1))) / ties.pairs()
    number = relevant.sum(-1, keepdim=True)
    return Lambda(relevant / number.clamp(min=1), ordered, ordered + ties.mean(inverse), pair)
