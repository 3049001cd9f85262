"""Lambda weights: what a pair of items counts in a pairwise loss, by how much a metric changes if the two change places."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.check import at_least, choice, peek, wide
from ..ops.lambda_pairs import Lambda
from ..ops.list_ranks import places
from ..ops.swaps import average_precision, by_distance, by_place, discounts, ideal
from .gains import Gain, check_gain, gains
from .lists import count_of_places, no_zero

__all__ = ["ARP", "DeltaMAP", "DeltaNDCG", "DeltaPrecision", "LabelDifference", "LambdaWeight", "NDCGLoss2", "NDCGLoss2PlusPlus"]


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
        if peek(wrong.any()):  # of padded rows: not the place where the user put it
            raise ValueError(f'"relevance" is {float(relevance[wrong][0]):g}, expected >= 0 for {type(self).__name__}')
        return torch.where(wrong, torch.nan, relevance)


@dataclass(frozen=True)
class LabelDifference(LambdaWeight):
    """|y_i - y_j|: a pair counts by how far its grades are apart, whatever the scores."""

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        return Lambda(relevance)


@dataclass(frozen=True)
class _Gains(LambdaWeight):
    """What the weights made of NDCG share: the gains of the items, over the best DCG that the list can have."""

    def _normal_gains(self, relevance: Tensor, valid: Tensor, gain: Gain, normalize: bool, k: int | None = None) -> Tensor:
        relevance = self._not_negative(relevance)
        found = gains(relevance, gain, normalize=normalize)
        if not normalize:
            return found
        best = ideal(found, relevance, valid, discounts(relevance.shape[-1], k, relevance.device)[0])
        return found / no_zero(best)


@dataclass(frozen=True)
class DeltaNDCG(_Gains):
    """LambdaRank: by how much NDCG@k changes, |G_i - G_j| |1 / D_i - 1 / D_j| / ideal DCG@k.

    D = log2(1 + rank), and 1 / D is 0 beyond k. The ideal DCG@k is the sum of G / D of the items in falling order of relevance.

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
    """By how much Precision@k changes: 1 / k if one item of the pair is relevant, and one among the first k.

    Relevant is what is above 0; losskit.evaluate.precision counts what is >= 1 (its threshold).

    Args:
        k: places that count.
    """

    k: int

    def __post_init__(self) -> None:
        count_of_places("k", self.k)

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        place = torch.arange(1, scores.shape[-1] + 1, device=scores.device)
        table, gaps = (t.to(relevance.dtype) for t in (place <= self.k, place == self.k))
        return by_place((relevance > 0).to(relevance.dtype) / self.k, places(scores, valid), table, gaps)


@dataclass(frozen=True)
class DeltaMAP(LambdaWeight):
    """By how much average precision changes, 1 / R times the sum over relevant items of h(r) / r, r the rank of the item.

    h(r) is the number of relevant items among the first r, R that of all. Relevant is what is above 0;
    losskit.evaluate.average_precision counts what is >= 1 (its threshold).
    """

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        return average_precision((relevance > 0).to(relevance.dtype), places(scores, valid))


@dataclass(frozen=True)
class ARP(LambdaWeight):
    """By how much the average relevance position changes: |y_i - y_j| |r_i - r_j| / sum of y; needs y >= 0."""

    def _vectors(self, scores: Tensor, relevance: Tensor, valid: Tensor) -> Lambda:
        relevance = self._not_negative(relevance)
        total = relevance.sum(-1, keepdim=True)
        place = torch.arange(1, scores.shape[-1] + 1, device=scores.device).to(relevance.dtype)
        return by_place(relevance / no_zero(total), places(scores, valid), -place, torch.ones_like(place))


def _check(gain: Gain, normalize: bool, k: int | None = None) -> None:
    check_gain(gain)
    choice("normalize", normalize, (True, False))
    if k is not None:
        count_of_places("k", k)
