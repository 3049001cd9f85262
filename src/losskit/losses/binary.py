"""Binary cross-entropy: one yes-or-no question for each element."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, at_least, visible
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.softplus import binary_nll

__all__ = ["BCEWithLogitsLoss", "binary_cross_entropy_with_logits"]


def _paper(input: Tensor, target: Tensor, *, pos_weight: float = 1.0) -> Tensor:
    """-p t log sigmoid(z) - (1 - t) log(1 - sigmoid(z)), the logarithms by log-sum-exp with 0."""
    z, t = input.double(), target.double()
    zero = torch.zeros_like(z)
    return pos_weight * t * torch.logaddexp(zero, -z) + (1 - t) * torch.logaddexp(zero, z)


def _chance(pos_weight: float = 1.0, prior: float = math.nan) -> float:
    """ln 2 an answer, times pos_weight for a positive: NaN where it matters how many those are, and nobody says."""
    return math.log(2) * (1 if pos_weight == 1 else 1 - prior + pos_weight * prior)


def _constant(prior: float, pos_weight: float = 1.0) -> float:
    """The weighted entropy at the best constant, whose odds are pos_weight times the prior's."""
    positive, negative = pos_weight * prior, 1 - prior
    return sum(w * math.log((positive + negative) / w) for w in (positive, negative) if w > 0)


def _floor(target: Tensor | None = None) -> float:
    """The entropy of the targets themselves: 0 where each is 0 or 1."""
    return 0.0 if target is None else float(torch.special.entr(torch.stack([target, 1 - target]).double()).sum(0).mean())


@loss(
    task="classification",
    sample={
        "input": Real(meaning="one score before the sigmoid for each element"),
        "target": Interval(low=0, high=1, meaning="0, 1, or the probability of 1"),
        "weight": Weight(),
        "pos_weight": Weight("P", scalar=True, meaning="what a positive counts for: a number, or one for each class (last axis)"),
        "mask": Mask(),
    },
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({}, {"pos_weight": 3.0}, {"pos_weight": 0.0}),
    chance=_chance,
    constant=_constant,
    floor=_floor,
)
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    pos_weight: Tensor | float | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""How surprised the model is by a yes or a no: for questions with two answers, one for each element.

    Formula:    \ell = -t \log \sigma(z) - (1 - t) \log \sigma(-z)
    Gradient:   \partial\ell/\partial z = \sigma(z) - t, without subtracting: exact also where the answer is nearly right
    Use when:   each element is its own yes or no: multi-label tags, click or no click, pixel masks.
    Avoid when: exactly one of C classes is right (cross_entropy), or most negatives are easy and drown the rest
                (binary_focal_loss).
    Shape:      input (*), target (*) in [0, 1] -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum (torch divides by N).
        pos_weight: multiplies the positive term: a number, or (C,) for the last axis. It is no weight of the mean.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for a target outside of [0, 1] (on CPU) or a negative pos_weight.
    Reference:  Cox 1958, The regression analysis of binary sequences
    Example:
        >>> losskit.binary_cross_entropy_with_logits(torch.tensor([-16.0]), torch.tensor([0.0]))  # torch says 0
        tensor(1.1254e-07)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    if pos_weight is None:
        return reduce(binary_nll(input, target), weight, reduction, normalizer)
    positive = _positive(pos_weight, input)
    value = -positive * target * F.logsigmoid(input) - (1 - target) * F.logsigmoid(-input)
    return reduce(value, weight, reduction, normalizer)


def _positive(pos_weight: Tensor | float, input: Tensor) -> Tensor | float:
    if not isinstance(pos_weight, Tensor):
        at_least("pos_weight", pos_weight, 0)
        return pos_weight
    if pos_weight.ndim and (input.ndim == 0 or pos_weight.shape != input.shape[-1:]):
        raise ShapeError(
            f'"pos_weight" has shape {tuple(pos_weight.shape)}, expected {tuple(input.shape[-1:])}: a number, or one for each '
            f'class in the last axis of "input" {tuple(input.shape)}'
        )
    return pos_weight.to(input.dtype)


class BCEWithLogitsLoss(Loss, function=binary_cross_entropy_with_logits):
    """Module of :func:`binary_cross_entropy_with_logits`."""

    weight: Tensor | None = None
    pos_weight: Tensor | float | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
