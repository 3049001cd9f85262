"""Pairwise exponential loss: RankBoost's, which looks at the worst pair of a list above all."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.card import loss
from ..core.list_domain import Scores
from ..core.module import Loss
from ..core.reduce import Reduction
from .lambda_weights import LambdaWeight
from .listed_pairs import PairReduction, Ties, pairwise
from .lists import LISTS

__all__ = ["PairwiseExponentialLoss", "pairwise_exponential_loss"]

# extreme: e^80 for two scores that far on the wrong sides; float32 ends at e^88
_SAMPLE = {**LISTS, "scores": Scores(extreme=40.0)}


def _paper(scores: Tensor, relevance: Tensor, *, ties: str = "drop", pair_reduction: str = "mean") -> Tensor:
    """exp(-(s_i - s_j)) of each pair y_i > y_j; of a tie, both ways round, half each."""
    s, y = scores.double(), relevance.double()
    apart, higher = s.unsqueeze(-1) - s.unsqueeze(-2), y.unsqueeze(-1) > y.unsqueeze(-2)
    tied = (y.unsqueeze(-1) == y.unsqueeze(-2)) & ~torch.eye(s.shape[-1], dtype=torch.bool)
    counts = higher.double() + (tied.double() / 2 if ties == "half" else 0)
    total = (counts * torch.exp(-apart)).sum((-2, -1))
    return total / counts.sum((-2, -1)).clamp(min=1) if pair_reduction == "mean" else total


def _chance(ties: str = "drop", pair_reduction: str = "mean", topk: int | None = None) -> float:
    """e^0 a pair."""
    return math.nan if pair_reduction == "sum" else 1.0


def _floor(pair_reduction: str = "mean") -> float:
    """Where all scores are far apart, in the right order. Ties that count want them equal: the best then depends on the list."""
    return 0.0


@loss(
    task="ranking",
    sample=_SAMPLE,
    reference=_paper,
    laws=("nonnegative", "convex"),
    variants=({}, {"ties": "half"}, {"pair_reduction": "pooled"}),
    chance=_chance,
    floor=_floor,
)
def pairwise_exponential_loss(
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
    r"""RankBoost's loss: the further a pair is on the wrong side, the steeper, without end: the worst pairs rule.

    Formula:    \ell = \frac{1}{\sum w} \sum_{y_i > y_j} w_i e^{-(s_i - s_j)}
    Gradient:   \partial\ell/\partial s_i = \frac{1}{\sum w}
                \left(\sum_{j: y_j > y_i} w_j e^{s_i - s_j} - w_i \sum_{j: y_j < y_i} e^{s_j - s_i}\right)
    Use when:   grades are clean and the worst mistakes are what counts, or scores are a sum of weak rankers (boosting).
                O(n log n) for a list of n, any number of grades.
    Avoid when: grades are noisy, or scores are not held in bounds (pairwise_logistic_loss: a line far out): a pair that is 88 on
                the wrong side is beyond float32, and inf. Finite scores do not make a finite loss here.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        lambda_weight: what a pair counts by the metric that it would change, e.g. losskit.DeltaNDCG(k=10); a constant of the
            gradient. All pairs are looked at then.
        topk: only pairs of which at least one item is among the k highest scores of its list. All pairs are looked at then.
        ties: "drop" leaves out pairs of equal grades; "half" asks for equal scores of them, \cosh(s_i - s_j) each.
        pair_reduction: "mean" over the pairs of a list, "sum" of them, or "pooled": every pair of the batch counts the same.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, what each item counts for; a pair has the weight of its more relevant item, a tie the mean of both.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without a pair is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or ties="half" with a lambda_weight.
    Reference:  Freund et al. 2003, An Efficient Boosting Algorithm for Combining Preferences
    Example:
        >>> scores, relevance = torch.tensor([[1.0, 0.0, 2.0]]), torch.tensor([[1, 0, 0]])
        >>> losskit.pairwise_exponential_loss(scores, relevance)  # (e^-1 + e^1) / 2 = cosh 1
        tensor(1.5431)
    """
    return pairwise(
        "exponential",
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


class PairwiseExponentialLoss(Loss, function=pairwise_exponential_loss):
    """Module of :func:`pairwise_exponential_loss`."""

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
