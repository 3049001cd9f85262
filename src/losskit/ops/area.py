"""Sums over all pairs of a positive and a negative, and areas under error rates, in the order of their scores: O(n log n)."""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .first_order import Found, first_order
from .list_ranks import begins, order, runs

__all__ = ["Standing", "area_under_min", "binary_hinge", "standing"]

Power = Literal[1, 2]


# With p, n the weights of positives and negatives, z = s - margin of a positive and s of a negative in rising order, gaps
# d_k = z_k - z_{k-1}, P_k the positives below z_k and N_k the negatives from z_k on: every pair that costs spans some gaps.
#     power 1: L = sum_k P_k N_k d_k                  dL/ds_j = n_j P_j,   dL/ds_i = -p_i N_i
#     power 2: L = sum_k N_k d_k (A_{k-1} + A_k)      dL/ds_j = 2 n_j A_j, dL/ds_i = -2 p_i B_i
# A_k = sum_{t <= k} P_t d_t, B_k = sum_{t > k} N_t d_t: no term is negative, so that nothing cancels.
def binary_hinge(scores: Tensor, positive: Tensor, negative: Tensor, *, margin: float, power: Power) -> Tensor:
    """The sum over all pairs of p_i n_j max(0, margin - (s_i - s_j))^power; at the kink itself the derivative is 0.

    The difference of two scores is exact only in a dtype with digits to spare: hand over float64.

    Shape:      scores (n,), positive (n,) weights, 0 at what is no positive, negative (n,) likewise -> ()
    """
    formula, kernel = partial(_hinge, margin=margin, power=power), partial(_hinge_kernel, margin=margin, power=power)
    return first_order(formula, kernel, scores, positive, negative)


class _Line(NamedTuple):
    """Both classes in one order; all (n,)."""

    place: Tensor
    gap: Tensor
    positive: Tensor
    negative: Tensor
    below: Tensor
    """P: the weight of the positives below"""
    above: Tensor
    """N: the weight of the negatives from here on"""


def _line(scores: Tensor, positive: Tensor, negative: Tensor, margin: float) -> _Line:
    first = order(positive > 0)  # at the kink itself the negative stands first: the two are no pair
    z = torch.where(positive > 0, scores - margin, scores)
    place = first.gather(0, order(z.gather(0, first)))
    z, p, n = (t.gather(0, place) for t in (z, positive, negative))
    return _Line(place, z - z.roll(1), p, n, _before(p.cumsum(0)), _rest(n))


def _before(sums: Tensor) -> Tensor:
    """Each entry's predecessor, 0 for the first."""
    return torch.cat([sums.new_zeros(1), sums])[:-1]


def _rest(terms: Tensor) -> Tensor:
    """The sum of all entries from each one on."""
    return terms.flip(0).cumsum(0).flip(0)


def _hinge(scores: Tensor, positive: Tensor, negative: Tensor, *, margin: float, power: Power) -> Tensor:
    line = _line(scores, positive, negative, margin)
    if power == 1:
        return (line.below * line.above * line.gap).sum()
    reach = (line.below * line.gap).cumsum(0)
    return (line.above * line.gap * (_before(reach) + reach)).sum()


def _hinge_kernel(scores: Tensor, positive: Tensor, negative: Tensor, *, margin: float, power: Power) -> Found:
    line = _line(scores, positive, negative, margin)
    if power == 1:
        value = (line.below * line.above).dot(line.gap)
        slope = line.negative * line.below - line.positive * line.above
    else:
        reach = (line.below * line.gap).cumsum(0)
        value = (line.above * line.gap).dot(_before(reach) + reach)
        back = F.pad(_rest(line.above * line.gap), (0, 1))[1:]
        slope = 2 * (line.negative * reach - line.positive * back)
    return value, (torch.empty_like(scores).scatter_(0, line.place, slope),), torch.mul


class Standing(NamedTuple):
    """How much weight of one kind stands below an entry, up to it, from it on, and above it; ties are at the entry."""

    below: Tensor
    upto: Tensor
    since: Tensor
    above: Tensor


def _ties(scores: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The order of the scores, and by rank the first of its tie and the one after its last."""
    place = order(scores)
    return place, *runs(begins(scores.detach().gather(0, place)))


def _standing(weight: Tensor, ties: tuple[Tensor, Tensor, Tensor]) -> Standing:
    place, first, after = ties
    w = weight.gather(0, place)
    left, right = torch.cat([w.new_zeros(1), w.cumsum(0)]), torch.cat([_rest(w), w.new_zeros(1)])
    by_rank = left.gather(0, first), left.gather(0, after), right.gather(0, first), right.gather(0, after)
    return Standing(*(torch.zeros_like(weight).scatter(0, place, t) for t in by_rank))


def standing(scores: Tensor, weight: Tensor) -> Standing:
    """What of ``weight`` has a lower score, a score not higher, one not lower, and a higher one.

    Shape:      scores (n,), weight (n,) -> (n,) each
    """
    return _standing(weight, _ties(scores))


# AUM = sum_k min(FN_k, FP_k) (s_{k+1} - s_k) over the scores in rising order, FN_k the positives up to s_k, FP_k the negatives
# above. dAUM/ds of an entry that moves alone: what min(FN, FP) loses where it arrives, up or down; the mean of both.
def area_under_min(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The integral over all thresholds of min(false negative rate, false positive rate), piecewise linear in the scores.

    0 if one of the classes has no weight.
    At a tie the derivative of an entry is the mean of its two one-sided derivatives, so that no order among equals matters.

    Shape:      scores (n,), positive (n,) weights, 0 at what is no positive, negative (n,) likewise -> ()
    """
    ties = _ties(scores)
    fixed, place = scores.detach(), ties[0]
    missed, alarms = _standing(positive, ties), _standing(negative, ties)

    misses, all_alarms = (torch.where(t == 0, 1, t) for t in (positive.sum(), negative.sum()))

    def least(miss: Tensor, alarm: Tensor) -> Tensor:
        return torch.minimum(miss / misses, alarm / all_alarms)

    height = least(missed.upto, alarms.above)
    up = least(missed.upto - positive, alarms.above + negative) - height
    down = least(missed.below, alarms.since) - least(missed.below + positive, alarms.since - negative)
    rising = fixed.gather(0, place)
    gap = rising.roll(-1) - rising  # at the last score the height is 0
    value = (height.gather(0, place) * gap).sum()
    return value + ((up + down) / 2 * (scores - fixed)).sum()
