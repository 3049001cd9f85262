"""Robust losses by their names: Charbonnier, Cauchy, Geman-McClure; each is e^2 / (2 c^2) near the target."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, visible
from ..core.domain import ELEMENTS
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .regression import lowest_mean
from .robust import log1p_square, steady_expm1

__all__ = [
    "CauchyLoss",
    "CharbonnierLoss",
    "GemanMcClureLoss",
    "cauchy_loss",
    "charbonnier_loss",
    "geman_mcclure_loss",
]

_LAWS = ("nonnegative", "zero_at_target", "symmetric", "bounded_gradient")


def plain_square(input: Tensor, target: Tensor, scale: float) -> Tensor:
    """What the papers call x^2, for the references."""
    return ((input.double() - target.double()) / scale) ** 2


def _charbonnier(input: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    return (plain_square(input, target, scale) + 1).sqrt() - 1


def _cauchy(input: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    return (plain_square(input, target, scale) / 2 + 1).log()


def _geman_mcclure(input: Tensor, target: Tensor, *, scale: float = 1.0) -> Tensor:
    square = plain_square(input, target, scale)
    return 2 * square / (square + 4)


def _charbonnier_constant(target: Tensor, scale: float = 1.0) -> float:
    return lowest_mean(partial(_charbonnier, target=target, scale=scale), target)


def standard(input: Tensor, target: Tensor, scale: float, weight: Tensor | None) -> Tensor:
    """The error in units of the scale."""
    at_least("scale", scale, 0, strict=True)
    input, target = visible(weight, input, target)
    return (input - target) / scale


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_charbonnier,
    laws=(*_LAWS, "convex"),
    variants=({}, {"scale": 0.5}, {"scale": 30.0}),
    constant=_charbonnier_constant,
    floor=lambda: 0.0,
)
def charbonnier_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error with a smooth tip (pseudo-Huber, L1-L2): the everyday choice for images and flow.

    Formula:    \ell = \sqrt{x^2 + 1} - 1,\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = x / (c \sqrt{x^2 + 1}): at most 1 / c
    Use when:   pixels, optical flow, super-resolution: outliers weigh little more than with l1_loss, and every derivative
                exists.
    Avoid when: outliers should say nothing at all: they still pull with 1 / c (cauchy_loss, geman_mcclure_loss).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        scale: c > 0, the error where it turns from x^2 / 2 to |x| - 1. general_robust_loss at alpha = 1.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for scale <= 0.
    Reference:  Charbonnier et al. 1994, Two deterministic half-quadratic regularization algorithms
    Example:
        >>> losskit.charbonnier_loss(torch.tensor([0.75]), torch.tensor([0.0]))  # sqrt(9/16 + 1) - 1
        tensor(0.2500)
    """
    weight = valid_weight(weight, mask, input.dtype)
    x = standard(input, target, scale, weight)
    root = torch.hypot(x, x.new_ones(()))
    # x^2 / (1 + root): root - 1 has no digits left for a small x
    return reduce(x * (x / (1 + root)), weight, reduction, normalizer)


class CharbonnierLoss(Loss, function=charbonnier_loss):
    """Module of :func:`charbonnier_loss`."""

    scale: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_cauchy,
    laws=_LAWS,
    variants=({}, {"scale": 0.5}, {"scale": 30.0}),
    floor=lambda: 0.0,
)
def cauchy_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Lets an outlier pull less the further away it is: the log-likelihood of Cauchy errors (Lorentzian).

    Formula:    \ell = \log(1 + x^2 / 2),\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = (x / c) / (1 + x^2 / 2): largest at x = \sqrt 2, then 2 / x
    Use when:   tails are heavy and even absolute error follows the outliers: pose, registration, sensors with drop-outs.
    Avoid when: the start is far off: not convex, and an error of 100 c pulls as little as one of 0.02 c. Start with
                charbonnier_loss.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        scale: c > 0. Other libraries write log(1 + (e / c)^2): that is this with scale c / sqrt(2).
            general_robust_loss at alpha = 0.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for scale <= 0.
    Reference:  Black and Anandan 1996, The robust estimation of multiple motions
    Example:
        >>> losskit.cauchy_loss(torch.tensor([2.0]), torch.tensor([0.0]))  # ln(1 + 4 / 2)
        tensor(1.0986)
    """
    weight = valid_weight(weight, mask, input.dtype)
    x = standard(input, target, scale, weight)
    return reduce(log1p_square(x * 0.5**0.5), weight, reduction, normalizer)


class CauchyLoss(Loss, function=cauchy_loss):
    """Module of :func:`cauchy_loss`."""

    scale: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_geman_mcclure,
    laws=_LAWS,
    variants=({}, {"scale": 0.5}, {"scale": 30.0}),
    floor=lambda: 0.0,
)
def geman_mcclure_loss(
    input: Tensor,
    target: Tensor,
    *,
    scale: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Bounded: an outlier costs 2 whatever its size, and pulls almost nothing.

    Formula:    \ell = 2 x^2 / (x^2 + 4),\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = (x / c) / (x^2 / 4 + 1)^2: falls like 16 / x^3
    Use when:   many elements belong to something else altogether, as in matching and segmentation of motion.
    Avoid when: the start is far off: an error of 100 c pulls with 1.6e-5 / c. Begin with charbonnier_loss, or with a large scale
                that shrinks (graduated non-convexity).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        scale: c > 0. Others write x^2 / (x^2 + 1) or half of it: this is 2 x'^2 / (x'^2 + 1) with x' = x / 2.
            general_robust_loss at alpha = -2.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for scale <= 0.
    Reference:  Geman and McClure 1985, Bayesian image analysis
    Example:
        >>> losskit.geman_mcclure_loss(torch.tensor([2.0, 1e6]), torch.zeros(2), reduction="none")  # 8 / 8, at most 2
        tensor([1., 2.])
    """
    weight = valid_weight(weight, mask, input.dtype)
    x = standard(input, target, scale, weight)
    # 2 x^2 / (x^2 + 4), whose derivative cancels for a large x
    return reduce(-2 * steady_expm1(-log1p_square(x / 2)), weight, reduction, normalizer)


class GemanMcClureLoss(Loss, function=geman_mcclure_loss):
    """Module of :func:`geman_mcclure_loss`."""

    scale: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
