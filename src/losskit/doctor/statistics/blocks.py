"""A curve as a few dozen medians: what every rule on 10^6 points works on."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .noise import effective, finite, noise, spread

__all__ = ["Blocks", "in_blocks", "median", "pairwise"]


@dataclass(frozen=True)
class Blocks:
    """Medians of equally many neighbours; points that do not fill a block are left out at the start."""

    level: Tensor
    """(b,) float64: the median of each."""
    first: Tensor
    """(b,) int64: the step that each begins with."""
    last: Tensor
    """(b,) int64: the step that each ends with."""
    size: int
    """Points in a block."""
    sigma: float
    """Standard deviation of one median around the trend."""

    def __len__(self) -> int:
        return self.level.numel()


def in_blocks(steps: Tensor, values: Tensor, count: int = 40, least: int = 1) -> Blocks:
    """At most ``count`` blocks of at least ``least`` points each; the values must be finite."""
    size = max(least, math.ceil(values.numel() / count), 1)
    number = values.numel() // size
    skip = values.numel() - number * size
    shaped = values[skip:].reshape(number, size)
    places = steps[skip:].reshape(number, size)
    level = _medians(shaped)
    # the median of n independent normal values has 1.2533 sigma / sqrt(n)
    worth = max(1.0, effective(values) * size / max(values.numel(), 1))
    alone = spread(values) * (1.2533 / math.sqrt(worth) if size > 2 else 1.0)
    return Blocks(level, places[:, 0], places[:, -1], size, max(alone, noise(level)))


def _medians(rows: Tensor) -> Tensor:
    """Of each row; the mean of the middle two for an even number, so that a rising and a falling row are treated alike."""
    if not rows.numel():
        return rows.new_zeros(rows.shape[0])
    low = rows.median(dim=1).values
    return low if rows.shape[1] % 2 else (low - (-rows).median(dim=1).values) / 2


def median(values: Tensor) -> float:
    """Of the finite values; NaN of none."""
    values = finite(values)
    return _medians(values[None]).item() if values.numel() else math.nan


def pairwise(left: Tensor, right: Tensor) -> float:
    """Hodges-Lehmann: the median of all differences right - left; NaN where one is empty."""
    return median(right[:, None] - left[None, :])
