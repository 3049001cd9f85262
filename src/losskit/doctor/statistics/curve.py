"""The training loss of a run as the curve rules look at it: finite, with its start, its blocks and what was to be expected."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..evidence.run import Run, Series
from .blocks import median
from .warmup import FIRST, SHARE

__all__ = ["Curve", "curve_of", "rate_rises", "rates_at"]

LATE = 5  # points by which a log may count otherwise than the user who said when something happened
RISE = 1.5  # a learning rate that grows by this much moves the loss for good reason


@dataclass(frozen=True)
class Curve:
    """The finite points of a training loss."""

    steps: Tensor
    values: Tensor
    every: int
    spacing: float
    """Steps from one point to the next."""
    first: float
    """The very first finite value."""
    start: float
    """Median of the first five."""

    def __len__(self) -> int:
        return self.values.numel()

    def since(self, step: int) -> Curve:
        """Only what comes at that step or later; the start stays that of the whole run."""
        keep = int(torch.searchsorted(self.steps, step))
        return replace(self, steps=self.steps[keep:], values=self.values[keep:])

    def anew(self, run: Run) -> Curve:
        """What comes after the last thing the user said that happened, as a curve that starts there."""
        told = [step for step, _ in run.events if step <= int(self.steps[-1])] if len(self) else []
        rest = self.since(max(told) + round(LATE * self.spacing)) if told else self
        return replace(rest, first=float(rest.values[0]), start=median(rest.values[:5])) if len(rest) else rest

    def settled(self) -> Curve:
        """Without the first 50 steps, or the first tenth of a short log."""
        if not len(self):
            return self
        first, last = int(self.steps[0]), int(self.steps[-1])
        return self.since(first + min(FIRST, int(SHARE * (last - first))))


def curve_of(run: Run | None, least: int = 20) -> Curve | None:
    """The main training loss; None if there is none, or fewer than ``least`` finite points of it."""
    series = None if run is None else run.main("train_loss")
    if series is None or len(series) < least:
        return None
    series = series.finite()
    if len(series) < least:
        return None
    steps, values = series.steps, series.values.double()
    spacing = max(1.0, float(steps[-1] - steps[0]) / (len(series) - 1))
    return Curve(steps, values, max(1, series.every), spacing, float(values[0]), median(values[:5]))


def rates_at(run: Run, steps: Tensor) -> Tensor | None:
    """The learning rate at each of these steps: that of the last point before it; None where the log has none."""
    rates = _rates(run)
    if rates is None:
        return None
    return rates.values[(torch.searchsorted(rates.steps, steps.contiguous(), right=True) - 1).clamp(min=0)]


def rate_rises(run: Run, step: int, before: int, after: int) -> float:
    """How many times the learning rate grew around a step: its top from there on over its lowest before; 1 if unknown."""
    rates = _rates(run)
    if rates is None:
        return 1.0
    low, middle, high = torch.searchsorted(rates.steps, torch.tensor([step - before, step, step + after]), right=True).tolist()
    old = rates.values[max(low - 1, 0) : max(middle, 1)]
    new = rates.values[max(low - 1, 0) : max(high, 1)]
    if not old.numel() or not new.numel() or float(new.max()) <= 0:
        return 1.0
    return float(new.max()) / max(float(old.min()), 1e-12 * float(new.max()))


def _rates(run: Run) -> Series | None:
    rates = run.main("lr")
    if rates is None:
        return None
    rates = rates.finite()
    return rates if len(rates) else None
