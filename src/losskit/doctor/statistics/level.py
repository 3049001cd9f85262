"""Whether a curve has come to stand at a given number."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .blocks import in_blocks, median
from .slope import slope

__all__ = ["Standing", "stands_at"]

WINDOW = 40  # points, or the last quarter if that is more
SHARE = 0.25
NEAR = 0.02  # as close to a level as two people would call the same number
FAR = 0.05  # a curve too noisy to tell a level from one 5 % off says nothing
ZERO = 1e-3  # what FAR means beside a level of 0


@dataclass(frozen=True)
class Standing:
    """The window in which the curve stands at the level."""

    median: float
    delta: float
    """How far from the level counts as at it."""
    start: int
    """Index of the window's first point among the values that were given."""
    n: int
    """Finite points in the window."""


def stands_at(values: Tensor, level: float, *, every: int = 1) -> Standing | None:
    """Equivalence test on the last max(40, 25 %) finite points: |median - level| <= max(2 %, 3 SE), and flat.

    Points that are means over ``every`` steps are worth more: 20 of them are enough from 4 steps on. None where it does not stand
    there, or where the noise is too large to tell.
    """
    values = values.detach().double().flatten()
    places = torch.isfinite(values).nonzero().flatten()
    least = WINDOW if every < 4 else WINDOW // 2
    if places.numel() < least or not math.isfinite(level):
        return None
    places = places[-max(least, int(SHARE * places.numel())) :]
    window = values[places]
    parts = in_blocks(places, window)
    middle, error = median(window), parts.sigma / math.sqrt(len(parts))
    delta = max(NEAR * abs(level), 3 * error)
    if abs(middle - level) > delta or delta > max(FAR * abs(level), ZERO):
        return None
    trend = slope(window)
    if not trend.flat or abs(trend.value) * window.numel() > 2 * delta:
        return None
    return Standing(middle, delta, int(places[0]), window.numel())
