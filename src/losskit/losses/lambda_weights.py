"""Lambda weights: what a pair of items counts in a pairwise loss, by how much a metric changes if the two change places."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..core.call import whole_number
from ..core.check import at_least, choice, first_place, peek, wide
from ..ops.lambda_pairs import Lambda
from ..ops.list_ranks import places
from ..ops.swaps import average_precision, by_distance, by_place, discounts, ideal

__all__ = ["ARP", "DeltaMAP", "DeltaNDCG", "DeltaPrecision", "LabelDifference", "LambdaWeight", "NDCGLoss2", "NDCGLoss2PlusPlus"]

Gain = Literal["exponential", "linear"]


@dataclass(frozen=True)
class LambdaWeight:
    """What each pair of a list counts: ``pairwise_logistic_loss(..., lambda_weight=DeltaNDCG(k=10))``.

    A weight is a constant of the gradient. It never counts padding. Items of the same score have no order: what a pair counts
    is then the mean over all orders of the tied items, so that training starts where all scores are equal.
    Equal, hashable and picklable by its options.
    """

    def vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        """The weights of all pairs as vectors of items.

        Shape:      scores (B, L), relevance (B, L), valid (B, L) bool -> (B, L) float64, without a gradient
        """
        with torch.no_grad():
            relevance = torch.where(valid, wide(relevance.detach()), 0)
            found = self._vectors(torch.where(valid, scores.detach(), 0), relevance, valid)
            gain = torch.where(valid, found.gain, 0)
            ordered, swapped, tied, rank, apart = (None if t is None else torch.where(valid, t, 0) for t in found[1:6])
            return Lambda(gain, ordered, swapped, tied, rank, apart, found.mu)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        raise NotImplementedError(f"{type(self).__name__} is no weight: take DeltaNDCG or another one")

    def _not_negative(self, relevance: Tensor) -> Tensor:
        """The relevance, refused below 0 where one can look, and NaN there where one cannot."""
        wrong = relevance < 0
        if peek(wrong.any()):
            at, place = first_place(wrong)
            raise ValueError(f'"relevance" is {float(relevance[at]):g}{place}, expected >= 0 for {type(self).__name__}')
        return torch.where(wrong, torch.nan, relevance)


@dataclass(frozen=True)
class LabelDifference(LambdaWeight):
    """|y_i - y_j|: a pair counts by how far its grades are apart, whatever the scores."""

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        return Lambda(relevance)


def _gains(relevance: Tensor, gain: Gain, *, scaled: bool) -> Tensor:
    """2^y - 1, times 2^-max if ``scaled``: a ratio does not notice, and nothing overflows."""
    if gain == "linear":
        return relevance
    if not scaled:
        return torch.expm1(relevance * math.log(2))
    highest = relevance.amax(-1, keepdim=True) if relevance.shape[-1] else 0
    return torch.exp2(relevance - highest) * -torch.expm1(-relevance * math.log(2))


@dataclass(frozen=True)
class _Gains(LambdaWeight):
    """What the weights made of NDCG share: the gains of the items, over the best DCG that the list can have."""

    def _normal_gains(self, relevance: Tensor, valid: Tensor, gain: Gain, normalize: bool, k: int | None = None) -> Tensor:
        relevance = self._not_negative(relevance)
        found = _gains(relevance, gain, scaled=normalize)
        if not normalize:
            return found
        best = ideal(found, relevance, valid, discounts(relevance.shape[-1], k, relevance.device)[0])
        return found / torch.where(best == 0, 1, best)


@dataclass(frozen=True)
class DeltaNDCG(_Gains):
    """LambdaRank: by how much NDCG@k changes, |G_i - G_j| |D_i - D_j| / ideal DCG@k, D = 1 / log2(1 + rank), 0 beyond k.

    Args:
        k: places that count; None for all. A relevant item below k still counts against those above.
        gain: "exponential" for G = 2^y - 1, "linear" for G = y; both need y >= 0.
        normalize: False leaves out the ideal DCG: the change of DCG. Exponential gains of y > 1023 are then inf.
    Reference:  Burges, Ragno, Le 2006, Learning to Rank with Nonsmooth Cost Functions
    """

    k: int | None = None
    gain: Gain = "exponential"
    normalize: bool = True

    def __post_init__(self) -> None:
        _check(self.gain, self.normalize, self.k)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        gain = self._normal_gains(relevance, valid, self.gain, self.normalize, self.k)
        return by_place(gain, places(scores, valid), *discounts(scores.shape[-1], self.k, scores.device))


@dataclass(frozen=True)
class NDCGLoss2(_Gains):
    """LambdaLoss's bound of NDCG: |G_i - G_j| (1 / D_d - 1 / D_{d+1}) / ideal DCG, d = |r_i - r_j| places, D_d = log2(1 + d).

    Items of one score are as far apart as the places of their tie are in the mean.

    Args:
        gain: "exponential" for G = 2^y - 1, "linear" for G = y; both need y >= 0.
        normalize: False leaves out the ideal DCG.
    Reference:  Wang et al. 2018, The LambdaLoss Framework for Ranking Metric Optimization
    """

    gain: Gain = "exponential"
    normalize: bool = True

    def __post_init__(self) -> None:
        _check(self.gain, self.normalize)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        return by_distance(self._normal_gains(relevance, valid, self.gain, self.normalize), places(scores, valid), 1.0)


@dataclass(frozen=True)
class NDCGLoss2PlusPlus(_Gains):
    """NDCGLoss2, ``mu`` times, and LambdaRank's weight: the LambdaLoss paper's best.

    Args:
        mu: what NDCGLoss2 counts beside DeltaNDCG; the paper's value is 10.
        gain: "exponential" for G = 2^y - 1, "linear" for G = y; both need y >= 0.
        normalize: False leaves out the ideal DCG.
    Reference:  Wang et al. 2018, The LambdaLoss Framework for Ranking Metric Optimization
    """

    mu: float = 10.0
    gain: Gain = "exponential"
    normalize: bool = True

    def __post_init__(self) -> None:
        at_least("mu", self.mu, 0)
        _check(self.gain, self.normalize)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        gain, at = self._normal_gains(relevance, valid, self.gain, self.normalize), places(scores, valid)
        return by_distance(gain, at, self.mu, by_place(gain, at, *discounts(scores.shape[-1], None, scores.device)))


@dataclass(frozen=True)
class DeltaPrecision(LambdaWeight):
    """By how much Precision@k changes: 1 / k if one item of the pair is relevant (y > 0), and one among the first k.

    Args:
        k: places that count.
    """

    k: int

    def __post_init__(self) -> None:
        _check_places(self.k)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        place = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
        table, gaps = (t.to(relevance.dtype) for t in (place <= self.k, place == self.k))
        return by_place((relevance > 0).to(relevance.dtype) / self.k, places(scores, valid), table, gaps)


@dataclass(frozen=True)
class DeltaMAP(LambdaWeight):
    """By how much average precision changes, for items that are relevant (y > 0) or not."""

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        return average_precision((relevance > 0).to(relevance.dtype), places(scores, valid))


@dataclass(frozen=True)
class ARP(LambdaWeight):
    """By how much the average relevance position changes: |y_i - y_j| |r_i - r_j| / sum of y; needs y >= 0."""

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        relevance = self._not_negative(relevance)
        total = relevance.sum(-1, keepdim=True)
        place = torch.arange(1, scores.shape[-1] + 1, device=scores.device).to(relevance.dtype)
        return by_place(relevance / torch.where(total == 0, 1, total), places(scores, valid), -place, torch.ones_like(place))


def _check(gain: Gain, normalize: bool, k: int | None = None) -> None:
    choice("gain", gain, ("exponential", "linear"))
    choice("normalize", normalize, (True, False))
    if k is not None:
        _check_places(k)


def _check_places(k: int) -> None:
    whole_number("k", k)
    at_least("k", k, 1)
