"""How many pairs of a list are less than a margin in order, counted in O(n log n) for any number of grades."""

from __future__ import annotations

import torch
from torch import Tensor

from .list_ranks import begins, order, runs

__all__ = ["pairs_short_of"]


# two levels differ first in one bit: of the items that agree in the bits above it, those with 1 there are above those with 0
def pairs_short_of(margin: float, scores: Tensor, relevance: Tensor, valid: Tensor, *, touching: bool = False) -> Tensor:
    """#{(i, j): y_i > y_j, s_i - s_j < margin} of each list; ``touching`` counts s_i - s_j = margin too.

    The largest grade is read on the host.

    Shape:      scores, relevance, valid (B, L) -> (B,) int64
    """
    found = torch.zeros_like(scores[:, 0], dtype=torch.int64) if scores.shape[-1] else valid.sum(-1)
    level = _levels(relevance)
    for bit in range(int(level.max()).bit_length() if level.numel() else 0):
        upper, block = (level >> bit & 1).bool(), level >> (bit + 1)
        key = torch.where(upper, scores - margin, scores)
        at = order(~upper if touching else upper)  # of equal keys these come first
        for by in (key, block):
            at = at.gather(-1, order(by.gather(-1, at)))
        upper, block, there = (t.gather(-1, at) for t in (upper, block, valid))
        before = torch.cat([torch.zeros_like(block[:, :1]), (upper & there).cumsum(-1)], -1)
        here = before[:, :-1] - before.gather(-1, runs(begins(block))[0])
        found = found + torch.where(there & ~upper, here, 0).sum(-1)
    return found


def _levels(relevance: Tensor) -> Tensor:
    """0, 1, 2, ... for the grades of each list from the lowest."""
    at = order(relevance)
    return torch.empty_like(at).scatter_(-1, at, begins(relevance.gather(-1, at)).cumsum(-1) - 1)
