"""How far a mean over cross-validated folds can be trusted: folds share rows, so that they are not independent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from ...evaluate.intervals import student_t_quantile

__all__ = ["Interval", "corrected"]


class Interval(NamedTuple):
    """A mean over folds and its bounds."""

    mean: float
    low: float
    high: float


def corrected(values: Sequence[float], ratio: float, *, level: float = 0.95) -> Interval:
    r"""The mean with the corrected resampled t interval.

    Formula:    \bar v \pm t_{J-1} \sqrt{(1/J + n_2/n_1)\, s^2}, with ratio = n_2 / n_1 the rows tested over the rows trained on
    Reference:  Nadeau and Bengio 2003, Machine Learning 52
    Example:
        >>> corrected([1.0, 1.0, 1.0], 0.25)
        Interval(mean=1.0, low=1.0, high=1.0)
    """
    count = len(values)
    mean = math.fsum(values) / count
    if count < 2 or not all(map(math.isfinite, values)):
        return Interval(mean, -math.inf, math.inf)
    variance = math.fsum((value - mean) ** 2 for value in values) / (count - 1)
    half = student_t_quantile((1 + level) / 2, count - 1) * math.sqrt((1 / count + ratio) * variance)
    return Interval(mean, mean - half, mean + half)
