"""Squared near the target, absolute far from it: Huber, smooth L1, log-cosh."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, visible
from ..core.domain import ELEMENTS
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .regression import lowest_mean

__all__ = ["HuberLoss", "LogCoshLoss", "SmoothL1Loss", "huber_loss", "log_cosh_loss", "smooth_l1_loss"]

_LAWS = ("nonnegative", "zero_at_target", "symmetric", "convex", "bounded_gradient")


def _huber(input: Tensor, target: Tensor, *, delta: float = 1.0) -> Tensor:
    """e^2 / 2 up to delta, then the tangent."""
    size = (input.double() - target.double()).abs()
    return torch.where(size <= delta, size**2 / 2, delta * size - delta**2 / 2)


def _smooth_l1(input: Tensor, target: Tensor, *, beta: float = 1.0) -> Tensor:
    return _huber(input, target, delta=beta) / beta if beta else (input.double() - target.double()).abs()


def _log_cosh(input: Tensor, target: Tensor) -> Tensor:
    """log((e^x + e^-x) / 2)."""
    error = input.double() - target.double()
    return torch.logaddexp(error, -error) - math.log(2)


def _huber_constant(target: Tensor, delta: float = 1.0) -> float:
    return lowest_mean(partial(_huber, target=target, delta=delta), target)


def _log_cosh_constant(target: Tensor) -> float:
    return lowest_mean(partial(_log_cosh, target=target), target)


def _smooth_l1_constant(target: Tensor, beta: float = 1.0) -> float:
    return lowest_mean(partial(_smooth_l1, target=target, beta=beta), target)


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_huber,
    laws=_LAWS,
    variants=({}, {"delta": 0.1}, {"delta": 30.0}),
    constant=_huber_constant,
    floor=lambda: 0.0,
)
def huber_loss(
    input: Tensor,
    target: Tensor,
    *,
    delta: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Squared error for small errors, absolute error for large ones: the safe default when some targets are wrong.

    Formula:    \ell = e^2 / 2 \text{ if } |e| < \delta, \text{ else } \delta (|e| - \delta / 2),\; e = \hat y - y
    Gradient:   \partial\ell/\partial \hat y = \max(-\delta, \min(\delta, e)): no element pulls harder than delta
    Use when:   the mean is wanted but some targets are far off: for 1, 2, 3, 4, 100 it fits 3, mse_loss fits 22.
    Avoid when: delta has nothing to do with the size of the errors: far above it is mse_loss / 2, far below delta * l1_loss.
                1.345 standard deviations of the good errors lose 5 % efficiency on clean normal data.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        delta: the error above which the loss grows linearly; > 0. huber_loss(delta) = delta * smooth_l1_loss(beta=delta).
        weight: (*) what each element counts for; the mean divides by the sum (torch divides by N here: its own mse_loss
            and l1_loss divide by the sum as well).
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for delta <= 0.
    Reference:  Huber 1964, Robust estimation of a location parameter
    Example:
        >>> losskit.huber_loss(torch.tensor([0.5, 10.0]), torch.zeros(2), reduction="none")  # 0.5^2 / 2, 10 - 1/2
        tensor([0.1250, 9.5000])
    """
    at_least("delta", delta, 0, strict=True, finite=False)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(F.huber_loss(input, target, reduction="none", delta=delta), weight, reduction, normalizer)


class HuberLoss(Loss, function=huber_loss):
    """Module of :func:`huber_loss`."""

    delta: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_smooth_l1,
    laws=_LAWS,
    variants=({}, {"beta": 0.0}, {"beta": 0.1}, {"beta": 30.0}),
    constant=_smooth_l1_constant,
    floor=lambda: 0.0,
)
def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    beta: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error with a rounded tip, so that the push fades out at the target; slope 1 far away, whatever beta is.

    Formula:    \ell = e^2 / (2 \beta) \text{ if } |e| < \beta, \text{ else } |e| - \beta / 2,\; e = \hat y - y
    Gradient:   \partial\ell/\partial \hat y = \max(-1, \min(1, e / \beta))
    Use when:   coordinates of boxes and key points, or anywhere l1_loss is right but rattles near the target.
    Avoid when: beta is large against the errors: the loss and its gradient shrink like 1 / beta, and learning with them
                (at beta = 100 an error of 1 pulls with 0.01); huber_loss keeps the slope e there.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        beta: the error above which the loss is |e| - beta / 2; 0 is l1_loss. smooth_l1_loss(beta) = huber_loss(beta) / beta.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError for beta < 0.
    Reference:  Girshick 2015, arXiv:1504.08083
    Example:
        >>> losskit.smooth_l1_loss(torch.tensor([0.5, 10.0]), torch.zeros(2), beta=2.0, reduction="none")  # 0.5^2 / 4, 10 - 1
        tensor([0.0625, 9.0000])
    """
    at_least("beta", beta, 0)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(F.smooth_l1_loss(input, target, reduction="none", beta=beta), weight, reduction, normalizer)


class SmoothL1Loss(Loss, function=smooth_l1_loss):
    """Module of :func:`smooth_l1_loss`."""

    beta: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_log_cosh,
    laws=_LAWS,
    constant=_log_cosh_constant,
    floor=lambda: 0.0,
)
def log_cosh_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Huber's loss without a corner: e^2 / 2 near the target, |e| - ln 2 far from it, smooth in every derivative.

    Formula:    \ell = \log \cosh e,\; e = \hat y - y
    Gradient:   \partial\ell/\partial \hat y = \tanh e: at most 1
    Use when:   huber_loss would do but second derivatives are used (Newton steps, boosting, curvature).
    Avoid when: errors are not of the order of 1: it bends there and has no option for it, so scale the targets first.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none"; all digits at both ends (in float32 5e-9 at e = 1e-4, 699.3068 at e = 700).
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError.
    Reference:  Green 1990, Bayesian reconstructions from emission tomography data
    Example:
        >>> losskit.log_cosh_loss(torch.tensor([700.0]), torch.tensor([0.0]))  # 700 - ln 2
        tensor(699.3068)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    error = input - target
    small = error.abs() < 1
    # log(cosh) cancels near 0 and overflows far from it; cosh e = 1 + 2 sinh(e / 2)^2 does neither
    near = torch.log1p(2 * torch.sinh(torch.where(small, error, 0) / 2) ** 2)
    far = error.abs() + (F.softplus(-2 * error.abs()) - math.log(2))
    return reduce(torch.where(small, near, far), weight, reduction, normalizer)


class LogCoshLoss(Loss, function=log_cosh_loss):
    """Module of :func:`log_cosh_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
