"""Numbers of the pairs of every row that a person looks at, all from one sweep over tiles; no gradient."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .pair_sets import counted
from .pair_tiles import Call, by_id, tiles
from .pairs import Pairs

__all__ = ["PairNumbers", "pair_numbers"]


class PairNumbers(NamedTuple):
    """Of the pairs of every row that count, each (N,) in float64."""

    number: Tensor
    total: Tensor
    """Sum of scores."""
    best: Tensor
    """The largest score; -inf of none."""
    lse: Tensor
    """Log-sum-exp of scores times ``scale``; -inf of none."""
    perplexity: Tensor
    """How many equal scores have the entropy of their softmax; 0 of none."""
    above: Tensor
    """How many scores are above the row's ``own`` by more than ``slack``."""
    tied: Tensor
    """How many are within ``slack`` of it."""


def pair_numbers(pairs: Pairs, scale: Tensor | float, own: Tensor | None = None, slack: float = 0.0) -> PairNumbers:
    """One product of N x M x D, tile by tile; ``own`` (N,) is what scores are compared with, nothing if None."""
    memory = pairs.memory or ((8 if pairs.x.device.type == "cpu" else 256) << 20)
    call = Call(pairs.x.detach(), pairs.y.detach(), pairs.who, memory)
    own = pairs.x.new_full((len(pairs.x),), torch.inf) if own is None else own.to(pairs.x.dtype)
    if not pairs.who.same:
        return _numbers(call, scale, own, slack)
    call, order = by_id(call)  # pairs of equal id lie together: most tiles have none
    return PairNumbers(*map(order.undone, _numbers(call, scale, own[order.rows], slack)))


def _numbers(call: Call, scale: Tensor | float, own: Tensor, slack: float) -> PairNumbers:
    number, total, mass, moment, above, tied = call.x.new_zeros(6, len(call.x), dtype=torch.float64)
    best = torch.full_like(number, -torch.inf)
    for tile in tiles(call):
        at, seen = tile.rows, counted(call.who, tile.rows, tile.cols)
        scores = tile.scores.masked_fill_(~seen, -torch.inf)
        gap = scores - own[at, None]
        above[at] += (gap > slack).sum(1)
        tied[at] += (gap.abs() <= slack).sum(1)
        number[at] += seen.sum(1)
        top = torch.maximum(best[at], scores.amax(1).double())
        shift = torch.where(top == -torch.inf, 0, top)
        e = ((scores - shift.to(scores.dtype)[:, None]) * scale).exp_()
        scores.masked_fill_(~seen, 0)
        kept = ((best[at] - shift) * scale).exp()
        mass[at] = mass[at] * kept + e.sum(1, dtype=torch.float64)
        moment[at] = moment[at] * kept + e.mul_(scores).sum(1, dtype=torch.float64)
        total[at] += scores.sum(1, dtype=torch.float64)
        best[at] = top
    none = mass == 0
    lse = torch.where(none, 0, mass).log() + torch.where(none, 0, best) * scale
    entropy = torch.where(none, -torch.inf, lse - moment / torch.where(none, 1, mass) * scale)
    return PairNumbers(number, total, best, lse, entropy.exp(), above, tied)
