"""Squared and absolute error: MSE, MAE, RMSE."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import visible
from ..core.domain import Interval, Mask, Real, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight

__all__ = ["MSELoss", "mse_loss"]

_SAMPLE = {"input": Real(), "target": Interval(), "weight": Weight(), "mask": Mask()}


@loss(
    task="regression",
    sample=_SAMPLE,
    reference=lambda input, target: (input.double() - target.double()) ** 2,
    laws=("nonnegative", "zero_at_target", "symmetric", "convex"),
    constant=lambda target: target.double().var(correction=0),
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
