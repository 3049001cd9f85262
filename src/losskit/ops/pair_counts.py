"""What the pairs of a list count for together, by counting: O(n log n), no table of pairs."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.check import wide
from .list_ranks import begins, order, places, runs

__all__ = ["pair_weight"]


# a pair (i, j), y_i > y_j, has the weight of i: sum_i w_i #{j: y_j < y_i}; with topk an item outside has partners inside only
# half: sum_{i < j, y_i = y_j} (w_i + w_j) / 2 = sum_i w_i #{j != i: y_j = y_i} / 2
def pair_weight(
    scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, *, topk: int | None, half: bool
) -> Tensor:
    """The sum of the weights of the pairs of each list; without a gradient.

    A pair is two valid items of different relevance, and has the weight of the more relevant one; ``half`` adds the unordered
    pairs of equal relevance with the mean of their weights. With ``topk`` a pair counts if one of the two is among the k best
    scores: fewer than k valid items score strictly higher.

    Shape:      scores, relevance, valid, weight (B, L) -> (B,) in float64 where the device has it
    """
    mass = wide(valid if weight is None else torch.where(valid, weight.detach(), 0))
    key = torch.where(valid, wide(relevance.detach()), torch.nan)  # last, and each a run of its own
    at = order(key)
    key, there = key.gather(-1, at), valid.gather(-1, at)
    first, after = runs(begins(key))
    below, same = _within(there, first, after)
    if topk is not None:
        inside = (places(scores.detach(), valid).above < topk).gather(-1, at) & there
        inside_below, inside_same = _within(inside, first, after)
        below, same = torch.where(inside, below, inside_below), torch.where(inside, same, inside_same + 1)
    partners = below + (same - 1) / 2 if half else below.to(mass.dtype)
    return (mass.gather(-1, at) * partners).sum(-1)


def _within(chosen: Tensor, first: Tensor, after: Tensor) -> tuple[Tensor, Tensor]:
    """How many of the chosen stand before a run, and how many in it."""
    upto = torch.cat([torch.zeros_like(first[..., :1]), chosen.cumsum(-1)], -1) if chosen.shape[-1] else first
    before = upto.gather(-1, first)
    return before, upto.gather(-1, after) - before
