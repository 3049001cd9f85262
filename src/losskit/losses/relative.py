"""Errors relative to the size of the target: MSLE, MAPE, SMAPE."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import visible
from ..core.domain import ELEMENTS, Interval, Mask, Real, Sizes, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from .regression import lowest_mean

__all__ = ["MAPELoss", "MSLELoss", "SMAPELoss", "mape_loss", "msle_loss", "smape_loss"]

_ABOVE = Interval(low=-1, open_low=True, meaning="amounts above -1: log1p needs them; mask the others")
_OUTPUT = Interval(
    kind="float",
    low=-1,
    open_low=True,
    extreme=0.5,
    meaning="amounts above -1: log1p needs them; end the model in a softplus, or train mse_loss on target.log1p()",
)


@dataclass(frozen=True)
class NonZero(Interval):
    """Any number other than 0."""

    meaning: str = "the error is divided by it; mask the zeros, or use l1_loss"

    @property
    def checked(self) -> bool:
        """Always: a zero is easily overlooked."""
        return True

    def within(self, value: Tensor) -> bool:
        return bool((value != 0).all())

    def outside(self, value: Tensor, sizes: Sizes) -> Tensor | None:
        return value == 0

    def __str__(self) -> str:
        return "a number other than 0"

    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        drawn = super().draw(generator, sizes, dtype)
        return drawn + torch.where(drawn < 0, -0.5, 0.5)


def _msle(input: Tensor, target: Tensor) -> Tensor:
    return ((input.double() + 1).log() - (target.double() + 1).log()) ** 2


def _mape(input: Tensor, target: Tensor) -> Tensor:
    return ((input.double() - target.double()) / target.double()).abs()


def _smape(input: Tensor, target: Tensor) -> Tensor:
    """|e| over the mean of |input| and |target|, and 0 where both are 0."""
    ratio = (input.double() - target.double()).abs() / ((input.double().abs() + target.double().abs()) / 2)
    return ratio.nan_to_num(nan=0.0)


def _msle_constant(target: Tensor) -> float:
    return float(target.double().log1p().var(correction=0))


def _mape_constant(target: Tensor) -> float:
    return lowest_mean(lambda constant: _mape(constant, target), target)


@loss(
    task="regression",
    sample={"input": _OUTPUT, "target": _ABOVE, "weight": Weight(), "mask": Mask()},
    reference=_msle,
    laws=("nonnegative", "zero_at_target", "symmetric"),
    constant=_msle_constant,
    floor=lambda: 0.0,
)
def msle_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Squared error of log(1 + y): an error of 10 % costs the same for 1,000 as for 1,000,000.

    Formula:    \ell = (\log(1 + \hat y) - \log(1 + y))^2
    Gradient:   \partial\ell/\partial \hat y = 2 (\log(1 + \hat y) - \log(1 + y)) / (1 + \hat y)
    Use when:   amounts or counts span orders of magnitude and the ratio is what matters.
    Avoid when: the sum or mean must come out right: it fits exp(mean(log(1 + y))) - 1, which for log-normal amounts far
                above 1 with sigma 1 is 61 % of the mean. Below 1 it is nearly mse_loss, not a relative error. A prediction that
                is far too high learns slowly: at 1e6 for a target of 10 the gradient is 2.3e-5. Easier to train is mse_loss on
                target.log1p(), which has neither trouble and needs no positive output.
    Shape:      input (*) > -1, target (*) > -1 -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN or below -1.
    Returns:    0-d, or (*) for reduction="none". Close pairs keep their digits: 1e6 + 1 against 1e6 in float32 is 1e-12.
    Raises:     ShapeError; TypeError; ValueError for an input or a target <= -1 that counts, on CPU (elsewhere its element is
                NaN or inf). Nothing is clamped: a clamp has gradient 0 and such an output would never come back.
    Reference:  Tofallis 2015, A better measure of relative prediction accuracy
    Example:
        >>> losskit.msle_loss(torch.tensor([math.e - 1]), torch.tensor([0.0]))  # (1 - 0)^2
        tensor(1.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    ratio = (input - target) / (1 + target)
    close = ratio.abs() < 0.5
    # log1p(input) - log1p(target) has no digits left where the two are close, log1p(ratio) none where input is far below
    difference = torch.where(close, torch.log1p(torch.where(close, ratio, 0)), input.log1p() - target.log1p())
    return reduce(difference**2, weight, reduction, normalizer)


class MSLELoss(Loss, function=msle_loss):
    """Module of :func:`msle_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample={"input": Real(), "target": NonZero(), "weight": Weight(), "mask": Mask()},
    reference=_mape,
    laws=("nonnegative", "zero_at_target", "convex", "bounded_gradient"),
    constant=_mape_constant,
)
def mape_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Error as a fraction of the target (not in percent): easy to tell to people, biased as something to minimise.

    Formula:    \ell = |\hat y - y| / |y|
    Gradient:   \partial\ell/\partial \hat y = \mathrm{sign}(\hat y - y) / |y|: small targets lead
    Use when:   this very number is what is judged, and every target is well away from 0.
    Avoid when: the forecast shall be right on average: being too low costs at most 1, being too high without limit, so it fits
                too low. For log-normal targets with sigma 1 (mean 1.65, median 1) the best constant is 0.37; for 1, 2, 3, 4,
                100 it is 2. A target of 0.001 among targets of 1 has a thousand times their say. Scale-free and unbiased:
                l1_loss / mean |y|, or msle_loss.
    Shape:      input (*), target (*) not 0 -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum. weight=target.abs() gives sum |e| / sum |y|.
        mask: (*) bool, True where an element counts; what is masked may be NaN or 0, e.g. mask=target != 0.
    Returns:    0-d, or (*) for reduction="none".
    Raises:     ShapeError; TypeError; ValueError for a target of 0 that counts, on CPU (elsewhere its element is inf or NaN, the
                gradients of the others stay right).
    Reference:  Makridakis 1993, Accuracy measures; its bias: Tofallis 2015
    Example:
        >>> losskit.mape_loss(torch.tensor([110.0, 1.0]), torch.tensor([100.0, 2.0]))  # (10 % + 50 %) / 2
        tensor(0.3000)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    return reduce(F.l1_loss(input, target, reduction="none") / target.abs(), weight, reduction, normalizer)


class MAPELoss(Loss, function=mape_loss):
    """Module of :func:`mape_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None


@loss(
    task="regression",
    sample=ELEMENTS,
    reference=_smape,
    laws=("nonnegative", "zero_at_target", "symmetric"),
)
def smape_loss(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Error as a fraction of the mean of forecast and target, between 0 and 2: a measure of competitions, not a good teacher.

    Formula:    \ell = 2 |\hat y - y| / (|\hat y| + |y|), \text{ and } 0 \text{ where both are } 0
    Gradient:   \partial\ell/\partial \hat y = 4 |y|\, \mathrm{sign}(\hat y - y) / (\hat y + y)^2 \text{ (same signs), else } 0
    Use when:   this very number is what is judged, and forecasts and targets are positive.
    Avoid when: a forecast can have the wrong sign: it costs 2 whatever its size and has gradient 0, so it never comes back. A
                target of 0 costs 2 for every forecast but 0. It is symmetric in the ratio, not in the error: for a target of
                100, 50 costs 0.667 and 150 costs 0.4, so targets spread evenly over 0.1 to 1.9 are fitted by 1.06 (by
                mape_loss: 0.43). Not convex.
    Shape:      input (*), target (*) -> () or (*)
    Args:
        weight: (*) what each element counts for; the mean divides by the sum.
        mask: (*) bool, True where an element counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none", in [0, 2]; 0 with gradient 0 where input and target are both 0.
    Raises:     ShapeError (no broadcasting: (N, 1) against (N,) is an error); TypeError; ValueError.
    Reference:  Makridakis and Hibon 2000, The M3-Competition
    Example:
        >>> losskit.smape_loss(torch.tensor([3.0]), torch.tensor([1.0]))  # 2 * 2 / 4
        tensor(1.)
    """
    weight = valid_weight(weight, mask, input.dtype)
    input, target = visible(weight, input, target)
    # halved first: neither the sum nor the difference of two finite floats need be one
    half = input / 2, target / 2
    size = half[0].abs() + half[1].abs()
    value = F.l1_loss(*half, reduction="none") / torch.where(size == 0, 1, size)
    return reduce(2 * value, weight, reduction, normalizer)


class SMAPELoss(Loss, function=smape_loss):
    """Module of :func:`smape_loss`."""

    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
