"""Where a curve has left its lowest level for good."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..evidence.run import Run
from .blocks import Blocks, in_blocks, median
from .curve import Curve, rates_at
from .slope import slope

__all__ = ["Climb", "above_its_start", "climb", "growth_before_end"]

SIGMAS = 6.0  # of a block median, on top of the shares below
MOST_LAST = 20  # of the last points, whose median is where the loss is now
LEAST = 5  # points in a block: an outlier or two do not move its median
BLOCKS = 60
SINCE = 6  # blocks after the lowest one: fewer make no slope
TOP = 0.7  # of the rise is still there at the end: it is not coming back
JUMP = 0.6  # of the rise in one block: that is a shift, not a climb, unless
LOST = 0.8  # all that was learned is lost
PART = 0.3  # of the way that the loss had come
HALF = 0.5  # of its lowest level
SAME_RATE = 0.67  # levels at learning rates below that much of today's do not compare: a restart raises the loss
NEAR = 0.1  # of the low or of the way: still there
LEAP = 100.0  # times the level before, in one point: with nothing finite behind it the weights were thrown
TWICE, FAR = 2.0, 5.0  # times the median of the first five points, or the very first one


@dataclass(frozen=True)
class Climb:
    """From a low to where the curve is now."""

    low: float
    at: int
    """The step of the low."""
    left: int
    """The step from which it never came near the low again."""
    now: float
    """The lower of the last two block medians, which the test is made of."""
    last: float
    """Median of the last few points: where a person sees it."""
    whole: bool
    """It has doubled, and half of what was learned is lost."""


def climb(run: Run, curve: Curve) -> Climb | None:
    """The lowest block left by 6 sigma, 50 % of it and 30 % of the way down; and rising, lost, or above twice the start."""
    parts = in_blocks(curve.steps, curve.values, BLOCKS, LEAST)
    level = parts.level
    if len(parts) < SINCE + 2:
        return None
    where = int(_comparable(run, parts).argmin())
    low, now = float(level[where]), float(level[-2:].min())
    after, gap, way = level[where:], now - low, curve.start - low
    if gap < max(SIGMAS * _sigma(curve, parts, where, now), HALF * abs(low), PART * way):
        return None
    beyond = curve.start > 0 and now > TWICE * curve.start
    if not beyond and not _goes_on(after, gap, way):
        return None
    edge = low + min(gap / 10, NEAR * max(abs(low), way))
    near = int((after <= edge).nonzero()[-1]) + where
    left = _left(curve, int(parts.first[near]), int(parts.last[min(near + 1, len(parts) - 1)]), edge)
    last = median(curve.values[-min(MOST_LAST, max(LEAST, len(curve) // 100)) :])
    at = max(int(parts.first[where]), min(int(parts.last[where]), left))
    return Climb(low, at, left, now, last, gap >= abs(low) and gap >= way / 2)


def _comparable(run: Run, parts: Blocks) -> Tensor:
    """The levels, infinite where the learning rate was much lower than it is now."""
    rates = rates_at(run, parts.last)
    if rates is None:
        return parts.level
    return torch.where(rates < SAME_RATE * rates[-1], torch.inf, parts.level)


def _sigma(curve: Curve, parts: Blocks, where: int, now: float) -> float:
    """Of a block median: of the whole curve, or of what came before the low, grown with the level: the climb is no noise."""
    before = (where + 1) * parts.size
    if where < SINCE or not parts.level[where] > 0:
        return parts.sigma
    calm = in_blocks(curve.steps[:before], curve.values[:before], BLOCKS, parts.size).sigma
    return min(parts.sigma, calm * max(1.0, now / float(parts.level[where])))


def _goes_on(after: Tensor, gap: float, way: float) -> bool:
    """Rising still and in more than one jump, or all is lost and not on its way back."""
    rise = float(after.max() - after[0])
    if after.numel() <= SINCE or gap < TOP * rise:
        return False
    if way > 0 and gap >= LOST * way and not slope(after[-SINCE:]).falls:
        return True
    return float(after.diff().max()) <= JUMP * rise and slope(after).rises


def _left(curve: Curve, begin: int, end: int, level: float) -> int:
    """The last step between the two from which a median of nine points was still at the level."""
    low, high = torch.searchsorted(curve.steps, torch.tensor([begin, end + 1])).tolist()
    values = curve.values[low:high]
    if values.numel() < 9:
        return begin
    calm = (values.unfold(0, 9, 1).median(dim=1).values <= level).nonzero()
    return int(curve.steps[low + int(calm[-1])]) if calm.numel() else begin


def above_its_start(curve: Curve) -> tuple[float, float] | None:
    """(start, now) where nine of ten of the last half's points are above twice the first five, or five times the first."""
    half = curve.values[len(curve) // 2 :]
    if half.numel() < 2 * LEAST or curve.first <= 0 or curve.start <= 0:
        return None
    lowest = float(half.kthvalue(max(1, half.numel() // 10)).values)
    for start, times in ((curve.start, TWICE), (curve.first, FAR)):
        if lowest > times * start:
            return start, median(half)
    return None


def growth_before_end(values: Tensor) -> tuple[float, float] | None:
    """(before, last) of the 20 points before the first that is no number, if they end 5 times as high, or the last 100 times."""
    bad = (~torch.isfinite(values)).nonzero()
    if not bad.numel():
        return None
    window = values[max(0, int(bad[0]) - 20) : int(bad[0])].double()
    if window.numel() < 2:
        return None
    begun = median(window[: max(1, window.numel() // 2)])
    ended = float(window[-min(3, window.numel() // 2) :].min())
    if begun <= 0 or (ended < FAR * begun and window[-1] < LEAP * begun):
        return None
    # the window may have begun in the middle of the growth
    calm = values[max(0, int(bad[0]) - 40) : max(0, int(bad[0]) - 20)].double()
    calm_level = median(calm) if calm.numel() >= LEAST else begun
    return (min(begun, calm_level) if calm_level > 0 else begun), float(window[-1])
