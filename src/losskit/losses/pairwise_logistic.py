"""Pairwise logistic loss (RankNet) and its bounded relative, the soft count of pairs in the wrong order."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.module import Loss
from ..core.reduce import Reduction
from .lambda_weights import LambdaWeight
from .listed_pairs import PairReduction, Ties, pairwise
from .lists import LISTS

__all__ = ["PairwiseLogisticLoss", "PairwiseSoftZeroOneLoss", "pairwise_logistic_loss", "pairwise_soft_zero_one_loss"]


def _over_pairs(each: Tensor, scores: Tensor, relevance: Tensor, topk: int | None, ties: str, pair_reduction: str) -> Tensor:
    """``each`` (*, L, L) over the pairs y_i > y_j; of a tie, both ways round, half each."""
    y = relevance.double()
    counts = (y.unsqueeze(-1) > y.unsqueeze(-2)).double()
    if ties == "half":
        counts += ((y.unsqueeze(-1) == y.unsqueeze(-2)) & ~torch.eye(y.shape[-1], dtype=torch.bool)).double() / 2
    if topk is not None:
        inside = (scores.unsqueeze(-1) < scores.unsqueeze(-2)).sum(-1) < topk
        counts *= inside.unsqueeze(-1) | inside.unsqueeze(-2)
    total = (counts * each).sum((-2, -1))
    return total / counts.sum((-2, -1)).clamp(min=1) if pair_reduction == "mean" else total


def _ranknet(
    scores: Tensor, relevance: Tensor, *, topk: int | None = None, ties: str = "drop", pair_reduction: str = "mean"
) -> Tensor:
    """log(1 + exp(-(s_i - s_j)))."""
    apart = scores.double().unsqueeze(-1) - scores.double().unsqueeze(-2)
    return _over_pairs(F.softplus(-apart, threshold=700), scores, relevance, topk, ties, pair_reduction)


def _wrong(
    scores: Tensor, relevance: Tensor, *, topk: int | None = None, ties: str = "drop", pair_reduction: str = "mean"
) -> Tensor:
    """1 / (1 + exp(s_i - s_j))."""
    apart = scores.double().unsqueeze(-1) - scores.double().unsqueeze(-2)
    return _over_pairs(1 / (1 + apart.exp()), scores, relevance, topk, ties, pair_reduction)


def _chance_logistic(ties: str = "drop", pair_reduction: str = "mean", topk: int | None = None) -> float:
    """ln 2 a pair."""
    return math.nan if pair_reduction == "sum" else math.log(2)


def _chance_soft(ties: str = "drop", pair_reduction: str = "mean", topk: int | None = None) -> float:
    """One half a pair."""
    return math.nan if pair_reduction == "sum" else 0.5


def _floor(pair_reduction: str = "mean") -> float:
    """Where all scores are far apart, in the right order. Ties that count are never below ln 2 or one half."""
    return 0.0


@loss(
    task="ranking",
    sample=LISTS,
    reference=_ranknet,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({}, {"ties": "half"}, {"pair_reduction": "pooled"}),
    chance=_chance_logistic,
    floor=_floor,
)
def pairwise_logistic_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
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
    r"""RankNet: of two items of a list the more relevant one shall score higher; with a lambda weight, LambdaRank and LambdaLoss.

    Formula:    \ell = \frac{1}{\sum w} \sum_{y_i > y_j} w_i \lambda_{ij} \log(1 + e^{-(s_i - s_j)}), \lambda = 1 without a
                lambda_weight
    Gradient:   \partial\ell/\partial s_i = \frac{1}{\sum w} \left(\sum_{j: y_j > y_i} w_j \lambda_{ji} \sigma(s_i - s_j) -
                w_i \sum_{j: y_j < y_i} \lambda_{ij} \sigma(s_j - s_i)\right): a pair far on the wrong side pulls by 1, never by 0
    Use when:   items have grades, or clicks are compared; lambda_weight=DeltaNDCG(k=10) where NDCG@10 is what is reported.
                Lists may be long: memory is O(L); a long list of few grades takes O(L log L) on a CPU without lambda_weight and
                topk (a million items of five grades: under a second), else time goes by pairs of different grades.
    Avoid when: grades are noisy (pairwise_soft_zero_one_loss: a pair far out is given up), or lists of 100,000 items need a
                lambda_weight (pairwise_hinge_loss). torch.compile, torch.func and second derivatives make a table of all pairs.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient, and no part of what the mean divides by.
        topk: only pairs of which at least one item is among the k highest scores of its list: on CPU O(k L) pairs.
        ties: "drop" leaves out pairs of equal grades; "half" gives them a target of one half, as in RankNet's paper.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, a tie the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without a pair is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or ties="half" with a lambda_weight.
    Reference:  Burges et al. 2005, Learning to Rank using Gradient Descent
    Example:
        >>> scores, relevance = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1, 0, 0]])
        >>> losskit.pairwise_logistic_loss(scores, relevance)  # (log(1 + e^-1) + log(1 + e^1)) / 2
        tensor(0.8133)
    """
    return pairwise(
        "logistic",
        scores,
        relevance,
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


class PairwiseLogisticLoss(Loss, function=pairwise_logistic_loss):
    """Module of :func:`pairwise_logistic_loss`."""

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
    reference=_wrong,
    laws=("nonnegative", "bounded_gradient"),
    variants=({}, {"ties": "half", "topk": 2}, {"pair_reduction": "pooled"}),
    chance=_chance_soft,
    floor=_floor,
)
def pairwise_soft_zero_one_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
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
    r"""The share of pairs in the wrong order, made smooth: one pair costs at most 1, so that mistaken grades do little harm.

    Formula:    \ell = \frac{1}{\sum w} \sum_{y_i > y_j} w_i \lambda_{ij} \sigma(-(s_i - s_j)), \lambda = 1 without a
                lambda_weight
    Gradient:   \partial\ell/\partial s_i = \frac{1}{\sum w} \left(\sum_{j: y_j > y_i} w_j \lambda_{ji} \sigma' -
                w_i \sum_{j: y_j < y_i} \lambda_{ij} \sigma'\right), \sigma' = \sigma(s_i - s_j)\, \sigma(s_j - s_i): of pairs
                near each other only
    Use when:   grades are noisy, or 1 - AUC itself shall be lowered after another loss has put the list roughly in order.
    Avoid when: training starts: a pair far on the wrong side has no gradient (pairwise_logistic_loss: the steepest).
                torch.compile, torch.func and second derivatives make a table of all pairs.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient, and no part of what the mean divides by.
        topk: only pairs of which at least one item is among the k highest scores of its list: on CPU O(k L) pairs.
        ties: "drop" leaves out pairs of equal grades; "half" counts them one half each, whatever their scores.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, a tie the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without a pair is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or ties="half" with a lambda_weight.
    Reference:  Jagerman et al. 2022, Rax: Composable Learning-to-Rank using JAX
    Example:
        >>> scores, relevance = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1, 0, 0]])
        >>> losskit.pairwise_soft_zero_one_loss(scores, relevance)  # 1 / (1 + e) and 1 / (1 + 1/e): one of two is wrong
        tensor(0.5000)
    """
    return pairwise(
        "soft_zero_one",
        scores,
        relevance,
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


class PairwiseSoftZeroOneLoss(Loss, function=pairwise_soft_zero_one_loss):
    """Module of :func:`pairwise_soft_zero_one_loss`."""

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
