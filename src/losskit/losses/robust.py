"""Barron's general robust loss: one formula from squared error to redescending losses, its shape a number or learned."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, visible
from ..core.domain import ELEMENTS, Domain
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight

__all__ = ["GeneralRobustLoss", "general_robust_loss"]

_FAR = 1e9  # nothing above it is squared: the square of 1e20 is no float32
_SERIES = [1 / math.factorial(k + 1) for k in range(16)]  # of expm1(u) / u, to the last digit of float64 for |u| < 1/2


@dataclass(frozen=True)
class Alpha(Domain):
    """The shape of the loss: a number, a 0-d tensor for all elements, or one number for each."""

    meaning: str = "a number, a 0-d tensor, or one number for each element"
    extreme: float = 2.0  # beyond it the loss is a power of the error, which leaves the floats
    optional: bool = True
    scalar: bool = True


def log1p_square(x: Tensor) -> Tensor:
    """log(1 + x^2), for every finite x."""
    beyond = x.abs().clamp(min=_FAR) / _FAR
    return torch.log1p(x.clamp(-_FAR, _FAR) ** 2) + 2 * torch.log(beyond)


def steady_expm1(u: Tensor) -> Tensor:
    """exp(u) - 1 with a slope of exp(u): torch takes the slope to be the value + 1, which has no digits left below -16."""
    return torch.where(u > -1, torch.expm1(u), torch.exp(u.clamp(max=-1)) - 1)


def robust(x: Tensor, alpha: Tensor | float) -> Tensor:
    """b / alpha * ((1 + x^2 / b)^(alpha / 2) - 1) with b = |alpha - 2|, and its limits; differentiable in both."""
    if not isinstance(alpha, Tensor):
        shape = x.new_full((), max(-1e30, min(alpha, 1e30)))
        return _near_two(x, shape) if abs(alpha - 2) <= 1 else _elsewhere(x, shape)
    close = (alpha - 2).abs() <= 1
    inner = _near_two(torch.where(close, x, 0), torch.where(close, alpha, 2))
    outer = _elsewhere(torch.where(close, 0, x), torch.where(close, 0, alpha))
    return torch.where(close, inner, outer)


def _near_two(x: Tensor, alpha: Tensor) -> Tensor:
    """With 1 + x^2 / b = e^L and t = (alpha / 2 - 1) L it is (x^2 e^t + b expm1(t)) / alpha: x^2 / 2 as t and b vanish."""
    b = (alpha - 2).abs().clamp(min=torch.finfo(x.dtype).eps)
    t = (alpha - 2) / 2 * log1p_square(x * b.rsqrt())
    return ((x * torch.exp(t / 2)) ** 2 + b * torch.expm1(t)) / alpha


def _elsewhere(x: Tensor, alpha: Tensor) -> Tensor:
    """b / alpha * expm1(u) with u = alpha / 2 * log(1 + x^2 / b); near u = 0, where alpha may be 0, by the series."""
    limit = torch.finfo(x.dtype).eps ** -2  # as good as infinity: beyond it the value does not change
    alpha = alpha.clamp(-limit, limit)
    b = (alpha - 2).abs()
    log = log1p_square(x * b.rsqrt())
    u = alpha / 2 * log
    small = u.abs() < 0.5
    # b / alpha * expm1(u) is 0 / 0 at alpha = 0, and its slope in alpha cancels around it
    near = b / 2 * log * _expm1_ratio(torch.where(small, u, 0))
    far = b / torch.where(small, 1, alpha) * steady_expm1(torch.where(small, 0, u))
    return torch.where(small, near, far)


def _expm1_ratio(u: Tensor) -> Tensor:
    """expm1(u) / u for small u."""
    total = torch.full_like(u, _SERIES[-1])
    for coefficient in reversed(_SERIES[:-1]):
        total = total * u + coefficient
    return total


def _barron(input: Tensor, target: Tensor, *, alpha: Tensor | float = 1.0, scale: float = 1.0) -> Tensor:
    """The paper's cases."""
    square = ((input.double() - target.double()) / scale) ** 2
    if isinstance(alpha, Tensor) or alpha not in (2, 0, -math.inf, math.inf):
        shape = torch.as_tensor(alpha, dtype=torch.float64)
        b = (shape - 2).abs()
        return b / shape * ((square / b + 1) ** (shape / 2) - 1)
    if alpha == 2:
        return square / 2
    if alpha == 0:
        return torch.log(square / 2 + 1)
    return 1 - torch.exp(-square / 2) if alpha < 0 else torch.exp(square / 2) - 1


@loss(
    task="regression",
    sample={**ELEMENTS, "alpha": Alpha()},
    reference=_barron,
    laws=("nonnegative", "zero_at_target", "symmetric"),
    variants=(
        {},
        {"alpha": 2.0},
        {"alpha": 0.0, "scale": 2.0},
        {"alpha": -math.inf, "scale": 3.0},
        {"alpha": -2.0, "scale": 0.5},
        {"alpha": Alpha()},
    ),
    floor=lambda: 0.0,
)
def general_robust_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: Tensor | float = 1.0,
    scale: float = 1.0,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""One dial for how little an outlier may say: alpha 2 is squared error, 1 nearly absolute, 0 and below ignores them.

    Formula:    \ell = \frac{b}{\alpha} \left( (x^2 / b + 1)^{\alpha/2} - 1 \right),\; b = |\alpha - 2|,\; x = (\hat y - y) / c
    Gradient:   \partial\ell/\partial \hat y = \frac{x}{c} (x^2 / b + 1)^{\alpha/2 - 1}: x / c near the target for every alpha
    Use when:   it is not clear how heavy the tails are: try alpha = 2, 1, 0, -2, or let AdaptiveRobustLoss learn it.
    Avoid when: alpha < 1 and the start is far away: an error of 100 c pulls with 0.02 at alpha = 0 and with 1.6e-5
                at alpha = -2, so training may never get near; begin at 1 and lower it.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        alpha: the shape, a number, a 0-d tensor or (*). 2: mse_loss / 2, 1: charbonnier_loss, 0: cauchy_loss,
            -2: geman_mcclure_loss, -inf: welsch_loss; above 2 outliers lead more than in squared error (inf: exp(x^2 / 2) - 1).
            Exact and smooth between and at them, in float32 as well. A tensor can be learned, but the loss alone pulls it down
            (AdaptiveRobustLoss does not). The derivative to alpha at 2 is infinite, here finite and large.
        scale: the paper's c > 0, the error where the loss stops to look like x^2 / 2.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for scale <= 0 or alpha = nan.
    Reference:  Barron 2019, A general and adaptive robust loss function, arXiv:1701.03077
    Example:
        >>> losskit.general_robust_loss(torch.tensor([10.0]), torch.tensor([0.0]), alpha=-math.inf)  # an outlier costs 1
        tensor(1.)
    """
    at_least("scale", scale, 0, strict=True)
    weight = valid_weight(weight, mask, input.dtype)
    if isinstance(alpha, Tensor):
        input, target, alpha = visible(weight, input, target, alpha)
    else:
        at_least("alpha", alpha, -math.inf, finite=False)
        input, target = visible(weight, input, target)
    return reduce(robust((input - target) / scale, alpha), weight, reduction, normalizer)


class GeneralRobustLoss(Loss, function=general_robust_loss):
    """Module of :func:`general_robust_loss`; an ``nn.Parameter`` as alpha is learned."""

    alpha: Tensor | float = 1.0
    scale: float = 1.0
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
