"""Redescending losses that forget an outlier completely: Welsch, Tukey; each is e^2 / (2 c^2) near the target."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.card import loss
from ..core.domain import ELEMENTS
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .robust import steady_expm1
from .robust_named import plain_square, standard

__all__ = ["TukeyLoss", "WelschLoss", "tukey_loss", "welsch_loss"]

_LAWS = ("nonnegative", "zero_at_target", "symmetric", "bounded_gradient")


def _welsch(input: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    return 1 - (-plain_square(input, target, scale) / 2).exp()


def _tukey(input: Tensor, target: Tensor, *, scale: float = 4.685) -> Tensor:
    square = plain_square(input, target, scale)
    return torch.where(square <= 1, 1 - (1 - square) ** 3, 1) / 6


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_welsch,
    laws=_LAWS,
    variants=({}, {"scale": 0.5}, {"scale": 30.0}),
    floor=lambda: 0.0,
)
def welsch_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Bounded like Geman-McClure, and beyond a few scales an outlier is forgotten completely (Leclerc, correntropy).

    Formula:    \ell = 1 - e^{-x^2 / 2},\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = (x / c) e^{-x^2 / 2}
    Use when:   outliers are gross and plainly apart from the good elements: the fit becomes that of the good ones alone.
    Avoid when: a good element can be far off at the start: at 6 c it pulls with 9e-8 / c, at 15 c with nothing in float32 that
                moves a weight. Begin with charbonnier_loss, or shrink the scale.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        scale: c > 0. 2.11 standard deviations of the good errors lose 5 % efficiency on clean normal data (Welsch's 2.98 is
            sqrt(2) times that: he has no 1/2). general_robust_loss at alpha = -inf.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for scale <= 0.
    Reference:  Dennis and Welsch 1978, Techniques for nonlinear least squares and robust regression
    Example:
        >>> losskit.welsch_loss(torch.tensor([10.0]), torch.tensor([0.0]))  # an outlier costs 1
        tensor(1.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    x = standard(input, target, scale, weight)
    # beyond 40 the slope e^-800 is 0 in every dtype; the square of 1e20 is no float32
    return reduce(-steady_expm1(x.clamp(-40, 40) ** 2 / -2), weight, reduction, normalizer)


class WelschLoss(Loss, function=welsch_loss):
    """Module of :func:`welsch_loss`."""

    scale: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_tukey,
    laws=_LAWS,
    variants=({}, {"scale": 0.5}, {"scale": 30.0}),
    floor=lambda: 0.0,
)
def tukey_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 4.685,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Biweight: beyond the scale an element has no say at all, not even a small one.

    Formula:    \ell = (1 - (1 - x^2)^3) / 6 \text{ if } |x| \le 1, \text{ else } 1/6,\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = (x / c) (1 - x^2)^2 \text{ if } |x| \le 1, \text{ else } 0
    Use when:   a good first fit exists and gross outliers must be left out of it entirely.
    Avoid when: it starts from scratch: whatever is further off than c has gradient 0 and never comes back; if all are, nothing
                learns.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        scale: c > 0, the error where the influence ends. 4.685 standard deviations of the good errors lose 5 % efficiency on
            clean normal data: divide targets and outputs by that deviation, or pass 4.685 times it.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for scale <= 0.
    Reference:  Beaton and Tukey 1974, The fitting of power series
    Example:
        >>> losskit.tukey_loss(torch.tensor([1.0, 50.0]), torch.zeros(2), scale=2.0, reduction="none")  # (1 - 27/64) / 6, 1/6
        tensor([0.0964, 0.1667])
    """
    weight = valid_weight(weight, mask, input.dtype)
    x = standard(input, target, scale, weight)
    square = x.clamp(-1, 1) ** 2
    # (1 - (1 - square)^3) / 6 multiplied out: nothing cancels for a small x
    return reduce(square * (3 - 3 * square + square**2) / 6, weight, reduction, normalizer)


class TukeyLoss(Loss, function=tukey_loss):
    """Module of :func:`tukey_loss`."""

    scale: float = 4.685
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
