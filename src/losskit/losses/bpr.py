"""Bayesian personalised ranking: what a user took shall score higher than what the user did not take."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import visible
from ..core.domain import Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight

__all__ = ["BPRLoss", "bpr_loss"]

_SAMPLE = {
    "positive": Real(meaning="the score of an item that was taken"),
    "negative": Real("* K", meaning="the scores of K items that were not"),
    "mask": Mask("* K", meaning="True where a pair counts"),
    "weight": Weight("* K", meaning="what each pair counts for"),
}


def _paper(positive: Tensor, negative: Tensor) -> Tensor:
    """-log sigmoid(p - n), the logarithm by log-sum-exp with 0."""
    apart = positive.double().unsqueeze(-1) - negative.double()
    return torch.logaddexp(torch.zeros_like(apart), -apart)


@loss(
    task="ranking",
    sample=_SAMPLE,
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    chance=lambda: math.log(2),
    floor=lambda: 0.0,
)
def bpr_loss(
    positive: Tensor,
    negative: Tensor,
    *,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Recommendation from clicks: an item that was taken shall score higher than each of K sampled ones that were not.

    Formula:    \ell_k = -\log \sigma(p - n_k)
    Gradient:   \partial\ell_k/\partial n_k = \sigma(n_k - p) = -\partial\ell_k/\partial p
    Use when:   feedback is implicit (clicks, purchases) and negatives are sampled: matrix factorisation, two towers.
    Avoid when: items have grades or whole lists are judged (pairwise_logistic_loss, listnet_loss), or the batch is its own
                negatives (info_nce_loss). It says nothing of how high a score is: no probability of a click.
    Shape:      positive (*), negative (*, K) -> () or (*, K); one negative each is negative.unsqueeze(-1)
    Args:
        mask: (*, K) bool, True where a pair counts: False for a sampled negative that is a positive; it may be NaN.
        weight: (*, K) >= 0, what each pair counts for; the mean divides by the sum.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*, K) for reduction="none". Each pair counts one in the mean. The paper's L2 term is the optimizer's
                weight decay.
    Raises:     ShapeError; TypeError; ValueError for a weight below 0 (on CPU).
    Reference:  Rendle et al. 2009, arXiv:1205.2618
    Example:
        >>> losskit.bpr_loss(torch.tensor([2.0]), torch.tensor([[2.0, 0.0]]))  # (ln 2 + log(1 + e^-2)) / 2
        tensor(0.4100)
    """
    counts = valid_weight(weight, mask, negative.dtype)
    positive, negative = visible(counts, positive.unsqueeze(-1).expand(negative.shape), negative)
    return reduce(-F.logsigmoid(positive - negative), counts, reduction, normalizer)


class BPRLoss(Loss, function=bpr_loss):
    """Module of :func:`bpr_loss`."""

    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
