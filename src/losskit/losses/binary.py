"""Binary cross-entropy from scores: yes or no, for each element on its own."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, shape_text, visible, working
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.softplus import binary_nll

__all__ = ["BinaryCrossEntropyWithLogitsLoss", "binary_cross_entropy_with_logits"]


def _paper(input: Tensor, target: Tensor, *, pos_weight: Tensor | float | None = None) -> Tensor:
    """-(w t log p + (1 - t) log(1 - p))."""
    t, p = target.double(), 1 / (1 + torch.exp(-input.double()))
    other = 1 / (1 + torch.exp(input.double()))
    return -((1.0 if pos_weight is None else pos_weight) * t * p.log() + (1 - t) * other.log())


def entropy(prior: float) -> float:
    """Of a coin that shows heads with this probability, in nats."""
    return -sum(p * math.log(p) for p in (prior, 1 - prior) if p > 0)


def _chance(pos_weight: float | None = None, prior: float = math.nan) -> float:
    """Every answer costs ln 2, and a positive pos_weight times that: NaN if the share of positives is needed and not given."""
    return math.log(2) if pos_weight is None else math.log(2) * (1 - prior + pos_weight * prior)


def _constant(prior: float, pos_weight: float | None = None) -> float:
    """The best probability for all is the weighted share of positives."""
    positive = prior * (1.0 if pos_weight is None else pos_weight)
    total = positive + 1 - prior
    return total * entropy(positive / total) if total else 0.0


def _floor(target: Tensor | None = None) -> float:
    """The entropy of the targets themselves: 0 where each is 0 or 1."""
    return 0.0 if target is None else float(torch.special.entr(torch.stack([target, 1 - target]).double()).sum(0).mean())


@loss(
    task="classification",
    sample={
        "input": Real(meaning="scores before the sigmoid"),
        "target": Interval(low=0.0, high=1.0, meaning="0 or 1, or a probability between, for each score"),
        "pos_weight": Weight("C", scalar=True, meaning="a number, or one weight for each entry of the last axis of the input"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_paper,
    laws=("nonnegative", "convex", "mirror", "bounded_gradient"),
    variants=({}, {"pos_weight": 1.0}),  # at any other pos_weight the two classes are no mirror images, by intent
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
    r"""How surprised the model is by each yes or no: -log of the probability that it gave to the right one.

    Formula:    \ell = -(w\, t \log \sigma(z) + (1 - t) \log \sigma(-z))
    Gradient:   \partial\ell/\partial z = \sigma(z) - t \;(w = 1): as large as the error, so a wrong model learns at once
    Use when:   each element is a question of its own: two classes with one score, tags of which several can be right,
                links, pixels.
    Avoid when: exactly one of C classes is right (cross_entropy), or nearly all negatives are easy and drown the rest
                (binary_focal_loss, asymmetric_loss).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum (torch divides by the number of elements).
        pos_weight: what a positive costs, in units of a negative: a number, or (C,) for the last axis of the input, exact
            and never broadcast. negatives / positives balances the two; it shifts the probabilities, see adjust_logits.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none", in float32 (float64 for float64). Both tails keep their digits: at
                z = -16, t = 0 the value is 1.1e-7 (torch in float32: 0).
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for a target outside
                of [0, 1] on CPU.
    Reference:  Good 1952, Rational decisions
    Example:
        >>> losskit.binary_cross_entropy_with_logits(torch.zeros(2), torch.tensor([0.0, 1.0]))  # knows nothing: ln 2
        tensor(0.6931)
    """
    input, target = working(input, target)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    if pos_weight is None:
        return reduce(binary_nll(input, target), weight, reduction, normalizer)
    positive = _fitted(pos_weight, input) * target
    value = -(positive * F.logsigmoid(input) + (1 - target) * F.logsigmoid(-input))
    return reduce(value, weight, reduction, normalizer)


def _fitted(pos_weight: Tensor | float, input: Tensor) -> Tensor | float:
    """``pos_weight`` if it is a number or has one entry for each of the last axis of ``input``."""
    if not isinstance(pos_weight, Tensor):
        return pos_weight
    if pos_weight.shape != input.shape[-1:]:
        raise ShapeError(
            f'"pos_weight" has shape {shape_text(pos_weight.shape)}, expected {shape_text(input.shape[-1:])} to fit the last '
            f'axis of "input" {shape_text(input.shape)}: one weight for all is a number'
        )
    return pos_weight.to(input.dtype)


class BinaryCrossEntropyWithLogitsLoss(Loss, function=binary_cross_entropy_with_logits):
    """Module of :func:`binary_cross_entropy_with_logits`."""

    weight: Tensor | None = None
    pos_weight: Tensor | float | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
