"""Asymmetric loss: focal loss for tags, with negatives and positives focused apart."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, visible
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.softplus import elementwise

__all__ = ["AsymmetricLoss", "asymmetric_loss"]


def _asymmetric_paper(
    input: Tensor, target: Tensor, *, gamma_pos: float = 0.0, gamma_neg: float = 4.0, clip: float = 0.05
) -> Tensor:
    """-t (1 - p)^g+ log p - (1 - t) m^g- log(1 - m) with m = max(p - clip, 0)."""
    p, t = input.double().sigmoid(), target.double()
    shifted = (p - clip).clamp(min=0)
    return -t * (1 - p) ** gamma_pos * p.log() - (1 - t) * shifted**gamma_neg * (1 - shifted).log()


@loss(
    task="imbalance",
    sample={
        "input": Real(meaning="one score before the sigmoid for each label"),
        "target": Interval(low=0, high=1, meaning="0 or 1 for each label"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_asymmetric_paper,
    laws=("nonnegative", "bounded_gradient"),
    variants=(
        {},
        {"gamma_pos": 1.0},
        {"clip": 0.0},
        {"gamma_neg": 0.5, "gamma_pos": 0.5, "clip": 0.2},
        {"gamma_neg": 0.0, "clip": 0.0},
    ),
)
def asymmetric_loss(
    input: Tensor,
    target: Tensor,
    *,
    gamma_pos: float = 0.0,
    gamma_neg: float = 4.0,
    clip: float = 0.05,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Focal loss for tags: easy and very easy negatives fade out, positives are left alone.

    Formula:    \ell = -t (1 - p)^{\gamma_+} \log p - (1 - t) m^{\gamma_-} \log(1 - m),\; m = \max(p - c, 0)
    Gradient:   for t = 1: \partial\ell/\partial z = -(1 - p)^{\gamma_+} (1 - p - \gamma_+ p \log p);\; for t = 0 and p > c:
                p (1 - p)\, m^{\gamma_- - 1} (m / (1 - m) - \gamma_- \log(1 - m)), else 0
    Use when:   an image has 3 of 1,000 tags: nearly all labels are negatives, and some of those are forgotten positives.
    Avoid when: probabilities are used as such: they come out shifted.
    Shape:      input (*), target (*) in [0, 1] -> () or (*)
    Args:
        gamma_pos: >= 0, focusing of positives.
        gamma_neg: >= 0, focusing of negatives.
        clip: in [0, 1), the probability below which a negative costs nothing.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator; the paper's code takes the sum.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for a target or an option out of range.
    Reference:  Ridnik et al. 2021, arXiv:2009.14119
    Example:
        >>> losskit.asymmetric_loss(torch.zeros(1), torch.zeros(1))  # m = 0.45: -0.45^4 ln 0.55
        tensor(0.0245)
    """
    at_least("gamma_pos", gamma_pos, 0)
    at_least("gamma_neg", gamma_neg, 0)
    between("clip", clip, 0, 1)
    if clip == 1:
        raise ValueError('"clip" must be in [0, 1), got 1: no negative would count')
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)

    def formula(input: Tensor, target: Tensor) -> Tensor:
        yes, no = F.logsigmoid(input), F.logsigmoid(-input)
        positive = -torch.exp(gamma_pos * no) * yes
        negative = _negative(input, gamma_neg, clip) if clip else -torch.exp(gamma_neg * yes) * no
        return target * positive + (1 - target) * negative

    return reduce(elementwise(formula, input, target), weight, reduction, normalizer)


def _negative(input: Tensor, gamma: float, clip: float) -> Tensor:
    """-m^gamma log(1 - m), where m = p - clip is positive; exactly 0 elsewhere."""
    p, q = torch.sigmoid(input), torch.sigmoid(-input)
    above, low = p > clip, p < 0.5
    # from q where p is nearly 1, whose own slope p (1 - p) has no digits there; where a negative costs nothing any number will do
    m = torch.where(above, torch.where(low, p - clip, (1 - clip) - q), 0.5)
    # 1 - m has the digits of m where m is small, and those of 1 - p where p is nearly 1
    left = torch.where(low, torch.log1p(-torch.where(low, m, 0)), torch.log(q + clip))
    return torch.where(above, -torch.exp(gamma * m.log()) * left, 0)


class AsymmetricLoss(Loss, function=asymmetric_loss):
    """Module of :func:`asymmetric_loss`."""

    gamma_pos: float = 0.0
    gamma_neg: float = 4.0
    clip: float = 0.05
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
