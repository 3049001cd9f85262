"""Pairwise squared error: the differences of the scores shall be those of the grades."""

from __future__ import annotations

import math

from torch import Tensor

from ..core.card import loss
from ..core.module import Loss
from ..core.reduce import Reduction
from .lambda_weights import LambdaWeight
from .listed_pairs import PairReduction, pairwise
from .lists import LISTS

__all__ = ["PairwiseMSELoss", "pairwise_mse_loss"]


def _paper(scores: Tensor, relevance: Tensor, *, pair_reduction: str = "mean") -> Tensor:
    """((s_i - s_j) - (y_i - y_j))^2 of each pair of items."""
    s, y = scores.double(), relevance.double()
    error = (s.unsqueeze(-1) - s.unsqueeze(-2)) - (y.unsqueeze(-1) - y.unsqueeze(-2))
    total = error.square().triu().sum((-2, -1))
    return total / math.comb(s.shape[-1], 2) if pair_reduction == "mean" else total


def _chance(relevance: Tensor, pair_reduction: str = "mean") -> float:
    """Twice the variance of the grades, in the mean over lists."""
    return math.nan if pair_reduction == "sum" else 2 * float(relevance.double().var(-1).mean())


def _floor(pair_reduction: str = "mean") -> float:
    return 0.0


@loss(
    task="ranking",
    sample=LISTS,
    reference=_paper,
    laws=("nonnegative", "convex"),
    variants=({}, {"pair_reduction": "pooled"}),
    chance=_chance,
    floor=_floor,
)
def pairwise_mse_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    lambda_weight: LambdaWeight | None = None,
    topk: int | None = None,
    pair_reduction: PairReduction = "mean",
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Scores as far apart as the grades are: regression within each list, blind to what all of a list have in common.

    Formula:    \ell = \frac{1}{\sum w} \sum_{i < j} w_{ij} ((s_i - s_j) - (y_i - y_j))^2
    Gradient:   \partial\ell/\partial s_i = \frac{2}{\sum w} \sum_{j \ne i} w_{ij} (d_i - d_j), d = s - y
    Use when:   the grades are quantities whose differences mean something (watch time, price, a teacher's scores), and lists have
                levels of their own that nobody can predict. O(n) for a list of n, O(n log n) with weights.
    Avoid when: only the order counts (pairwise_logistic_loss, listnet_loss): a pair that is further apart than its grades is
                pulled together again. One outlier of a grade rules its list.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient. Pairs of equal grades weigh 0 then and are left out of the mean. All pairs are looked at then.
        topk: only pairs of which at least one item is among the k highest scores of its list. All pairs are looked at then.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, or the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". All pairs count, those of equal grades too (their scores shall be
                equal), so there is no option "ties". A list of fewer than two items is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Jagerman et al. 2022, Rax: Composable Learning-to-Rank using JAX
    Example:
        >>> scores, relevance = torch.tensor([[7.0, 5.0, 5.0]]), torch.tensor([[3.0, 2.0, 1.0]])
        >>> losskit.pairwise_mse_loss(scores, relevance)  # (1 + 0 + 1) / 3
        tensor(0.6667)
    """
    return pairwise(
        "mse",
        scores,
        relevance,
        lambda_weight=lambda_weight,
        topk=topk,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        pair_reduction=pair_reduction,
        reduction=reduction,
        normalizer=normalizer,
    )


class PairwiseMSELoss(Loss, function=pairwise_mse_loss):
    """Module of :func:`pairwise_mse_loss`."""

    lambda_weight: LambdaWeight | None = None
    topk: int | None = None
    pair_reduction: PairReduction = "mean"
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
