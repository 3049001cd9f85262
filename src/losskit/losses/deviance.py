"""Deviances with a log link, for counts and amounts: Poisson, gamma, Tweedie."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.call import verify
from ..core.card import loss
from ..core.check import at_least, peek, visible, wide
from ..core.domain import Interval, Mask, Real, Sizes, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .likelihood import reach

__all__ = [
    "GammaDevianceLoss",
    "PoissonDevianceLoss",
    "TweedieDevianceLoss",
    "gamma_deviance_loss",
    "poisson_deviance_loss",
    "tweedie_deviance_loss",
]


@dataclass(frozen=True)
class _Amount(Interval):
    """Draws positive numbers; what else is allowed depends on the power, and tweedie_deviance_loss checks it."""

    low: float = 0.0

    def within(self, value: Tensor) -> bool:
        return True

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return None


def _paper(input: Tensor, target: Tensor, *, power: float = 1.5) -> Tensor:
    """2 * (l(y; y) - l(y; mu)) of the exponential family whose variance is mu^power."""
    mu, y = input.double().exp(), target.double()
    if power == 0:
        return (y - mu).square()
    if power == 1:
        return 2 * (torch.xlogy(y, y / mu) - y + mu)
    if power == 2:
        return 2 * (y / mu - 1 - (y / mu).log())
    a, b = 1 - power, 2 - power
    return 2 * (y.clamp(min=0).pow(b) / (a * b) - y * mu.pow(a) / a + mu.pow(b) / b)


def _poisson_paper(input: Tensor, target: Tensor) -> Tensor:
    return _paper(input, target, power=1)


def _gamma_paper(input: Tensor, target: Tensor) -> Tensor:
    return _paper(input, target, power=2)


def _constant(target: Tensor, power: float = 1.5) -> float:
    """Of the mean, which is the best constant for every power."""
    return float(_paper(target.double().mean().log(), target, power=power).mean())


def _poisson_constant(target: Tensor) -> float:
    return _constant(target, 1)


def _gamma_constant(target: Tensor) -> float:
    return _constant(target, 2)


def _deviance(input: Tensor, target: Tensor, power: float) -> Tensor:
    """The unit deviance, and its tangent where mu is so far off that a power of it would overflow."""
    far = reach(input.dtype) / max(1, abs(1 - power), abs(2 - power))
    eta, y = wide(input), wide(target)
    if peek((input.abs() <= far).all()):
        return _unit(eta, y, power).to(input.dtype)
    near = eta.clamp(-far, far)
    slope = 2 * (((2 - power) * near).exp() - y * ((1 - power) * near).exp())
    # relu: on the way to a target that is even further off the loss stays flat instead of going below zero
    return (_unit(near, y, power) + F.relu(slope * (eta - near))).to(input.dtype)


def _unit(eta: Tensor, y: Tensor, power: float) -> Tensor:
    """2 y^b * (integral from 0 to d of e^(a s) (e^s - 1)), a = 1 - power, b = 2 - power, d = eta - log y."""
    a, b = 1 - power, 2 - power
    boundary = y <= 0 if power <= 0 else y == 0
    inner = torch.where(boundary, 1, y) if power < 2 else y
    d = eta - inner.log()
    value = inner**b * (_excess(d, b) - _excess(d, a))
    if power >= 2:
        return 2 * value
    at_zero = (b * eta).exp() / b
    if power <= 0:
        at_zero = at_zero - y * (a * eta).exp() / a + (0.5 * y**2 if power == 0 else 0)
    return 2 * torch.where(boundary, at_zero, value)


def _excess(d: Tensor, k: float) -> Tensor:
    """(e^(k d) - 1 - k d) / k, and its limit 0 at k = 0."""
    if k == 0:
        return torch.zeros_like(d)
    x = k * d
    # either side of 4e-4 is exact to 1e-12 in float64
    series = x * x * (1 / 2 + x * (1 / 6 + x / 24))
    return torch.where(x.abs() < 4e-4, series, x.expm1() - x) / k


@loss(
    task="regression",
    sample={"input": Real(), "target": Interval(low=0.0, meaning="counts, zero or more"), "weight": Weight(), "mask": Mask()},
    reference=_poisson_paper,
    laws=("nonnegative", "convex"),
    constant=_poisson_constant,
    floor=lambda: 0.0,
)
def poisson_deviance_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""What to minimise for counts: the Poisson likelihood, shifted so that a perfect fit is 0.

    Formula:    \ell = 2 (y \log(y / \mu) - y + \mu),\; \mu = e^{\hat y}
    Gradient:   \partial\ell/\partial \hat y = 2 (\mu - y)
    Use when:   the target counts events: clicks, claims, goals, photons; zeros are welcome.
    Avoid when: counts scatter more than their mean (negative_binomial_nll_loss), or are amounts of money
                (gamma_deviance_loss; with many zeros tweedie_deviance_loss).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        input: log of the predicted mean. Beyond 50 in size (float32; 300 in float64) the loss goes on as its tangent.
        target: counts, zero or more; need not be whole.
        weight: (*) what each element counts for, e.g. the exposure; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". The full deviance, as in sklearn.metrics.mean_poisson_deviance; torch's
                poisson_nll_loss is half of it and misses what depends on the target alone.
    Raises:     ShapeError (no broadcasting); TypeError; ValueError for a target below 0 (on CPU; NaN elsewhere).
    Reference:  Nelder & Wedderburn 1972, Generalized Linear Models
    Example:
        >>> losskit.poisson_deviance_loss(torch.zeros(2), torch.tensor([1.0, 0.0]))  # (0 + 2 mu) / 2 with mu = 1
        tensor(1.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(_deviance(input, target, 1), weight, reduction, normalizer)


class PoissonDevianceLoss(Loss, function=poisson_deviance_loss):
    """Module of :func:`poisson_deviance_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample={
        "input": Real(),
        "target": Interval(low=0.0, open_low=True, meaning="amounts, more than zero"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_gamma_paper,
    laws=("nonnegative", "convex"),
    constant=_gamma_constant,
    floor=lambda: 0.0,
)
def gamma_deviance_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""What to minimise for positive amounts whose errors are percentages: twice too much costs the same at any size.

    Formula:    \ell = 2 (y / \mu - 1 - \log(y / \mu)),\; \mu = e^{\hat y}
    Gradient:   \partial\ell/\partial \hat y = 2 (1 - y / \mu)
    Use when:   the target is a price, a duration, a claim: positive, with a spread that grows with the mean.
    Avoid when: there are zeros (tweedie_deviance_loss with a power below 2).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        input: log of the predicted mean. Beyond 50 in size (float32; 300 in float64) the loss goes on as its tangent.
        target: amounts, more than zero.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". The full deviance, as in sklearn.metrics.mean_gamma_deviance.
    Raises:     ShapeError (no broadcasting); TypeError; ValueError for a target that is not positive (on CPU).
    Reference:  Nelder & Wedderburn 1972, Generalized Linear Models
    Example:
        >>> losskit.gamma_deviance_loss(torch.zeros(1), torch.tensor([2.0]))  # half of what it is: 2 (2 - 1 - ln 2)
        tensor(0.6137)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(_deviance(input, target, 2), weight, reduction, normalizer)


class GammaDevianceLoss(Loss, function=gamma_deviance_loss):
    """Module of :func:`gamma_deviance_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _amounts(power: float) -> Interval:
    """Which targets a power allows."""
    if power >= 2:
        return Interval(low=0.0, open_low=True, meaning=f"amounts, more than zero for power={power:g}")
    return Interval(low=0.0, meaning=f"amounts, zero or more for power={power:g}") if power > 0 else Interval()


@loss(
    task="regression",
    sample={"input": Real(), "target": _Amount(), "weight": Weight(), "mask": Mask()},
    reference=_paper,
    laws=("nonnegative",),
    variants=({}, {"power": -0.5}, {"power": 0.0}, {"power": 1.0001}, {"power": 2.0}, {"power": 3.0}),
    constant=_constant,
    floor=lambda: 0.0,
)
def tweedie_deviance_loss(
    input: Tensor,
    target: Tensor,
    *,
    power: float = 1.5,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""For amounts of which many are exactly zero, such as what a customer spends or an insurer pays.

    Formula:    \ell = 2 \left(\frac{y^b}{a b} - \frac{y \mu^a}{a} + \frac{\mu^b}{b}\right),\; a = 1 - p,\; b = 2 - p,\;
                \mu = e^{\hat y}; the limits at p = 1 and p = 2 are Poisson and gamma
    Gradient:   \partial\ell/\partial \hat y = 2 (\mu^{2 - p} - y \mu^{1 - p})
    Use when:   the target is a sum of a random number of positive amounts (1 < p < 2): zero, or anything above.
    Avoid when: zeros and amounts have different causes: model them apart.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        input: log of the predicted mean. Beyond 50 in size (float32; 300 in float64), or earlier where a power
            of mu beyond the first is taken, the loss goes on as its tangent.
        target: any number for p <= 0, zero or more for 1 <= p < 2, more than zero for p >= 2.
        power: p, the variance is proportional to mu^p: 0 normal, 1 Poisson, 2 gamma, 3 inverse Gaussian; no distribution
            has one between 0 and 1. Near 1 and 2 no digits are lost (the formula as written is 7 % off at p = 1.0001).
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". The full deviance, as in sklearn.metrics.mean_tweedie_deviance.
    Raises:     ShapeError (no broadcasting); TypeError; ValueError for a power in (0, 1), or a target outside of its
                range (on CPU).
    Reference:  Jorgensen 1987, Exponential Dispersion Models
    Example:
        >>> losskit.tweedie_deviance_loss(torch.zeros(1), torch.tensor([4.0]))  # 2 (-4 * 2 + 2 * 4 + 2)
        tensor(4.)
    """
    at_least("power", power, -math.inf)
    if 0 < power < 1:
        raise ValueError(f'"power" must be <= 0 or >= 1, got {power!r}')
    verify({"target": _amounts(power)}, {"target": target, "weight": weight, "mask": mask}, None, -1)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(_deviance(input, target, power), weight, reduction, normalizer)


class TweedieDevianceLoss(Loss, function=tweedie_deviance_loss):
    """Module of :func:`tweedie_deviance_loss`."""

    power: float = 1.5
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
