"""Hinge losses over all pairs of a list: RankSVM and its smooth relative, in O(n log n) for any number of grades."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.module import Loss
from ..core.reduce import Reduction
from .lambda_weights import LambdaWeight
from .listed_pairs import PairReduction, Ties, pairwise
from .lists import LISTS

__all__ = ["PairwiseHingeLoss", "PairwiseSquaredHingeLoss", "pairwise_hinge_loss", "pairwise_squared_hinge_loss"]

_VARIANTS: tuple[Mapping[str, Any], ...] = ({}, {"pair_reduction": "pooled"}, {"ties": "half", "margin": 2.0})


def _over_pairs(scores: Tensor, relevance: Tensor, margin: float, power: int, ties: str, pair_reduction: str) -> Tensor:
    """max(0, margin - (s_i - s_j))^power of the pairs y_i > y_j; of a tie, both ways round, half each."""
    s, y = scores.double(), relevance.double()
    each = (margin - (s.unsqueeze(-1) - s.unsqueeze(-2))).relu() ** power
    counts = (y.unsqueeze(-1) > y.unsqueeze(-2)).double()
    if ties == "half":
        counts += ((y.unsqueeze(-1) == y.unsqueeze(-2)) & ~torch.eye(y.shape[-1], dtype=torch.bool)).double() / 2
    total = (counts * each).sum((-2, -1))
    return total / counts.sum((-2, -1)).clamp(min=1) if pair_reduction == "mean" else total


def _joachims(
    scores: Tensor, relevance: Tensor, *, margin: float = 1.0, ties: str = "drop", pair_reduction: str = "mean"
) -> Tensor:
    return _over_pairs(scores, relevance, margin, 1, ties, pair_reduction)


def _squared(
    scores: Tensor, relevance: Tensor, *, margin: float = 1.0, ties: str = "drop", pair_reduction: str = "mean"
) -> Tensor:
    return _over_pairs(scores, relevance, margin, 2, ties, pair_reduction)


def _chance(margin: float = 1.0, ties: str = "drop", pair_reduction: str = "mean", topk: int | None = None) -> float:
    """The margin of every pair."""
    return math.nan if pair_reduction == "sum" else margin


def _chance_squared(margin: float = 1.0, ties: str = "drop", pair_reduction: str = "mean", topk: int | None = None) -> float:
    return math.nan if pair_reduction == "sum" else margin**2


def _floor(margin: float = 1.0, pair_reduction: str = "mean", topk: int | None = None) -> float:
    """Every pair in the right order, the margin apart. Ties that count never cost less than the margin."""
    return 0.0


@loss(
    task="ranking",
    sample=LISTS,
    reference=_joachims,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=_VARIANTS,
    chance=_chance,
    floor=_floor,
)
def pairwise_hinge_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    margin: float = 1.0,
    lambda_weight: LambdaWeight | None = None,
    topk: int | None = None,
    ties: Ties = "drop",
    pair_reduction: PairReduction = "mean",
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""RankSVM: the more relevant of two items shall score higher by a margin, exactly, in lists of a million items.

    Formula:    \ell = \frac{1}{\sum w} \sum_{y_i > y_j} w_i \lambda_{ij} \max(0, m - (s_i - s_j)), \lambda = 1 without a
                lambda_weight
    Gradient:   \partial\ell/\partial s_i = \frac{1}{\sum w} \left(\sum_{j: y_j > y_i, s_j - s_i < m} w_j \lambda_{ji} -
                w_i \sum_{j: y_j < y_i, s_i - s_j < m} \lambda_{ij}\right): every pair inside the margin pulls alike
    Use when:   lists are long: time is O(L log L) and memory O(L) for any number of grades (a million items of five grades: under
                a second). Pairs that are right by the margin are left alone.
    Avoid when: scores have no natural unit (pairwise_logistic_loss needs no margin), or a smooth gradient is wanted
                (pairwise_squared_hinge_loss).
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        margin: >= 0, by how much the more relevant item shall score higher.
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient, and no part of what the mean divides by. O(L log L) as well, but for NDCGLoss2 and NDCGLoss2PlusPlus.
        topk: only pairs of which at least one item is among the k highest scores of its list. All pairs are looked at then.
        ties: "drop" leaves out pairs of equal grades; "half" draws them together: the mean of both ways round.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, a tie the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without a pair is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or ties="half" with a lambda_weight.
    Reference:  Joachims 2002, Optimizing Search Engines using Clickthrough Data
    Example:
        >>> scores, relevance = torch.tensor([[1.0, 0.5, 2.0]]), torch.tensor([[1, 0, 0]])
        >>> losskit.pairwise_hinge_loss(scores, relevance)  # (0.5 + 2) / 2
        tensor(1.2500)
    """
    at_least("margin", margin, 0.0)
    return pairwise(
        "hinge",
        scores,
        relevance,
        margin=margin,
        lambda_weight=lambda_weight,
        topk=topk,
        ties=ties,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        pair_reduction=pair_reduction,
        reduction=reduction,
        normalizer=normalizer,
    )


class PairwiseHingeLoss(Loss, function=pairwise_hinge_loss):
    """Module of :func:`pairwise_hinge_loss`."""

    margin: float = 1.0
    lambda_weight: LambdaWeight | None = None
    topk: int | None = None
    ties: Ties = "drop"
    pair_reduction: PairReduction = "mean"
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="ranking",
    sample=LISTS,
    reference=_squared,
    laws=("nonnegative", "convex"),
    variants=_VARIANTS,
    chance=_chance_squared,
    floor=_floor,
)
def pairwise_squared_hinge_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    margin: float = 1.0,
    lambda_weight: LambdaWeight | None = None,
    topk: int | None = None,
    ties: Ties = "drop",
    pair_reduction: PairReduction = "mean",
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""A pairwise hinge without the kink: the further a pair is from its margin, the harder it is pulled; lists of a million.

    Formula:    \ell = \frac{1}{\sum w} \sum_{y_i > y_j} w_i \lambda_{ij} \max(0, m - (s_i - s_j))^2, \lambda = 1 without a
                lambda_weight
    Gradient:   \partial\ell/\partial s_i = \frac{2}{\sum w} \left(\sum_{j: y_j > y_i} w_j \lambda_{ji} h_{ji} -
                w_i \sum_{j: y_j < y_i} \lambda_{ij} h_{ij}\right), h_{ij} = \max(0, m - (s_i - s_j))
    Use when:   lists are long (O(L log L) time, O(L) memory) and the optimizer likes a smooth gradient; with two grades and
                pair_reduction="mean" it is the surrogate of AUC that is consistent.
    Avoid when: grades are noisy: a mistaken pair far out counts by its square (pairwise_hinge_loss, pairwise_logistic_loss).
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        margin: >= 0, by how much the more relevant item shall score higher.
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient, and no part of what the mean divides by. O(L log L) as well, but for NDCGLoss2 and NDCGLoss2PlusPlus.
        topk: only pairs of which at least one item is among the k highest scores of its list. All pairs are looked at then.
        ties: "drop" leaves out pairs of equal grades; "half" draws them together: the mean of both ways round.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, a tie the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without a pair is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or ties="half" with a lambda_weight.
    Reference:  Rust, Hocking 2023, arXiv:2302.11062, for two grades
    Example:
        >>> scores, relevance = torch.tensor([[1.0, 0.5, 2.0]]), torch.tensor([[1, 0, 0]])
        >>> losskit.pairwise_squared_hinge_loss(scores, relevance)  # (0.5^2 + 2^2) / 2
        tensor(2.1250)
    """
    at_least("margin", margin, 0.0)
    return pairwise(
        "squared_hinge",
        scores,
        relevance,
        margin=margin,
        lambda_weight=lambda_weight,
        topk=topk,
        ties=ties,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        pair_reduction=pair_reduction,
        reduction=reduction,
        normalizer=normalizer,
    )


class PairwiseSquaredHingeLoss(Loss, function=pairwise_squared_hinge_loss):
    """Module of :func:`pairwise_squared_hinge_loss`."""

    margin: float = 1.0
    lambda_weight: LambdaWeight | None = None
    topk: int | None = None
    ties: Ties = "drop"
    pair_reduction: PairReduction = "mean"
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
