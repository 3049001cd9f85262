"""AUM: the area under the smaller of the two error rates, over all thresholds; a piecewise linear stand-in for the AUC."""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.area import area_under_min
from .rare_positives import SIDES, one_value, sides

__all__ = ["AUMLoss", "aum_loss"]


def _thresholds(input: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
    """min(FNR, FPR) between each two neighbouring scores, times how far they are apart."""
    counts = torch.ones_like(input).double() if weight is None else weight.double()
    positive, negative = (torch.where(target == label, counts, 0) for label in (1, 0))
    total, levels = torch.zeros(()).double(), input.double().unique()
    if not positive.any() or not negative.any():
        return total
    for low, high in pairwise(levels):
        missed, alarms = positive[input <= low].sum(), negative[input >= high].sum()
        total = total + (high - low) * torch.minimum(missed / positive.sum(), alarms / negative.sum())
    return total


@loss(
    task="imbalance",
    sample=SIDES,
    reference=_thresholds,
    laws=("nonnegative", "bounded_gradient", "whole_batch"),
    variants=({}, {"weight": SIDES["weight"]}),
    floor=lambda: 0.0,
)
def aum_loss(
    input: Tensor,
    target: Tensor,
    *,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""The area under the smaller of the two error rates: the scores between positives and negatives that overlap are moved.

    Formula:    \ell = \int \min(\mathrm{FNR}(\tau), \mathrm{FPR}(\tau)) d\tau, FNR the share of the positives at or below \tau,
                FPR that of the negatives above
    Gradient:   \partial\ell/\partial s = \min(\mathrm{FNR}, \mathrm{FPR}) just below s less that just above: 0 where nobody
                errs, at most one sample's share; at a tie the mean of the two one-sided derivatives, each sample moving alone
    Use when:   the ROC curve as a whole shall be good and a pair that is far wrong shall not lead: each sample pulls at most with
                its share, and one sort does it, n log n.
    Avoid when: scores may collapse: the area is measured in units of the scores, so that scores that are all equal have 0 too
                (though a gradient). Beside weight decay, a pairwise loss with a margin is safer (auc_squared_hinge_loss).
    Shape:      input (*) scores, target (*) of 0 and 1 or bools -> ()
    Args:
        mask: (*) bool, True where a sample counts; what is masked may be NaN.
        weight: (*) what each sample counts for in the rate of its class, a constant.
        normalizer: replaces the mean's denominator.
        group: the ranks whose samples are one batch. Each calls with its own and returns the loss of all; 2 n numbers travel.
    Returns:    0-d for every reduction: the batch is one value, which counts one if it has both classes, else nothing (and is 0).
                Rates, not counts, so that neither the size of the batch nor the share of positives changes its scale.
    Raises:     ShapeError; TypeError; ValueError for a target that is not 0 or 1. A score that is not finite gives NaN.
    Reference:  Hillman, Hocking 2023, "Optimizing ROC Curves with a Sort-Based Surrogate Loss for Binary Classification and
                Changepoint Detection", JMLR 24, arXiv:2107.01285
    Example:
        >>> losskit.aum_loss(torch.tensor([1.0, 3.0, 0.0]), torch.tensor([1, 0, 0]))  # from 1 to 3 all, and half of the negatives
        tensor(1.)
        >>> losskit.aum_loss(torch.tensor([4.0, 3.0, 0.0]), torch.tensor([1, 0, 0]))  # in order
        tensor(0.)
    """
    at = sides(input, target, mask, weight, group)
    value = area_under_min(at.scores, at.positive, at.negative)
    return one_value(value, at, input, reduction, normalizer)


class AUMLoss(Loss, function=aum_loss):
    """Module of :func:`aum_loss`."""

    mask: Tensor | None = None
    weight: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
