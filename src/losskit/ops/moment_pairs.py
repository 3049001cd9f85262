"""Squared and exponential sums over all pairs of a list, taken apart into running moments: O(n log n) time, O(n) memory."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..core.check import wide
from .first_order import Found, by_list, first_order
from .stages import by_rank, of_runs, stages, until

__all__ = ["exponential_pairs", "mse_pairs"]


def _from(table: Tensor, rank: Tensor) -> Tensor:
    """``table`` at each rank, 0 at the rank after the last."""
    return torch.cat([table, torch.zeros_like(table[..., :1])], -1).gather(-1, rank)


def _left(values: Tensor) -> Tensor:
    """The sum from each rank on."""
    return values.flip(-1).cumsum(-1).flip(-1)


# all pairs count one:  sum_{i < j} (d_i - d_j)^2 = n sum_i (d_i - mean)^2, d = s - y
# by the higher grade:  sum_i w_i (E_i(lower) + E_i(lower or equal)) / 2, E_i(S) = sum_{j in S} (d_i - d_j)^2 = N (d_i - M)^2 + V,
#                       N, M, V the number of S, its mean, and its squares around that: sums of squares, in which nothing cancels
def mse_pairs(scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None) -> Tensor:
    """The sum of w_ij ((s_i - s_j) - (y_i - y_j))^2 over all unordered pairs, equal grades included.

    A pair has the weight of its more relevant item, or the mean of both where the grades are equal.

    Shape:      scores, relevance, valid (bool), weight (B, L) -> (B,), in float64 where the device has it
    """
    number = valid.sum(-1, keepdim=True)

    def around_mean(values: Tensor) -> Tensor:
        values = torch.where(valid, values, 0)
        return torch.where(valid, values - values.sum(-1, keepdim=True) / number.clamp(min=1), 0)

    # the grades first, so that the scores lose no digit to a common offset; then all, so that the running means keep theirs
    d = around_mean(wide(scores) - around_mean(wide(relevance)))
    if not d.shape[-1]:
        return d.sum(-1)
    if weight is None:
        return number.squeeze(-1) * d.square().sum(-1)
    place, first, after, count = stages(relevance, valid)
    (d, there), (w, _) = by_rank(d, place, count), by_rank(weight, place, count)
    left = (count - torch.arange(d.shape[-1], device=d.device)).clamp(min=1).to(d.dtype)
    mean = _left(d) / left
    # a value joins those after it, whose mean it moves
    apart = torch.where(there, d - _from(mean, torch.arange(1, d.shape[-1] + 1, device=d.device).expand_as(place)), 0)
    squares = _left((left - 1) / left * apart.square())

    def around(rank: Tensor) -> Tensor:
        return (count - rank).clamp(min=0) * (d - _from(mean, rank)).square() + _from(squares, rank)

    return (w * (around(first) + around(after))).sum(-1) / 2


# L = sum_i w_i exp(b_i - s_i),            b_i = LSE of s over lower grades
# dL / ds_k = exp(s_k + a_k) - w_k exp(b_k - s_k), a_k = LSE of log w - s over higher grades
# and for ties sum_i w_i (exp(R_i - s_i) + exp(Q_i + s_i) - 2) / 4, R and Q the LSE of s and of -s over the same grade
def exponential_pairs(scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None, *, half: bool) -> Tensor:
    """The sum of w_i exp(s_j - s_i) over the pairs y_i > y_j; with ``half`` also of cosh(s_i - s_j) (w_i + w_j) / 2 over ties.

    A sum of exponentials starts at its own largest term: scores may be any distance apart that their exponentials allow.

    Shape:      scores, relevance, valid (bool), weight (B, L) -> (B,), in float64 where the device has it
    """
    s = wide(scores)
    if not s.shape[-1]:
        return s.sum(-1)
    place, first, after, count = stages(relevance, valid)
    s, there = by_rank(s, place, count)
    w = there.to(s.dtype) if weight is None else by_rank(weight, place, count)[0]
    return first_order(partial(_formula, half=half), partial(_kernel, half=half), s, first, after, count, w)


def _times_exp(weight: Tensor, power: Tensor, there: Tensor) -> Tensor:
    """weight e^power where there is something, 0 elsewhere, whatever e^power may be."""
    there = there & (weight != 0)
    return torch.where(there, weight, 0) * torch.exp(torch.where(there, power, 0))


def _formula(s: Tensor, first: Tensor, after: Tensor, count: Tensor, weight: Tensor, *, half: bool) -> Tensor:
    last = s.shape[-1] - 1
    below = until(s, count.expand_as(after)).gather(-1, after.clamp(max=last))
    value = _times_exp(weight, below - s, after < count)
    if half:
        tied = after - first > 1
        for t in (s, -s):
            run = until(t, after).gather(-1, first)
            value = value + (_times_exp(weight, run - t, tied) - torch.where(tied, weight, 0)) / 4
    return value.sum(-1)


def _kernel(s: Tensor, first: Tensor, after: Tensor, count: Tensor, weight: Tensor, *, half: bool) -> Found:
    there, last = torch.arange(s.shape[-1], device=s.device) < count, s.shape[-1] - 1
    left = torch.where(there, s, -torch.inf).flip(-1).logcumsumexp(-1).flip(-1)
    terms = _times_exp(weight, left.gather(-1, after.clamp(max=last)) - s, after < count)
    over = torch.where(there, weight.log() - s, -torch.inf).logcumsumexp(-1)
    over = torch.where(first > 0, over.gather(-1, (first - 1).clamp(min=0)), -torch.inf)
    value, slope = terms, torch.exp(s + over) - terms
    if half:
        tied = there & (after - first > 1)
        for t, sign in ((s, 1), (-s, -1)):
            own = _times_exp(weight, of_runs(t, first) - t, tied)
            value = value + (own - torch.where(tied, weight, 0)) / 4
            others = _times_exp(torch.ones_like(weight), t + of_runs(-t, first, weight), tied)
            slope = slope + sign * (others - own) / 4
    return value.sum(-1), (torch.where(there, slope, 0),), by_list
