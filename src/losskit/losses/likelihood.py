"""Negative log-likelihoods of a number with a width: Gaussian, beta-weighted Gaussian, Laplace."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import between, peek, visible
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight

__all__ = ["BetaNLLLoss", "GaussianNLLLoss", "LaplaceNLLLoss", "beta_nll_loss", "gaussian_nll_loss", "laplace_nll_loss"]

_LOG_2PI = math.log(2 * math.pi)
_SCALE = Real(scalar=True, meaning="one number for each element, or one for all")


def reach(dtype: torch.dtype) -> float:
    """How large a logarithm may be before its exponential goes on as a straight line.

    Half of what the dtype holds: exp(50) may still be multiplied by the square of an error, and added up.
    """
    return 300.0 if dtype == torch.float64 else 50.0


def tangent_exp(power: Tensor) -> Tensor:
    """e^power, and its tangent where power is beyond ``reach``: finite, and never without a gradient."""
    far = reach(power.dtype)
    if peek((power <= far).all()):
        return power.exp()
    near = power.clamp(max=far).exp()
    return torch.addcmul(near, near, F.relu(power - far))


def with_scale(weight: Tensor | None, mean: Tensor, target: Tensor, scale: Tensor | float) -> tuple[Tensor, ...]:
    """``visible(weight, mean, target, scale)``, where a plain number becomes a 0-d tensor."""
    if isinstance(scale, Tensor):
        return visible(weight, mean, target, scale)
    mean, target = visible(weight, mean, target)
    return mean, target, mean.new_full((), scale)


def _gaussian_paper(
    mean: Tensor, target: Tensor, *, log_var: Tensor | float | None = None, var: Tensor | float | None = None
) -> Tensor:
    """-log of the normal density."""
    var = torch.as_tensor(log_var, dtype=torch.float64).exp() if var is None else torch.as_tensor(var, dtype=torch.float64)
    return 0.5 * (2 * math.pi * var).log() + (mean.double() - target.double()) ** 2 / (2 * var)


def _gaussian_constant(target: Tensor, log_var: float) -> float:
    """The mean, and the width that is given."""
    return _gaussian_floor(log_var) + 0.5 * float(target.double().var(correction=0)) * math.exp(-log_var)


def _gaussian_floor(log_var: float) -> float:
    return 0.5 * (log_var + _LOG_2PI)


@loss(
    task="distribution",
    sample={
        "mean": Real(),
        "target": Interval(),
        "log_var": Real(optional=True, scalar=True, meaning=_SCALE.meaning),
        "var": Interval(low=0.0, open_low=True, optional=True, scalar=True, meaning="variances, more than 0"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_gaussian_paper,
    laws=("symmetric", "convex"),
    variants=({"log_var": Real()}, {"log_var": -1.0}, {"var": Interval(low=0.0, open_low=True)}, {"var": 0.5}),
    constant=_gaussian_constant,
    floor=_gaussian_floor,
)
def gaussian_nll_loss(
    mean: Tensor,
    target: Tensor,
    *,
    log_var: Tensor | float | None = None,
    var: Tensor | float | None = None,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Squared error for a model that also says how sure it is: a wrong answer costs less where it was in doubt.

    Formula:    \ell = \tfrac12 (\log \sigma^2 + (\mu - y)^2 / \sigma^2 + \log 2\pi)
    Gradient:   \partial\ell/\partial\mu = (\mu - y) / \sigma^2;\;
                \partial\ell/\partial\log\sigma^2 = \tfrac12 (1 - (\mu - y)^2 / \sigma^2)
    Use when:   the noise differs from example to example, and is wanted beside the prediction.
    Avoid when: errors have heavy tails (student_t_nll_loss), or the mean stops learning because the variance explains
                the error away (beta_nll_loss).
    Shape:      mean (*), target (*), log_var or var (*) or a number -> () or (*)
    Args:
        log_var: log of the variance: what a network should predict. Below -50 (float32; -300 in float64) the inverse
            variance goes on as a straight line in log_var, so that the gradient stays finite.
        var: the variance itself, more than 0; exactly one of the two is given. There is no hidden clamp (torch raises
            a variance to eps = 1e-6 and lets the gradient pass as if it had not), and log 2 pi is always in.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (one learned number for all: log_var.expand_as(mean)); TypeError; ValueError for a variance
                that is not positive (on CPU), or if both or neither of log_var and var are given.
    Reference:  Nix & Weigend 1994, Estimating the mean and variance of the target probability distribution
    Example:
        >>> losskit.gaussian_nll_loss(torch.tensor([1.0]), torch.tensor([1.0]), log_var=0.0)  # ln(2 pi) / 2
        tensor(0.9189)
    """
    if (log_var is None) == (var is None):
        raise ValueError(f'"log_var" or "var" must be given, got {"neither" if var is None else "both"}: give exactly one')
    weight = valid_weight(weight, mask, mean.dtype)
    if log_var is not None:
        mean, target, log_var = with_scale(weight, mean, target, log_var)
        return reduce(_gaussian(mean, target, log_var), weight, reduction, normalizer)
    assert var is not None
    mean, target, var = with_scale(weight, mean, target, var)
    twice = torch.addcdiv(var.log(), F.mse_loss(mean, target, reduction="none"), var)
    return reduce(_half(twice), weight, reduction, normalizer)


def _gaussian(mean: Tensor, target: Tensor, log_var: Tensor) -> Tensor:
    square = F.mse_loss(mean, target, reduction="none")
    return _half(torch.addcmul(log_var, square, tangent_exp(-log_var)))


def _half(twice: Tensor) -> Tensor:
    """(twice + log 2 pi) / 2 in one pass."""
    return torch.add(twice.new_full((), 0.5 * _LOG_2PI), twice, alpha=0.5)


class GaussianNLLLoss(Loss, function=gaussian_nll_loss):
    """Module of :func:`gaussian_nll_loss`."""

    log_var: Tensor | float | None = None
    var: Tensor | float | None = None
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _beta_paper(mean: Tensor, target: Tensor, *, log_var: Tensor | float, beta: float = 0.5) -> Tensor:
    """The Gaussian likelihood, times the variance to the power of beta, through which nothing flows."""
    var = torch.as_tensor(log_var, dtype=torch.float64).exp()
    return (var**beta).detach() * _gaussian_paper(mean, target, var=var)


def _beta_constant(target: Tensor, log_var: float, beta: float = 0.5) -> float:
    return math.exp(beta * log_var) * _gaussian_constant(target, log_var)


def _beta_floor(log_var: float, beta: float = 0.5) -> float:
    return math.exp(beta * log_var) * _gaussian_floor(log_var)


@loss(
    task="distribution",
    sample={"mean": Real(), "target": Interval(), "log_var": _SCALE, "weight": Weight(), "mask": Mask()},
    reference=_beta_paper,
    laws=("symmetric", "convex", "stop_gradient"),
    variants=({"log_var": Real()}, {"log_var": -1.0}, {"log_var": Real(), "beta": 0.0}, {"log_var": 1.0, "beta": 1.0}),
    constant=_beta_constant,
    floor=_beta_floor,
)
def beta_nll_loss(
    mean: Tensor,
    target: Tensor,
    *,
    log_var: Tensor | float,
    beta: float = 0.5,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Gaussian likelihood that does not give up on hard examples by calling them noise.

    Formula:    \ell = \lfloor\sigma^{2\beta}\rfloor \cdot \tfrac12 (\log \sigma^2 + (\mu - y)^2 / \sigma^2 + \log 2\pi),
                where nothing is differentiated inside of \lfloor\cdot\rfloor
    Gradient:   \partial\ell/\partial\mu = (\mu - y)\, \sigma^{2\beta - 2}: of squared error for beta = 1, of the likelihood
                for beta = 0
    Use when:   gaussian_nll_loss predicts a large variance and leaves the mean unlearned.
    Avoid when: losses of different models are to be compared: the value is not a likelihood unless beta = 0.
    Shape:      mean (*), target (*), log_var (*) or a number -> () or (*)
    Args:
        log_var: log of the variance.
        beta: how much of the variance is taken out of the gradient of the mean, in [0, 1].
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for beta outside of [0, 1].
    Reference:  Seitzer et al. 2022, arXiv:2203.09168
    Example:
        >>> losskit.beta_nll_loss(torch.tensor([1.0]), torch.tensor([1.0]), log_var=2.0)  # e * (2 + ln(2 pi)) / 2
        tensor(5.2162)
    """
    between("beta", beta, 0, 1)
    weight = valid_weight(weight, mask, mean.dtype)
    mean, target, log_var = with_scale(weight, mean, target, log_var)
    far = reach(log_var.dtype)
    factor = torch.exp(beta * log_var.detach().clamp(-far, far))
    return reduce(factor * _gaussian(mean, target, log_var), weight, reduction, normalizer)


class BetaNLLLoss(Loss, function=beta_nll_loss):
    """Module of :func:`beta_nll_loss`."""

    log_var: Tensor | float
    beta: float = 0.5
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _laplace_paper(mean: Tensor, target: Tensor, *, log_scale: Tensor | float) -> Tensor:
    """-log of the Laplace density."""
    scale = torch.as_tensor(log_scale, dtype=torch.float64).exp()
    return (2 * scale).log() + (mean.double() - target.double()).abs() / scale


def _laplace_constant(target: Tensor, log_scale: float) -> float:
    """The median, and the width that is given."""
    error = (target.double() - target.double().median()).abs().mean()
    return _laplace_floor(log_scale) + float(error) * math.exp(-log_scale)


def _laplace_floor(log_scale: float) -> float:
    return math.log(2) + log_scale


@loss(
    task="distribution",
    sample={"mean": Real(), "target": Interval(), "log_scale": _SCALE, "weight": Weight(), "mask": Mask()},
    reference=_laplace_paper,
    laws=("symmetric", "convex", "bounded_gradient"),
    variants=({"log_scale": Real()}, {"log_scale": -1.0}),
    constant=_laplace_constant,
    floor=_laplace_floor,
)
def laplace_nll_loss(
    mean: Tensor,
    target: Tensor,
    *,
    log_scale: Tensor | float,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error for a model that also says how sure it is.

    Formula:    \ell = \log 2b + |\mu - y| / b
    Gradient:   \partial\ell/\partial\mu = \mathrm{sign}(\mu - y) / b;\; \partial\ell/\partial\log b = 1 - |\mu - y| / b
    Use when:   the median is wanted with its uncertainty, and outliers must not lead.
    Avoid when: errors are normal (gaussian_nll_loss), or outliers are so far off that even their absolute value leads
                (student_t_nll_loss).
    Shape:      mean (*), target (*), log_scale (*) or a number -> () or (*)
    Args:
        log_scale: log of b; the standard deviation is sqrt(2) b. Below -50 (float32; -300 in float64) 1 / b goes on
            as a straight line in log_scale.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError.
    Reference:  Laplace 1774, Memoire sur la probabilite des causes par les evenemens
    Example:
        >>> losskit.laplace_nll_loss(torch.tensor([1.0]), torch.tensor([3.0]), log_scale=0.0)  # ln 2 + 2
        tensor(2.6931)
    """
    weight = valid_weight(weight, mask, mean.dtype)
    mean, target, log_scale = with_scale(weight, mean, target, log_scale)
    value = torch.addcmul(log_scale, F.l1_loss(mean, target, reduction="none"), tangent_exp(-log_scale))
    return reduce(value + math.log(2), weight, reduction, normalizer)


class LaplaceNLLLoss(Loss, function=laplace_nll_loss):
    """Module of :func:`laplace_nll_loss`."""

    log_scale: Tensor | float
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
