"""Temperature scaling: the one number that logits are divided by so that confidence meets accuracy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .confidence import given, row_blocks, visible

__all__ = ["fit_temperature"]

_STEPS = 200  # each at least halves, doubles or bisects: 1e-60 to 1e60 times where it starts


def fit_temperature(
    input: Tensor,
    target: Tensor,
    *,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
) -> float:
    r"""The temperature that logits are to be divided by: the remedy for a classifier that is too sure, or not sure enough.

    It changes no prediction, only how sure the model is of them. Fit it on rows that the model was not trained on, and judge the
    calibration on yet others.

    Formula:    T = \mathrm{argmin}_T \sum_i w_i\, \mathrm{CE}(z_i / T, y_i), convex in 1 / T: Newton's method in a bracket
    Shape:      logits: input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1 -> float
    Args:
        weight, mask, ignore_index, class_dim: as in ``expected_calibration_error``.
    Returns:    T > 0 as a float; above 1 for an overconfident model.
    Raises:     ValueError where no temperature is the best: the target has the largest score in every row (the loss falls as T
                goes to 0), the scores are no better than chance (it falls as T goes to infinity), or no row counts. And as
                ``expected_calibration_error``.
    Reference:  Guo et al. 2017, arXiv:1706.04599
    Example:
        >>> z = torch.tensor([4.0, 4.0, 4.0, 4.0])  # sigmoid(4) = 0.98 for a yes, which comes three times of four
        >>> temperature = losskit.fit_temperature(z, torch.tensor([1, 1, 1, 0]))
        >>> torch.sigmoid(z[:1] / temperature)
        tensor([0.7500])
    """
    asked = given(
        input, target, input_kind="logits", ignore_index=ignore_index, class_dim=class_dim, weight=weight, mask=mask
    )  # fmt: skip
    scores = asked.input if not asked.binary else torch.stack([torch.zeros_like(asked.input), asked.input], -1)
    rows = scores, asked.target, asked.weight
    unit = _shortfall(*rows)
    # the slope rises with sharpness = unit / T: below 0 at low, above 0 at high
    sharpness, low, high = 1.0, 0.0, math.inf
    for _ in range(_STEPS):
        slope, curvature = _derivatives(*rows, unit, sharpness)
        if slope < 0:
            low = sharpness
        else:
            high = sharpness
        step = sharpness - slope / curvature if curvature > 0 else math.nan
        near = 1e-11 * sharpness
        # a step as short as rounding may leave the bracket, whose end it starts from
        if not (low < step < high or abs(step - sharpness) <= near):
            step = 2 * low if math.isinf(high) else high / 2 if low == 0 else math.sqrt(low * high)
        if abs(step - sharpness) <= near:
            return unit / step
        sharpness = step
    raise ValueError(
        f'"input" has scores {unit:g} below the best of their row on average, and no temperature was found in {_STEPS} steps: '
        "divide scores and weights by their largest"
    )


def _shortfall(scores: Tensor, index: Tensor, weight: Tensor) -> float:
    """How far the targets' scores are below the best of their rows, on average: the unit that squares are floats in.

    Raises:     ValueError where the slope has no zero at a finite sharpness above 0.
    """
    if not bool((weight != 0).any()):
        raise ValueError(f'"target" has {weight.numel()} rows of which none counts, expected at least one: nothing to fit')
    at_zero, at_infinity = 0.0, 0.0
    for z, y, w in row_blocks(scores, index, weight):
        below, own = _below_the_best(z, y, w)
        if bool((below.isnan().any(-1) | (own == -math.inf) | w.isnan()).any()):
            raise ValueError(
                '"input" has a row that is nan or rules its target out (-inf), expected finite scores: mask such rows'
            )
        allowed = below > -math.inf
        at_zero += float((w * (torch.where(allowed, below, 0).sum(-1) / allowed.sum(-1) - own)).sum())
        at_infinity -= float((w * own).sum())
    if at_zero >= 0:
        raise ValueError(
            '"input" scores the targets no better than chance: no temperature is the best, the loss falls as it goes to '
            "infinity; see whether targets and scores belong together"
        )
    if at_infinity == 0:
        raise ValueError(
            'every "target" has the largest score of its row: no temperature is the best, the loss falls as it goes to 0; '
            "use rows that the model was not trained on"
        )
    return at_infinity / float(weight.sum())


def _below_the_best(z: Tensor, y: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Scores minus the largest of their row, in float64, and the target's."""
    z = visible(z, w)
    below = z - z.amax(-1, keepdim=True)
    return below, below.gather(-1, y.unsqueeze(-1)).squeeze(-1)


def _derivatives(scores: Tensor, index: Tensor, weight: Tensor, unit: float, sharpness: float) -> tuple[float, float]:
    """First and second derivative of the loss in sharpness: the mean score less the target's, and the variance of the scores.

    Scores are in ``unit``.
    """
    slope, curvature = 0.0, 0.0
    for z, y, w in row_blocks(scores, index, weight):
        below, own = (t / unit for t in _below_the_best(z, y, w))
        p = (below * sharpness).softmax(-1)
        below = torch.where(p > 0, below, 0)  # 0 times -inf for a class that is ruled out
        mean = (p * below).sum(-1)
        slope += float((w * (mean - own)).sum())
        curvature += float((w * (p * (below - mean.unsqueeze(-1)).square()).sum(-1)).sum())
    return slope, curvature
