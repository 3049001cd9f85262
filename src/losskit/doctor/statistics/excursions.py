"""Where a curve leaves its level upwards for several points: spikes that return, and shifts that stay."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .blocks import median
from .curve import Curve
from .noise import NORMAL, mad

__all__ = ["Excursion", "excursions"]

HISTORY = 40  # points of the level before
NOISE = 800  # points that the noise is taken from
IN_A_ROW = 4  # points; half as many where each is the mean of several steps
SIGMAS = 8.0
SHARE = 0.15  # of the level, or of half the way that the loss has come: a loss near 0 doubles for nothing
RECORD = 2.0  # times the highest excursion so far: heavy tails make their own scale
RETURN_STEPS = 150  # a spike that has not come back after these is a shift; after a tenth of a shorter curve
RETURN_POINTS = 20
EDGE = 8  # points after the first hot one at which an excursion may still begin
LOOKS = 5000  # places looked at closely
MOST = 400  # excursions; a curve with more is not one with spikes


@dataclass(frozen=True)
class Excursion:
    """Points in a row that are far above the level before."""

    start: int
    """Index of the first point."""
    stop: int | None
    """Index of the first point back near the old level; None if it has not come back."""
    before: float
    peak: float
    after: float
    """Median of the points in it from its middle on."""
    height: float
    """What each of the first points is above the level, at least."""
    sigmas: float
    scale: float
    """What the height is measured against: the level, or half the way that the loss has come."""
    over: bool
    """It had its time to come back."""


def excursions(curve: Curve) -> tuple[Excursion, ...]:
    """All of them, in order: 4 points in a row, each 8 robust sigma and 15 % above the 40 points before that are in none."""
    values = curve.values
    row = IN_A_ROW if curve.every < IN_A_ROW else 2
    if len(curve) < HISTORY + row:
        return ()
    lows = values.unfold(0, row, 1).amin(dim=1)
    candidates, record = _candidates(values, lows, curve.start)
    limit = max(RETURN_POINTS, min(int(RETURN_STEPS / curve.spacing), len(curve) // 10))
    found: list[Excursion] = []
    clear = torch.ones(values.numel(), dtype=torch.bool)
    free = 0
    for at in candidates.tolist():
        if at < free or len(found) >= MOST:
            continue
        one = _look(curve, at, float(lows[at]), clear, limit)
        # later ones may be as high as the first, which made the record
        if one is None or (not found and one.height <= RECORD * float(record[at]) * _size(one.before, curve.start)):
            continue
        if found and found[-1].stop is not None and one.start - found[-1].stop <= EDGE:
            found[-1] = _joined(found[-1], one)
        else:
            found.append(one)
        free = one.stop if one.stop is not None else min(at + limit, values.numel())
        clear[at:free] = False
        if one.stop is None:  # the new level is the one to compare with from now on
            clear[:at] = False
            clear[(at + free) // 2 : free] = True
    return tuple(found)


def _candidates(values: Tensor, lows: Tensor, start: float) -> tuple[Tensor, Tensor]:
    """Indices worth a look, and the highest excursion until shortly before each point, relative to the level it came from."""
    count = values.numel() // HISTORY
    rows = values[: count * HISTORY].reshape(count, HISTORY)
    blocks = rows.median(dim=1).values
    rough = NORMAL * (rows - blocks[:, None]).abs().median(dim=1).values
    lower = torch.minimum(blocks, torch.cat((blocks[:1], blocks[:-1])))
    calmer = torch.minimum(rough, torch.cat((rough[:1], rough[:-1])))
    which = (torch.arange(lows.numel() - HISTORY) // HISTORY).clamp(max=count - 1)
    base = lower[which]
    above = lows[HISTORY:] - base
    scale = torch.maximum(base.abs(), (start - base) / 2)
    hot = (above > SHARE * scale) & (above > SIGMAS / 2 * calmer[which])
    # the first few of each run of them: what begins later in it is the same excursion
    begins = hot & ~torch.cat((hot.new_zeros(EDGE), hot[:-EDGE]))[: hot.numel()]
    places = (begins.nonzero().flatten() + HISTORY)[:LOOKS]
    # what the last points before had is of the same excursion
    sizes = torch.maximum(base.abs(), (start - base) / 10).clamp(min=1e-300)
    highest = (above / sizes).clamp(min=0).cummax(dim=0).values
    record = torch.cat((above.new_zeros(HISTORY + HISTORY // 4), highest))[: lows.numel()]
    return places, record


def _joined(old: Excursion, new: Excursion) -> Excursion:
    """One that came back for a moment only."""
    return replace(
        old,
        stop=new.stop,
        peak=max(old.peak, new.peak),
        after=new.after,
        height=max(old.height, new.height),
        sigmas=max(old.sigmas, new.sigmas),
        over=new.over,
    )


def _size(level: float, start: float) -> float:
    """What noise is relative to: the level, or a tenth of the way where that has come near 0."""
    return max(abs(level), (start - level) / 10)


def _look(curve: Curve, at: int, low: float, clear: Tensor, limit: int) -> Excursion | None:
    """The excursion that begins there, if it is one."""
    values = curve.values
    begin = max(0, at - NOISE)
    past = values[begin:at][clear[begin:at]]
    if past.numel() < HISTORY:
        return None
    before = median(past[-HISTORY:])
    # noise that wanders moves away from the middle of the history by this much
    wander = mad(past[HISTORY // 2 :] - past[: -HISTORY // 2]) / 1.2
    sigma = max(mad(past[-HISTORY:]), wander)
    scale = max(abs(before), (curve.start - before) / 2)
    height = low - before
    if height <= SHARE * scale or height <= SIGMAS * sigma:
        return None
    rest = values[at : at + limit]
    back = _first_back(rest, before + max(height / 3, 2 * sigma))
    inside = rest[: back or rest.numel()]
    stop = None if back is None else at + back
    after = median(inside[inside.numel() // 2 :])
    over = stop is not None or rest.numel() >= limit
    return Excursion(at, stop, before, float(inside.max()), after, height, height / sigma if sigma > 0 else 1e9, scale, over)


def _first_back(rest: Tensor, level: float) -> int | None:
    """The first point at the level again, of three of which two are."""
    if rest.numel() < 3:
        return None
    home = (rest.unfold(0, 3, 1).median(dim=1).values <= level).nonzero()
    return int(home[0]) + int(rest[int(home[0])] > level) if home.numel() else None
