"""Negative log-likelihoods with heavy tails: Student's t for errors, the negative binomial for counts."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import visible, wide
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .likelihood import reach, with_scale

__all__ = ["NegativeBinomialNLLLoss", "StudentTNLLLoss", "negative_binomial_nll_loss", "student_t_nll_loss"]

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def _student_paper(mean: Tensor, target: Tensor, *, log_scale: Tensor | float, df: Tensor | float) -> Tensor:
    """-log of the density of Student's t."""
    scale = torch.as_tensor(log_scale, dtype=torch.float64).exp()
    df = torch.as_tensor(df, dtype=torch.float64)
    z = (mean.double() - target.double()) / scale
    constant = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * (df * math.pi).log() - scale.log()
    return (df + 1) / 2 * (1 + z**2 / df).log() - constant


def _student_floor(log_scale: float, df: float) -> float:
    return log_scale + math.lgamma(df / 2) - math.lgamma((df + 1) / 2) + 0.5 * math.log(df * math.pi)


def _height(df: Tensor) -> Tensor:
    """-log of the density of Student's t at 0, of scale 1."""
    x = df / 2
    # log gamma(x + 1/2) - log gamma(x) - log(x) / 2 for large x, where the difference has no digits; 1e-14 at 16
    large = x > 16
    far = torch.where(large, x, 16).reciprocal()
    square = far * far
    series = far * (-1 / 8 + square * (1 / 192 + square * (-1 / 640 + square * 17 / 14336)))
    near = torch.where(large, 16, x)
    exact = torch.lgamma(near + 0.5) - torch.lgamma(near) - 0.5 * near.log()
    return _HALF_LOG_2PI - torch.where(large, series, exact)


@loss(
    task="distribution",
    sample={
        "mean": Real(),
        "target": Interval(),
        "log_scale": Real(scalar=True, meaning="one number for each element, or one for all"),
        "df": Interval(low=0.0, open_low=True, open_high=True, scalar=True, meaning="degrees of freedom, more than 0"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_student_paper,
    laws=("symmetric", "bounded_gradient"),
    variants=(
        {"log_scale": -1.0, "df": 3.0},
        {"log_scale": Real(), "df": 0.5},
        {"log_scale": Real(), "df": Interval(low=0.0, open_low=True)},
        {"log_scale": 0.0, "df": 1e4},
    ),
    floor=_student_floor,
)
def student_t_nll_loss(
    mean: Tensor,
    target: Tensor,
    *,
    log_scale: Tensor | float,
    df: Tensor | float,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Gaussian likelihood with heavy tails: an outlier is believed to be one, and stops pulling.

    Formula:    \ell = \frac{\nu + 1}{2} \log\left(1 + \frac{z^2}{\nu}\right) + \log s + \tfrac12 \log \nu\pi +
                \log\Gamma(\tfrac{\nu}{2}) - \log\Gamma(\tfrac{\nu + 1}{2}),\; z = (\mu - y) / s
    Gradient:   \partial\ell/\partial\mu = \frac{(\nu + 1) z}{s (\nu + z^2)}: falls again beyond |z| = \sqrt\nu
    Use when:   a few errors are ten times as large as the rest and cannot be cleaned away.
    Avoid when: errors are normal (gaussian_nll_loss), or the start is far off: the gradient fades with distance.
    Shape:      mean (*), target (*), log_scale and df (*) or numbers -> () or (*)
    Args:
        log_scale: log of s; the variance is s^2 df / (df - 2) for df > 2.
        df: degrees of freedom, more than 0: 1 is Cauchy, 3 to 5 robust, 30 nearly Gaussian; up to any size without loss
            of digits. May be learned (as softplus of a parameter, or exp).
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none"; computed in float64 inside.
    Raises:     ShapeError; TypeError; ValueError for df that is not positive (on CPU) or infinite: that is Gaussian.
    Reference:  Lange, Little & Taylor 1989, Robust Statistical Modeling Using the t Distribution
    Example:
        >>> losskit.student_t_nll_loss(torch.zeros(1), torch.zeros(1), log_scale=0.0, df=1.0)  # Cauchy at 0: ln pi
        tensor(1.1447)
    """
    weight = valid_weight(weight, mask, mean.dtype)
    mean, target, log_scale = with_scale(weight, mean, target, log_scale)
    nu = wide(visible(weight, df)[0]) if isinstance(df, Tensor) else wide(mean).new_full((), df)
    value = _student(wide(mean) - wide(target), wide(log_scale), nu, reach(log_scale.dtype))
    return reduce(value.to(mean.dtype), weight, reduction, normalizer)


def _student(error: Tensor, log_scale: Tensor, nu: Tensor, far: float) -> Tensor:
    near = log_scale.clamp(min=-far)
    square = (error * (-near).exp()).square() / nu
    # below the reach log(1 + z^2 / nu) grows by 2 for each step of log_scale, unless the fit is perfect
    beyond = torch.where(square > 1, 2 * (near - log_scale), 0)
    return (nu + 1) / 2 * (square.log1p() + beyond) + log_scale + _height(nu)


class StudentTNLLLoss(Loss, function=student_t_nll_loss):
    """Module of :func:`student_t_nll_loss`."""

    log_scale: Tensor | float
    df: Tensor | float
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _binomial_paper(input: Tensor, target: Tensor, *, log_dispersion: Tensor | float) -> Tensor:
    """-log of the negative binomial with mean mu and variance mu + alpha mu^2; r = 1 / alpha."""
    mu, y = input.double().exp(), target.double()
    alpha = torch.as_tensor(log_dispersion, dtype=torch.float64).exp()
    r = 1 / alpha
    choose = torch.lgamma(y + r) - torch.lgamma(y + 1) - torch.lgamma(r)
    return -(choose - r * (1 + alpha * mu).log() + y * (alpha * mu / (1 + alpha * mu)).log())


def _binomial_constant(target: Tensor, log_dispersion: float) -> float:
    """Of the mean, which is the best constant for every dispersion."""
    return float(_binomial_paper(target.double().mean().log(), target, log_dispersion=log_dispersion).mean())


@loss(
    task="distribution",
    sample={
        "input": Real(),
        "target": Interval(low=0.0, meaning="counts, zero or more"),
        "log_dispersion": Real(scalar=True, meaning="one number for each element, or one for all"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_binomial_paper,
    laws=("convex",),
    variants=({"log_dispersion": Real()}, {"log_dispersion": 0.0}, {"log_dispersion": -7.0}, {"log_dispersion": 7.0}),
    constant=_binomial_constant,
)
def negative_binomial_nll_loss(
    input: Tensor,
    target: Tensor,
    *,
    log_dispersion: Tensor | float,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""For counts that scatter more than their mean: Poisson with a dispersion, and Poisson itself when that goes to 0.

    Formula:    \ell = (r + y) \log(1 + \alpha\mu) - y \log \alpha\mu + \log\frac{\Gamma(r)\, y!}{\Gamma(r + y)},\;
                \mu = e^{\hat y},\; r = 1 / \alpha;\; \mathrm{Var}(y) = \mu + \alpha\mu^2
    Gradient:   \partial\ell/\partial \hat y = (\mu - y) / (1 + \alpha\mu): bounded by r for a mean that is too large
    Use when:   counts come in bursts: visits, goals, reads of a gene, sales; the variance is several times the mean.
    Avoid when: the variance is about the mean (poisson_deviance_loss), or there are many more zeros than any alpha gives.
    Shape:      input (*), target (*), log_dispersion (*) or a number -> () or (*)
    Args:
        input: log of the predicted mean.
        target: counts, zero or more.
        log_dispersion: log of alpha. alpha = 1 doubles the variance at a mean of 1. No digits are lost as alpha goes to 0;
            beyond 50 in size (float32; 300 in float64) the loss goes on as its tangent.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none"; computed in float64 inside.
    Raises:     ShapeError; TypeError; ValueError for a target below 0 (on CPU).
    Reference:  Lawless 1987, Negative binomial and mixed Poisson regression
    Example:
        >>> losskit.negative_binomial_nll_loss(torch.zeros(1), torch.zeros(1), log_dispersion=0.0)  # ln(1 + alpha mu)
        tensor(0.6931)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target, log_dispersion = with_scale(weight, input, target, log_dispersion)
    far = reach(log_dispersion.dtype)
    value = _binomial(wide(input), wide(target), wide(log_dispersion), far)
    return reduce(value.to(input.dtype), weight, reduction, normalizer)


def _binomial(eta: Tensor, y: Tensor, log_alpha: Tensor, far: float) -> Tensor:
    low = log_alpha.clamp(min=-far)  # below it is Poisson to the last digit
    odds, r = eta + low, (-low.clamp(max=far)).exp()
    many = r > 16
    few = torch.where(many, 1, r)
    # above the reach log gamma(r) grows by 1 for each step of log alpha, where log gamma(r + y) does not
    beyond = torch.where(y > 0, F.relu(low - far), 0)
    direct = torch.lgamma(few) - torch.lgamma(few + y) - y * odds + beyond
    choose = torch.where(many, -_rising(torch.where(many, r, 16), y) - y * eta, direct)
    return (r + y) * -F.logsigmoid(-odds) + torch.lgamma(y + 1) + choose


def _rising(r: Tensor, y: Tensor) -> Tensor:
    """log gamma(r + y) - log gamma(r) - y log r for r >= 16, where the difference has no digits."""
    return (r + y - 0.5) * torch.log1p(y / r) - y + _stirling(r + y) - _stirling(r)


def _stirling(x: Tensor) -> Tensor:
    """What Stirling's formula for log gamma(x) leaves over; to 1e-14 for x >= 16."""
    inverse = x.reciprocal()
    square = inverse * inverse
    return inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square / 1680)))


class NegativeBinomialNLLLoss(Loss, function=negative_binomial_nll_loss):
    """Module of :func:`negative_binomial_nll_loss`."""

    log_dispersion: Tensor | float
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
