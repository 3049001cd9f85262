"""Sums over all pairs of a list that a key puts in order: O(n log n) time and O(n) memory, where a table of pairs has n^2."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .first_order import Found, first_order
from .list_ranks import begins, order, runs, valid_first

__all__ = ["Ranks", "pairs_logsumexp", "ranks"]


class Ranks(NamedTuple):
    """A list in rising order of its key, what is not valid at its end. All are (n,), by rank."""

    place: Tensor
    """Where in the list the entry of this rank stands"""
    first: Tensor
    """The first rank with the same key: so many keys are smaller"""
    after: Tensor
    """The rank after the last one with the same key"""
    valid: Tensor


def ranks(key: Tensor, valid: Tensor) -> Ranks:
    """Put ``key`` in order; equal keys are one run, no two of which are a pair.

    Shape:      key (n,), valid (n,) bool
    """
    place = valid_first(order(key), valid)
    valid = valid.gather(0, place)
    return Ranks(place, *runs(begins(key.gather(0, place), valid)), valid)


# L = log sum_{(i, j): y_i < y_j} exp(s_i - s_j) = LSE_j (c_j - s_j),  c_j = LSE_{i: y_i < y_j} s_i
# dL / ds_i = exp(s_i + d_i - L) - exp(c_i - s_i - L),                 d_i = LSE_{j: y_j > y_i} -s_j
def pairs_logsumexp(scores: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    """log of the sum of exp(s_i - s_j) over the pairs whose key rises from i to j; -inf where there is no pair.

    The difference of two scores is exact only in a dtype with digits to spare: hand over float64.

    Shape:      scores (n,), finite where valid, key (n,), valid (n,) bool -> ()
    """
    return first_order(_formula, _kernel, torch.where(valid, scores, 0), key, valid)


def _running(values: Tensor) -> Tensor:
    """The log-sum-exp of all values up to each.

    By doubling, since the derivative of torch.logcumsumexp takes the log of a gradient, which may be 0.
    """
    step = 1
    while step < len(values):
        left, right = values[:-step], values[step:]
        # logaddexp of which no derivative is inf / inf
        values = torch.cat([values[:step], left - F.logsigmoid(left - right)])
        step *= 2
    return values


def _formula(scores: Tensor, key: Tensor, valid: Tensor) -> Tensor:
    at = ranks(key, valid)
    s = scores.gather(0, at.place)
    below = _running(s).gather(0, (at.first - 1).clamp(min=0))
    paired = at.valid & (at.first > 0)
    total = torch.where(paired, below - s, -torch.inf).logsumexp(0)
    return torch.where(paired.any(), total, -torch.inf)  # the log of nothing has a second derivative of NaN


def _kernel(scores: Tensor, key: Tensor, valid: Tensor) -> Found:
    at, last = ranks(key, valid), max(len(key) - 1, 0)
    s = scores.gather(0, at.place)
    below = s.logcumsumexp(0).gather(0, (at.first - 1).clamp(min=0))
    terms = torch.where(at.valid & (at.first > 0), below - s, -torch.inf)
    total = terms.logsumexp(0)
    rest = torch.where(at.valid, -s, -torch.inf).flip(0).logcumsumexp(0).flip(0)
    above = torch.where(at.after <= last, rest.gather(0, at.after.clamp(max=last)), -torch.inf)
    base = torch.where(total == -torch.inf, 0, total)
    slope = torch.exp(s + above - base) - torch.exp(terms - base)
    return total, (torch.empty_like(scores).scatter_(0, at.place, slope),), torch.mul
