"""What classes look like: how many of each, how imbalanced beyond the luck of the draw."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..evaluate.calibration.reliability import wilson

__all__ = ["FEW_POSITIVES", "Balance", "balance_of"]

RATIO = 12.0  # up to about 1:10 the plain loss needs no help
SURE = 5.0  # and beyond it when sampling alone leaves at least this
FEW_POSITIVES = 50  # of 50 positives, a recall has a standard error of 7 %
LEVEL = 0.99


@dataclass(frozen=True)
class Balance:
    """Counts of the classes that occur."""

    counts: tuple[float, ...]
    rare: int
    """Which class occurs least; classes that never occur are left out."""
    common: int
    ratio: float
    """Rows of the most common class for one of the rarest."""
    least: float
    """The ratio that 99 % intervals of the two shares leave."""

    @property
    def imbalanced(self) -> bool:
        """More than 1:10, and not by the luck of few rows."""
        return self.ratio > RATIO and self.least > SURE

    @property
    def plain(self) -> str:
        """Why it is not called imbalanced."""
        if self.ratio <= 10:
            return "up to 1 to 10 the plain loss needs no help"
        return "at the border of 1 to 10" if self.ratio <= RATIO else "too few rows to call it imbalanced"

    @property
    def said(self) -> str:
        """The ratio as a person writes it: "1 to 1,000"."""
        return f"1 to {self.ratio:,.0f}" if self.ratio >= 100 else f"1 to {self.ratio:.3g}"

    @property
    def fewest(self) -> float:
        """Rows of the rarest class."""
        return self.counts[self.rare]


def balance_of(counts: Tensor) -> Balance:
    """The balance of counts (C,), of which at least one is above 0; soft labels count by their probability."""
    there = counts.double()
    n = float(there.sum())
    least = torch.where(there > 0, there, math.inf)
    rare, common = int(least.argmin()), int(there.argmax())
    # the rarest of many classes is rare by luck as well: an interval for all of them (Bonferroni)
    classes = int((there > 0).sum())
    level = 1 - (1 - LEVEL) * min(1.0, 2 / classes)
    low, high = wilson(there / n, there.sum(), level)
    ratio = float(there[common] / there[rare])
    return Balance(tuple(there.tolist()), rare, common, ratio, min(ratio, float(low[common] / high[rare])))
