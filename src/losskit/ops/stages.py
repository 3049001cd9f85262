"""Choosing the items of a list one after the other: what each choice costs, and the log-sum-exp of all that are left."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import wide
from .first_order import Found, by_list, first_order
from .list_ranks import begins, order, runs

__all__ = ["Stages", "by_rank", "of_runs", "run_sum", "stage_costs", "stages", "until"]


class Stages(NamedTuple):
    """The items of each list from the highest key down, those that are not valid last. All are by rank."""

    place: Tensor
    """(B, L): where in its list the item of this rank stands"""
    first: Tensor
    """(B, L): the first rank of its run, the items of the same key"""
    after: Tensor
    """(B, L): the rank after the last of its run"""
    length: Tensor
    """(B, 1): how many items are valid"""


def stages(key: Tensor, valid: Tensor, *, shuffle: Tensor | None = None) -> Stages:
    """Put the items in order. Among equal keys the order is that of ``shuffle``, or else of the list; a NaN is not valid.

    Shape:      key (B, L), valid (B, L) bool, shuffle (B, L)
    """
    key = torch.where(valid, wide(key), torch.nan)  # which comes last, and equals nothing
    if shuffle is None:
        place = order(key, descending=True)
    else:
        mixed = order(shuffle)
        place = mixed.gather(-1, order(key.gather(-1, mixed), descending=True))
    return Stages(place, *runs(begins(key.gather(-1, place))), valid.sum(-1, keepdim=True))


def run_sum(values: Tensor, at: Stages) -> Tensor:
    """The sum over each rank's run, by rank: sums of their own, since a difference of running sums loses digits."""
    return _sum(values, at.first)


def _sum(values: Tensor, first: Tensor) -> Tensor:
    return torch.zeros_like(values).scatter_add(-1, first, values).gather(-1, first)


def of_runs(values: Tensor, first: Tensor, weight: Tensor | None = None) -> Tensor:
    """The log of the sum of w e^v over each rank's run, by rank; of a single item without a weight its very value."""
    top = torch.full_like(values, -torch.inf).scatter_reduce(-1, first, values, "amax").gather(-1, first)
    terms = torch.exp(values - top)
    return top + _sum(terms if weight is None else weight * terms, first).log()


def by_rank(values: Tensor, place: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Numbers of the list in order, 0 where not valid, and where they are."""
    there = torch.arange(values.shape[-1], device=values.device) < length
    return torch.where(there, wide(values.gather(-1, place)), 0), there


def until(values: Tensor, stop: Tensor) -> Tensor:
    """The log-sum-exp of values[k], ..., values[stop_k - 1], where all ranks of one sum have one stop.

    By doubling, since the derivative of torch.logcumsumexp takes the log of a gradient, which may be 0.
    """
    here, step = torch.arange(values.shape[-1], device=values.device), 1
    while step < values.shape[-1]:
        left, right = values[..., :-step], values[..., step:]
        both = left - F.logsigmoid(left - right)
        values = torch.cat([torch.where(here[step:] < stop[..., :-step], both, left), values[..., -step:]], -1)
        step *= 2
    return values


# without ``own``: L = sum_k w_k log(1 + exp(c_k - s_k)), c_k = LSE of the items below the run of k
# with it:         L = sum_k w_k (log(exp(E_k + h_k) + exp(c_k)) - E_k) + v_k (E_k - s_k), E_k = LSE of the run, h_k = share
# dL / dc_k = w_k sigma(c_k - E_k - h_k), and dc_k / ds_j = exp(s_j - c_k) for all j in lower runs: again a running LSE
def stage_costs(scores: Tensor, at: Stages, weight: Tensor, own: Tensor | None = None, share: Tensor | None = None) -> Tensor:
    """What all choices of a list cost, in O(L) once it is in order, with every digit of a choice that is nearly sure.

    Without ``own`` an item competes with the lower runs only. With it, with its run too: the run as a whole costs
    log(e^share run + lower) at each of its ranks, ``weight`` says how much, and ``own`` how much each item's score is
    worth; over a run the two have the same sum. Both are 0 where nothing is valid, and get no gradient.

    Shape:      scores (B, L), in the order of the list; weight, own, share (B, L), by rank -> (B,)
    """
    if not scores.shape[-1]:
        return scores.sum(-1)
    return first_order(_formula, _kernel, scores, *at, weight, own, share)


def _formula(
    scores: Tensor,
    place: Tensor,
    first: Tensor,
    after: Tensor,
    length: Tensor,
    weight: Tensor,
    own: Tensor | None,
    share: Tensor | None,
) -> Tensor:
    s, _ = by_rank(scores, place, length)
    more = after < length
    below = until(s, length.expand_as(place)).gather(-1, after.clamp(max=s.shape[-1] - 1))
    single = after - first == 1
    base = s if own is None else torch.where(single, s, until(s, after).gather(-1, first))
    apart = base - below if share is None else base + share - below
    value = weight * torch.where(more, -F.logsigmoid(torch.where(more, apart, 0)), 0)
    if share is not None:
        value = value + weight * share
    if own is not None:
        # nothing for a single item: the slopes of two equal terms would swallow the one above
        value = value + own * torch.where(single, 0, base - s)
    return value.sum(-1).to(scores.dtype)


def _kernel(
    scores: Tensor,
    place: Tensor,
    first: Tensor,
    after: Tensor,
    length: Tensor,
    weight: Tensor,
    own: Tensor | None,
    share: Tensor | None,
) -> Found:
    (s, there), more = by_rank(scores, place, length), after < length
    left = torch.where(there, s, -torch.inf).flip(-1).logcumsumexp(-1).flip(-1)
    below = torch.where(more, left.gather(-1, after.clamp(max=s.shape[-1] - 1)), -torch.inf)
    base = s if own is None else of_runs(s, first)
    apart = base - below if share is None else base + share - below
    behind = F.logsigmoid(-apart)
    value, pull = weight * -F.logsigmoid(apart), weight * behind.exp()
    above = torch.where(more, weight.log() + behind - below, -torch.inf).logcumsumexp(-1)
    above = torch.where(first > 0, above.gather(-1, (first - 1).clamp(min=0)), -torch.inf)
    slope = torch.exp(s + above)
    if share is not None:
        value = value + weight * share
    if own is None:
        slope = slope - pull
    else:
        value = value + own * (base - s)
        softmax = torch.exp(s - base)
        # in this order: of an item that has no equal the first bracket is exactly 0
        slope = slope + (softmax * _sum(own, first) - own) - softmax * _sum(pull, first)
    slope = torch.where(there, slope, 0)
    slope = torch.empty_like(slope).scatter_(-1, place, slope).to(scores.dtype)
    return value.sum(-1).to(scores.dtype), (slope,), by_list
