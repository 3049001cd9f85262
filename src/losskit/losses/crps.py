"""The continuous ranked probability score: of a Gaussian forecast, and of an ensemble."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import visible
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .likelihood import reach, tangent_exp, with_scale

__all__ = ["CRPSEnsembleLoss", "CRPSGaussianLoss", "crps_ensemble_loss", "crps_gaussian_loss"]


def _gaussian_paper(mean: Tensor, target: Tensor, *, log_scale: Tensor | float) -> Tensor:
    """sigma (z (2 Phi(z) - 1) + 2 phi(z) - 1 / sqrt(pi))."""
    scale = torch.as_tensor(log_scale, dtype=torch.float64).exp()
    z = (target.double() - mean.double()) / scale
    density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
    below: Tensor = torch.special.ndtr(z)
    return scale * (z * (2 * below - 1) + 2 * density - 1 / math.sqrt(math.pi))


def _gaussian_floor(log_scale: float) -> float:
    return math.exp(log_scale) * (math.sqrt(2) - 1) / math.sqrt(math.pi)


@loss(
    task="distribution",
    sample={
        "mean": Real(),
        "target": Interval(),
        "log_scale": Real(scalar=True, meaning="one number for each element, or one for all"),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_gaussian_paper,
    laws=("nonnegative", "symmetric", "convex", "bounded_gradient"),
    variants=({"log_scale": Real()}, {"log_scale": -1.0}),
    floor=_gaussian_floor,
)
def crps_gaussian_loss(
    mean: Tensor,
    target: Tensor,
    *,
    log_scale: Tensor | float,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error for a forecast that is a normal distribution: in the unit of the target, and fair to its width.

    Formula:    \ell = \int (\Phi(\tfrac{x - \mu}{\sigma}) - [y \le x])^2 dx =
                \sigma \left(z (2 \Phi(z) - 1) + 2 \varphi(z) - \tfrac{1}{\sqrt\pi}\right),\; z = (y - \mu) / \sigma
    Gradient:   \partial\ell/\partial\mu = 1 - 2 \Phi(z), never above 1;\;
                \partial\ell/\partial\sigma = 2 \varphi(z) - 1 / \sqrt\pi
    Use when:   a mean and a width are forecast, and one large miss must not dominate as its square does in
                gaussian_nll_loss.
    Avoid when: log-probabilities are to be compared or added (gaussian_nll_loss), or the forecast is not normal
                (crps_ensemble_loss).
    Shape:      mean (*), target (*), log_scale (*) or a number -> () or (*)
    Args:
        log_scale: log of the standard deviation; as it goes to -inf the loss becomes the absolute error.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError.
    Reference:  Gneiting et al. 2005, Calibrated Probabilistic Forecasting Using Ensemble Model Output Statistics
    Example:
        >>> losskit.crps_gaussian_loss(torch.zeros(1), torch.zeros(1), log_scale=0.0)  # (sqrt(2) - 1) / sqrt(pi)
        tensor(0.2337)
    """
    weight = valid_weight(weight, mask, mean.dtype)
    mean, target, log_scale = with_scale(weight, mean, target, log_scale)
    error = mean - target
    # an error of 0 would meet 1 / sigma = inf
    z = error * torch.exp(-log_scale.clamp(min=-reach(log_scale.dtype)))
    width = math.sqrt(2 / math.pi) * torch.exp(-0.5 * z * z) - 1 / math.sqrt(math.pi)
    value = error * torch.erf(z / math.sqrt(2)) + tangent_exp(log_scale) * width
    return reduce(value, weight, reduction, normalizer)


class CRPSGaussianLoss(Loss, function=crps_gaussian_loss):
    """Module of :func:`crps_gaussian_loss`."""

    log_scale: Tensor | float
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _ensemble_paper(input: Tensor, target: Tensor, *, fair: bool = False) -> Tensor:
    """E|x - y| - E|x - x'| / 2 over all pairs of members; fair leaves out the pairs of a member with itself."""
    members = input.shape[-1]
    pairs = (input.double().unsqueeze(-1) - input.double().unsqueeze(-2)).abs().sum((-1, -2))
    miss = (input.double() - target.double().unsqueeze(-1)).abs().mean(-1)
    return miss - pairs / (2 * members * (members - 1 if fair else members))


@loss(
    task="distribution",
    sample={
        "input": Real("* M", meaning="the members of the ensemble, in the last axis"),
        "target": Interval(),
        "weight": Weight(),
        "mask": Mask(),
    },
    reference=_ensemble_paper,
    laws=("nonnegative", "bounded_gradient"),
    variants=({}, {"fair": True}),
)
def crps_ensemble_loss(
    input: Tensor,
    target: Tensor,
    *,
    fair: bool = False,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error for an ensemble: rewards members that are near the target, and that differ as much as it does.

    Formula:    \ell = \frac{1}{M} \sum_i |x_i - y| - \frac{1}{2 M^2} \sum_{i, j} |x_i - x_j|
    Gradient:   \partial\ell/\partial x_{(k)} = \frac{2 (M - k) + 1}{M^2} above y, -\frac{2 k - 1}{M^2} below, 0 at it, for
                the k-th smallest member; fair: \frac{2 (M - k)}{M (M - 1)} and -\frac{2 (k - 1)}{M (M - 1)}
    Use when:   a forecast is a set of samples: weather ensembles, dropout or diffusion samples, particles.
    Avoid when: the forecast is normal (crps_gaussian_loss), or it matters how targets vary together: this score sees
                one at a time.
    Shape:      input (*, M), target (*), weight and mask (*) -> () or (*)
    Args:
        input: the members, in the last axis, in any order. Sorted once: O(M log M) time, O(M) memory, no M x M pairs.
        fair: divide the pairs by M (M - 1) instead of M^2, so that the expected score does not depend on M: without it a
            small ensemble is punished for being small, and learns to be too narrow. Needs two members or more.
        weight: (*) what each target counts for; the mean divides by the sum.
        mask: (*) bool, True where a target counts; what is masked, members and target, may be NaN.
    Returns:    0-d, or (*) for reduction="none". One member gives the absolute error.
    Raises:     ShapeError; TypeError; ValueError for no member, or for fair=True with one.
    Reference:  Hersbach 2000, Decomposition of the CRPS for Ensemble Prediction Systems; fair: Ferro 2014, Fair scores
                for ensemble forecasts
    Example:
        >>> losskit.crps_ensemble_loss(torch.tensor([[0.0, 2.0]]), torch.tensor([1.0]))  # 1 - (2 + 2) / (2 * 2^2)
        tensor(0.5000)
    """
    members = input.shape[-1]
    if not isinstance(fair, bool):  # pyright: ignore[reportUnnecessaryIsInstance]  # a string would be true
        raise TypeError(f'"fair" must be True or False, got {type(fair).__name__}')
    if members < (2 if fair else 1):
        wanted = "2 or more for fair=True" if fair else "1 or more"
        raise ValueError(f'"input" has {members} members in its last axis, expected {wanted}')
    weight = valid_weight(weight, mask, input.dtype)
    (target,) = visible(weight, target)
    (input,) = visible(None if weight is None else weight.unsqueeze(-1), input)
    error = (input - target.unsqueeze(-1)).sort(-1).values
    # the mean distance to y minus that of all pairs is a weighted sum of |x - y| by rank: all terms >= 0, no cancellation
    rank = torch.arange(members, dtype=error.dtype, device=error.device)
    below = 2 * rank / (members * (members - 1)) if fair else (2 * rank + 1) / members**2
    value = (torch.where(error < 0, below, below.flip(0)) * error.abs()).sum(-1)
    return reduce(value, weight, reduction, normalizer)


class CRPSEnsembleLoss(Loss, function=crps_ensemble_loss):
    """Module of :func:`crps_ensemble_loss`."""

    fair: bool = False
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
