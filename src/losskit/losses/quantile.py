"""Asymmetric errors: quantiles (pinball loss), several quantiles at once, expectiles."""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import between, visible
from ..core.domain import ELEMENTS, Interval, Real
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .regression import lowest_mean

__all__ = [
    "ExpectileLoss",
    "MultiQuantileLoss",
    "QuantileLoss",
    "expectile_loss",
    "multi_quantile_loss",
    "quantile_loss",
]

_LEVEL = Interval(
    low=0,
    high=1,
    open_low=True,
    open_high=True,
    optional=True,
    scalar=True,
    meaning="the quantile, or one for each element; several quantiles of the same target: multi_quantile_loss",
)
_LEVELS = Interval("Q", low=0, high=1, open_low=True, open_high=True, meaning="one quantile for each output of a target")


def _pinball(input: Tensor, target: Tensor, *, quantile: Tensor | float = 0.5) -> Tensor:
    """max(q e, (q - 1) e) with e = target - input."""
    error = target.double() - input.double()
    return torch.maximum(quantile * error, (quantile - 1) * error)


def _pinballs(input: Tensor, target: Tensor, *, quantiles: Tensor) -> Tensor:
    columns = zip(input.unbind(-1), quantiles.double().unbind(), strict=True)
    return torch.stack([_pinball(column, target, quantile=q) for column, q in columns]).mean(0)


def _expectile(input: Tensor, target: Tensor, *, expectile: float = 0.5) -> Tensor:
    """|expectile - [e < 0]| e^2."""
    error = target.double() - input.double()
    return (expectile - (error < 0).double()).abs() * error**2


def _quantile_constant(target: Tensor, quantile: Tensor | float = 0.5) -> float:
    return lowest_mean(partial(_pinball, target=target, quantile=quantile), target)


def _quantiles_constant(target: Tensor, quantiles: Tensor) -> float:
    levels = [_quantile_constant(target, float(q)) for q in quantiles]
    return sum(levels) / len(levels)


def _expectile_constant(target: Tensor, expectile: float = 0.5) -> float:
    return lowest_mean(partial(_expectile, target=target, expectile=expectile), target)


def _tilted(input: Tensor, target: Tensor, quantile: Tensor | float) -> Tensor:
    """The pinball loss as a slope times |e|: at e = 0 its gradient is 0, where max() would give 1/2 - q."""
    size = F.l1_loss(input, target, reduction="none")
    return torch.where(input <= target, quantile * size, (1 - quantile) * size)


@loss(
    task="regression",
    sample={"input": Real(), "quantile": _LEVEL, **ELEMENTS},
    reference=_pinball,
    laws=("nonnegative", "zero_at_target", "convex", "bounded_gradient"),
    variants=({}, {"quantile": 0.9}, {"quantile": 0.01}, {"quantile": _LEVEL}),
    constant=_quantile_constant,
    floor=lambda: 0.0,
)
def quantile_loss(
    input: Tensor,
    target: Tensor,
    *,
    quantile: Tensor | float = 0.5,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Pinball loss: fits the value that a given share of the targets stays below.

    Formula:    \ell = \max(q\, e, (q - 1)\, e),\; e = y - \hat y
    Gradient:   \partial\ell/\partial \hat y = -q \text{ below the target}, 1 - q \text{ above it}, 0 \text{ at it}
    Use when:   an upper or lower bound is wanted (q = 0.95: one target in twenty lies above), or too little and too much
                cost differently: with costs a and b per unit, q = a / (a + b).
    Avoid when: q is far out for the data there is: 100 targets say nothing about q = 0.999. For several quantiles of one
                target use multi_quantile_loss.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        quantile: q in (0, 1), or (*) one for each element. 0.5 is l1_loss / 2: no factor 2 is put in.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for a quantile outside of (0, 1).
    Reference:  Koenker and Bassett 1978, Regression quantiles
    Example:
        >>> losskit.quantile_loss(torch.tensor([0.0, 0.0]), torch.tensor([1.0, -1.0]), quantile=0.9, reduction="none")
        tensor([0.9000, 0.1000])
    """
    weight = valid_weight(weight, mask, input.dtype)
    if isinstance(quantile, Tensor):
        input, target, quantile = visible(weight, input, target, quantile)
    else:
        between("quantile", quantile, 0, 1, strict=True)
        input, target = visible(weight, input, target)
    return reduce(_tilted(input, target, quantile), weight, reduction, normalizer)


class QuantileLoss(Loss, function=quantile_loss):
    """Module of :func:`quantile_loss`."""

    quantile: Tensor | float = 0.5
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample={**ELEMENTS, "input": Real("* Q"), "quantiles": _LEVELS},
    reference=_pinballs,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({"quantiles": _LEVELS}, {"quantiles": torch.tensor([0.1, 0.5, 0.9])}),
    constant=_quantiles_constant,
    floor=lambda: 0.0,
)
def multi_quantile_loss(
    input: Tensor,
    target: Tensor,
    *,
    quantiles: Tensor,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Pinball loss of several quantiles of the same target: a forecast with its band, from one model.

    Formula:    \ell = \frac{1}{Q} \sum_k \max(q_k e_k, (q_k - 1) e_k),\; e_k = y - \hat y_k
    Gradient:   \partial\ell/\partial \hat y_k = -q_k / Q \text{ below the target}, (1 - q_k) / Q \text{ above}, 0 \text{ at it}
    Use when:   a median and a band are wanted without assuming a distribution: q = 0.1, 0.5, 0.9. Twice its value over many
                evenly spaced quantiles is the CRPS of the forecast.
    Avoid when: the outputs must not cross: nothing here forces \hat y_{0.1} \le \hat y_{0.9}; sort them, or predict the lowest
                one and softplus steps.
    Shape:      input (*, Q), target (*) -> () or (*)
    Args:
        quantiles: (Q,) the quantile of each output, in (0, 1), in the order of the outputs.
        weight: (*) what each target counts for; the mean divides by the sum.
        mask: (*) bool, True where a target counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none": the mean over the quantiles, so that adding one does not grow the loss.
    Raises:     ShapeError; TypeError; ValueError for a quantile outside of (0, 1).
    Reference:  Koenker and Bassett 1978, Regression quantiles
    Example:
        >>> band = torch.tensor([[-1.0, 0.0, 2.0]])
        >>> losskit.multi_quantile_loss(band, torch.zeros(1), quantiles=torch.tensor([0.1, 0.5, 0.9]))  # (0.1 + 0 + 0.2) / 3
        tensor(0.1000)
    """
    weight = valid_weight(weight, mask, input.dtype)
    (target,) = visible(weight, target)
    input, quantiles = visible(None if weight is None else weight.unsqueeze(-1), input, quantiles.expand_as(input))
    value = _tilted(input, target.unsqueeze(-1).expand_as(input), quantiles).mean(-1)
    return reduce(value, weight, reduction, normalizer)


class MultiQuantileLoss(Loss, function=multi_quantile_loss):
    """Module of :func:`multi_quantile_loss`."""

    quantiles: Tensor
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_expectile,
    laws=("nonnegative", "zero_at_target", "convex"),
    variants=({}, {"expectile": 0.9}, {"expectile": 0.01}),
    constant=_expectile_constant,
    floor=lambda: 0.0,
)
def expectile_loss(
    input: Tensor,
    target: Tensor,
    *,
    expectile: float = 0.5,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Squared error that costs more on one side: a smooth relative of the quantile that also sees how far off a target is.

    Formula:    \ell = |\tau - [e < 0]|\, e^2,\; e = y - \hat y
    Gradient:   \partial\ell/\partial \hat y = -2 |\tau - [e < 0]|\, e
    Use when:   the upper or lower end matters and the size of the excess does too: expected shortfall, values in offline
                reinforcement learning (tau = 0.7 to 0.9).
    Avoid when: a share is asked for: the 0.9 expectile of normal targets lies at 0.86 standard deviations, 81 % are below it.
                Outliers lead, as in mse_loss.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        expectile: tau in (0, 1): what an error counts where the prediction is too low; 1 - tau where it is too high.
            0.5 is mse_loss / 2.
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for an expectile outside of (0, 1).
    Reference:  Newey and Powell 1987, Asymmetric least squares estimation and testing
    Example:
        >>> losskit.expectile_loss(torch.tensor([0.0, 0.0]), torch.tensor([2.0, -2.0]), expectile=0.75, reduction="none")
        tensor([3., 1.])
    """
    between("expectile", expectile, 0, 1, strict=True)
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    square = F.mse_loss(input, target, reduction="none")
    value = torch.where(input <= target, expectile * square, (1 - expectile) * square)
    return reduce(value, weight, reduction, normalizer)


class ExpectileLoss(Loss, function=expectile_loss):
    """Module of :func:`expectile_loss`."""

    expectile: float = 0.5
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
