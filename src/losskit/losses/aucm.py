"""AUCM: the squared AUC loss as means and variances of the two classes, its min-max problem solved in closed form."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.module import Loss
from ..core.reduce import Reduction
from ..parallel import sum_over_ranks
from .rare_positives import SIDES, one_value, sides

__all__ = ["AUCMLoss", "aucm_loss"]


def _saddle(input: Tensor, target: Tensor, *, margin: float = 1.0, weight: Tensor | None = None) -> Tensor:
    """min over a, b of max over alpha >= 0, each where its derivative is 0."""
    s, counts = input.double(), torch.ones_like(input).double() if weight is None else weight.double()
    p, n = (torch.where(target == label, counts, 0) for label in (1, 0))
    if not p.any() or not n.any():
        return torch.zeros(()).double()
    a, b = (p * s).sum() / p.sum(), (n * s).sum() / n.sum()
    alpha = torch.clamp(margin - a + b, min=0)
    inner = 2 * alpha * (margin - (p * s).sum() / p.sum() + (n * s).sum() / n.sum()) - alpha**2
    return (p * (s - a) ** 2).sum() / p.sum() + (n * (s - b) ** 2).sum() / n.sum() + inner


def _apart(margin: float = 1.0) -> float:
    """All scores are equal."""
    return margin**2


@loss(
    task="imbalance",
    sample=SIDES,
    reference=_saddle,
    laws=("nonnegative", "convex", "whole_batch"),
    variants=({}, {"weight": SIDES["weight"], "margin": 2.0}),
    chance=_apart,
    constant=_apart,
    floor=lambda: 0.0,
)
def aucm_loss(
    input: Tensor,
    target: Tensor,
    *,
    margin: float = 1.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""The AUC margin loss: each class gathers around its mean, and the two means a margin apart.

    Formula:    \ell = \mathrm{Var}(s \mid +) + \mathrm{Var}(s \mid -) + \max(0, m - \mu_+ + \mu_-)^2
                = \min_{a, b} \max_{\alpha \ge 0} E_+ (s - a)^2 + E_- (s - b)^2 + 2 \alpha (m - E_+ s + E_- s) - \alpha^2
    Gradient:   \partial\ell/\partial s_i = \frac{2 w_i}{W_+} (s_i - \mu_+ - h) for a positive,
                \partial\ell/\partial s_j = \frac{2 w_j}{W_-} (s_j - \mu_- + h) for a negative, h = \max(0, m - \mu_+ + \mu_-)
    Use when:   positives are rare and the AUC is what is reported; n steps, no sort. a, b and alpha are where they are best for
                the batch: no further parameters, and no optimizer that ascends.
    Avoid when: a batch has one or two positives: its variance is 0 or noise (group, class_balanced_sample_weights). A score far
                on the right side is pulled back too, as by any squared loss (auc_squared_hinge_loss leaves it alone).
    Shape:      input (*) scores as they are, target (*) of 0 and 1 or bools -> (). The papers hand over sigmoid(input).
    Args:
        margin: > 0, how far the means shall be apart; at most 1 for scores in [0, 1].
        mask: (*) bool, True where a sample counts; what is masked may be NaN.
        weight: (*) what each sample counts for in the mean and the variance of its class, a constant.
        normalizer: replaces the mean's denominator.
        group: the ranks whose samples are one batch. Each calls with its own and returns the loss of all; six numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if it has both classes, else nothing (and is 0).
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1, or a margin that is not > 0. A score that is
                not finite gives NaN.
    Reference:  Yuan et al. 2021, arXiv:2012.03173; without the max: Ying, Wen, Lyu 2016, "Stochastic Online AUC Maximization"
    Example:
        >>> losskit.aucm_loss(torch.tensor([0.9, 0.7, 0.2]), torch.tensor([1, 1, 0]))  # 0.1^2 + 0 + (1 - 0.8 + 0.2)^2
        tensor(0.1700)
    """
    at_least("margin", margin, 0, strict=True)
    at = sides(input, target, mask, weight)
    weights = torch.stack([at.positive, at.negative])  # (2, n)
    totals = sum_over_ranks(weights.sum(-1) * at.broken, group)  # a NaN of one rank is shown on all
    shares = weights / torch.where(totals == 0, 1, totals)[:, None]
    means = sum_over_ranks((shares * at.scores).sum(-1), group)
    spread = sum_over_ranks((shares * (at.scores - means[:, None]).square()).sum(-1), group)
    short = (margin - means[0] + means[1]).clamp(min=0)
    every = at._replace(positive=totals[0], negative=totals[1])
    return one_value(spread.sum() + short.square(), every, input, reduction, normalizer)


class AUCMLoss(Loss, function=aucm_loss):
    """Module of :func:`aucm_loss`."""

    margin: float = 1.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
