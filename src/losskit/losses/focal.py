"""Focal loss and its kin: cross-entropy bent where the model is already right, or where the label is wrong."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, between, visible, working
from ..core.domain import ROWS, Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.margin import class_last, class_rows, margin, row_weight
from ..ops.softplus import binary_nll, elementwise, log_missed

__all__ = ["BinaryFocalLoss", "FocalLoss", "binary_focal_loss", "focal_loss"]

_ELEMENTS = {
    "input": Real(meaning="one score before the sigmoid for each element"),
    "target": Interval(low=0, high=1, meaning="0, 1, or the probability of 1"),
    "weight": Weight(),
    "mask": Mask(),
}


def _paper(input: Tensor, target: Tensor, *, gamma: float = 2.0, weight: Tensor | None = None) -> Tensor:
    """-(1 - p_y)^gamma log p_y; 1 - p_y is the sum of the others' probabilities."""
    p = input.double().softmax(-1)
    others = p.scatter(-1, target[..., None], 0).sum(-1)
    nll = -input.double().log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return others**gamma * nll * (1 if weight is None else weight.double()[target])


def _binary_paper(input: Tensor, target: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """a_t (1 - p_t)^gamma CE with p_t = t p + (1 - t)(1 - p), in probabilities."""
    z, t = input.double(), target.double()
    p, q = 1 / (1 + (-z).exp()), 1 / (1 + z.exp())
    wrong = t * q + (1 - t) * p
    balance = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    return balance * wrong**gamma * -(t * p.log() + (1 - t) * q.log())


def _chance(num_classes: int, gamma: float = 2.0, weight: object = None) -> float:
    """Of equal scores, whatever they are multiplied by and whatever a row weighs."""
    return float((1 - 1 / num_classes) ** gamma * math.log(num_classes))


def _binary_chance(gamma: float = 2.0) -> float:
    return float(0.5**gamma * math.log(2))


@loss(
    task="imbalance",
    sample=ROWS,
    reference=_paper,
    laws=("nonnegative", "shift_invariant"),
    variants=({}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 5.0}, {"weight": Weight("C")}),
    chance=_chance,
    floor=lambda: 0.0,
)
def focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Cross-entropy that fades out easy examples, so that rare and hard ones are heard.

    Formula:    \ell = -(1 - p_y)^\gamma \log p_y
    Gradient:   \partial\ell/\partial u = -(1 - p_y)^\gamma (1 - p_y - \gamma p_y \log p_y),\; u = \log \frac{p_y}{1 - p_y}
    Use when:   one class drowns the others and most of its examples are easy.
    Avoid when: labels are noisy (it chases them), or calibrated probabilities are needed (it is underconfident).
    Shape:      input (*, C), target (*) -> () or (*)
    Args:
        gamma: >= 0; 0 is cross-entropy, 2 is the paper's. An example with p = 0.9 counts (1 - p)^2 = 1 % of a hopeless one.
        weight: (C,) what each class counts for, the paper's alpha; it multiplies the loss and never enters p.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
        normalizer: replaces the mean's denominator, e.g. by the number of positives as in the paper.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C) on CPU; ValueError for gamma < 0.
    Reference:  Lin et al. 2017, arXiv:1708.02002
    Example:
        >>> losskit.focal_loss(torch.zeros(1, 2), torch.tensor([0]))  # a coin toss: (1/2)^2 ln 2
        tensor(0.1733)
    """
    at_least("gamma", gamma, 0)
    (input,) = working(class_last(input, class_dim))
    index, counts = class_rows(target, input.shape[-1], ignore_index, input.dtype)
    counts = row_weight(weight, index, counts, input.dtype)
    own, rest = margin(input, index, counts)
    value = focus(rest - own, gamma) * -F.logsigmoid(own - rest)
    return reduce(value.to(input.dtype), counts, reduction, normalizer)


def focus(wrong: Tensor, gamma: float) -> Tensor:
    """sigmoid(wrong)^gamma, whose gradient is finite also for 0 < gamma < 1 where the sigmoid is 0."""
    # as a power of the sigmoid its gradient is 0^(gamma - 1) * 0 = NaN there; a target that is ruled out is inf wrong
    return torch.exp(gamma * F.logsigmoid(wrong.clamp(max=800)))


class FocalLoss(Loss, function=focal_loss):
    """Module of :func:`focal_loss`."""

    gamma: float = 2.0
    weight: Tensor | None = None
    ignore_index: int = -100
    class_dim: int = -1
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="imbalance",
    sample=_ELEMENTS,
    reference=_binary_paper,
    laws=("nonnegative", "bounded_gradient"),
    variants=({}, {"gamma": 0.0}, {"gamma": 0.5}, {"gamma": 5.0, "alpha": 0.25}),
    chance=_binary_chance,
)
def binary_focal_loss(
    input: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Binary cross-entropy that fades out easy elements; for detectors, where background is almost everything.

    Formula:    \ell = -\alpha_t (1 - p_t)^\gamma (t \log p + (1 - t) \log (1 - p)),\; p_t = t p + (1 - t)(1 - p)
    Gradient:   for t = 1: \partial\ell/\partial z = -\alpha (1 - p)^\gamma (1 - p - \gamma p \log p)
    Use when:   positives are rare and most negatives are easy.
    Avoid when: a ranking is all that counts (logit adjustment moves it further: losskit demo rare-class), or calibration.
    Shape:      input (*), target (*) in [0, 1] -> () or (*)
    Args:
        gamma: >= 0; 0 is binary cross-entropy.
        alpha: in [0, 1], the share of the positives; negatives get 1 - alpha. None weighs both one.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator, e.g. by the number of positives as in the paper.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for gamma < 0, or alpha or target outside of [0, 1].
    Reference:  Lin et al. 2017, arXiv:1708.02002
    Example:
        >>> losskit.binary_focal_loss(torch.zeros(1), torch.ones(1))  # a coin toss: (1/2)^2 ln 2
        tensor(0.1733)
    """
    at_least("gamma", gamma, 0)
    if alpha is not None:
        between("alpha", alpha, 0, 1)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)

    def formula(input: Tensor, target: Tensor) -> Tensor:
        value = torch.exp(gamma * log_missed(input, target)) * binary_nll(input, target)
        return value if alpha is None else value * torch.add(target * (2 * alpha - 1), 1 - alpha)

    return reduce(elementwise(formula, input, target), weight, reduction, normalizer)


class BinaryFocalLoss(Loss, function=binary_focal_loss):
    """Module of :func:`binary_focal_loss`."""

    gamma: float = 2.0
    alpha: float | None = None
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
