"""Squared and absolute error: MSE, MAE, RMSE."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.call import whole_number
from ..core.card import loss
from ..core.check import between, visible
from ..core.domain import ELEMENTS
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight

__all__ = ["L1Loss", "MSELoss", "RMSELoss", "l1_loss", "mse_loss", "rmse_loss"]


def lowest_mean(value: Callable[[Tensor], Tensor], target: Tensor) -> float:
    """The mean of ``value(c)`` at the constant prediction c where it is lowest; ``value`` is convex."""
    target = target.double()
    low, high = target.min(), target.max()
    for _ in range(100):  # a third of the interval goes each time
        left, right = torch.lerp(low, high, 1 / 3), torch.lerp(low, high, 2 / 3)
        below = value(left.expand_as(target)).mean() < value(right.expand_as(target)).mean()
        low, high = (low, right) if below else (left, high)
    return float(value(low.expand_as(target)).mean())


def _squared(input: Tensor, target: Tensor) -> Tensor:
    return (input.double() - target.double()) ** 2


def _variance(target: Tensor) -> float:
    return float(target.double().var(correction=0))


def _absolute(input: Tensor, target: Tensor) -> Tensor:
    return (input.double() - target.double()).abs()


def _to_the_median(target: Tensor) -> float:
    return float((target.double() - target.double().median()).abs().mean())


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_squared,
    laws=("nonnegative", "zero_at_target", "symmetric", "convex"),
    constant=_variance,
    floor=lambda: 0.0,
)
def mse_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Squared error: what to minimise when the mean is wanted and large errors are really worse than many small ones.

    Formula:    \ell = (\hat y - y)^2
    Gradient:   \partial\ell/\partial \hat y = 2 (\hat y - y): grows with the error, so outliers lead
    Use when:   errors are roughly normal, and the mean is what is asked for.
    Avoid when: targets have outliers (huber_loss, l1_loss) or are counts or amounts (poisson_deviance_loss,
                gamma_deviance_loss).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError.
    Reference:  Gauss 1809, Theoria motus
    Example:
        >>> losskit.mse_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))  # (0 + 2^2) / 2
        tensor(2.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(F.mse_loss(input, target, reduction="none"), weight, reduction, normalizer)


class MSELoss(Loss, function=mse_loss):
    """Module of :func:`mse_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_absolute,
    laws=("nonnegative", "zero_at_target", "symmetric", "convex", "bounded_gradient"),
    constant=_to_the_median,
    floor=lambda: 0.0,
)
def l1_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Absolute error: every unit of error costs the same, so the fit goes to the median and outliers lose their vote.

    Formula:    \ell = |\hat y - y|
    Gradient:   \partial\ell/\partial \hat y = \mathrm{sign}(\hat y - y), 0 at 0: the same push for an error of 0.01 and of 100
    Use when:   targets have outliers and the median is what is wanted: for 1, 2, 3, 4, 100 it fits 3, mse_loss fits 22.
    Avoid when: the mean is asked for (on skewed targets the median is elsewhere), or the last digits matter: the gradient
                does not shrink near the target, so training rattles there (huber_loss, log_cosh_loss).
    Shape:      input (*), target (*) -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError.
    Reference:  Boscovich 1757; Laplace 1774
    Example:
        >>> losskit.l1_loss(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0]))  # (0 + 2) / 2
        tensor(1.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(F.l1_loss(input, target, reduction="none"), weight, reduction, normalizer)


class L1Loss(Loss, function=l1_loss):
    """Module of :func:`l1_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


def _root(input: Tensor, target: Tensor, *, dim: int | None = None) -> Tensor:
    """sqrt(mean((input - target)^2)) over ``dim``, or over everything."""
    square = (input.double() - target.double()) ** 2
    return (square.mean() if dim is None else square.mean(dim)).sqrt()


def _root_constant(target: Tensor, dim: int | None = None) -> float:
    return lowest_mean(lambda constant: _root(constant, target, dim=dim), target)


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_root,
    laws=("nonnegative", "zero_at_target", "symmetric", "convex", "bounded_gradient", "whole_batch"),
    variants=({}, {"dim": -1}, {"dim": 0}),
    constant=_root_constant,
    floor=lambda: 0.0,
)
def rmse_loss(
    input: Tensor,
    target: Tensor,
    *,
    dim: int | None = None,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""The typical error in the units of the target: the root of the mean squared error of the call, or of each group.

    Formula:    \ell = \sqrt{\sum_i w_i (\hat y_i - y_i)^2 / \sum_i w_i}
    Gradient:   \partial\ell/\partial \hat y_i = w_i (\hat y_i - y_i) / (\ell \sum_j w_j); 0 where the error is 0
    Use when:   an error is reported to people, or each sequence or sensor has its own size of error and shall count the
                same (dim).
    Avoid when: the loss is joined over micro-batches: roots do not average. Two halves with RMSE 1 and 7 are 5 together,
                not 4: join the parts of mse_loss and take the root once. Near the target the gradient does not shrink.
    Shape:      input (*), target (*) -> (), or (*) without the axis ``dim``
    Args:
        dim: the axis whose elements form a group; None: the whole call is one group, and every reduction gives its root.
        weight: (*) what each element counts for inside its group; groups count the same, one without weight nothing.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or one value for each group with reduction="none". No overflow: an error of 1e30 gives 1e30.
    Raises:     ShapeError; TypeError; ValueError for a dim that the input does not have.
    Reference:  Gauss 1821, Theoria combinationis
    Example:
        >>> losskit.rmse_loss(torch.tensor([1.0, 9.0]), torch.tensor([0.0, 2.0]))  # sqrt((1 + 49) / 2)
        tensor(5.)
    """
    if dim is not None:
        whole_number("dim", dim)
        between("dim", dim, -max(input.ndim, 1), max(input.ndim, 1) - 1)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    value, counts = _root_mean_square(input - target, weight, dim)
    return reduce(value, counts, reduction, normalizer)


def _root_mean_square(error: Tensor, weight: Tensor | None, dim: int | None) -> tuple[Tensor, Tensor | None]:
    """The root of each group along ``dim``, and what each group counts: 0 if nothing in it does, None if all do."""
    if dim is None or not error.ndim:
        error, weight, dim = error.reshape(-1), None if weight is None else weight.reshape(-1), 0
    if not error.shape[dim]:
        return error.sum(dim), error.new_zeros(error.sum(dim).shape)
    # in units of the largest error, so that no square leaves the floats
    largest = error.detach().abs().amax(dim, keepdim=True)
    unit = torch.where(largest == 0, 1, largest)
    square = (error / unit) ** 2
    if weight is None:
        mean, counts = square.mean(dim), None
    else:
        total = weight.sum(dim)
        mean, counts = (weight * square).sum(dim) / torch.where(total == 0, 1, total), (total != 0).to(error.dtype)
    perfect = mean == 0
    root = torch.where(perfect, 0, torch.where(perfect, 1, mean).sqrt())  # the root of 0 has no slope
    return root * unit.squeeze(dim), counts


class RMSELoss(Loss, function=rmse_loss):
    """Module of :func:`rmse_loss`."""

    dim: int | None = None
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
