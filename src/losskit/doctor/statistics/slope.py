"""How fast a curve falls or rises, with an interval that believes neither outliers nor correlated noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .blocks import in_blocks

__all__ = ["Slope", "slope"]

BLOCKS = 40  # 780 pairs of medians: enough for a slope, cheap enough for 200 resamples
RESAMPLES = 200  # the 2.5 % and 97.5 % quantiles then rest on 5 values each
RUN = 4  # neighbouring residuals that are drawn together: noise that lasts longer than a block stays in
FLAT = 0.02  # a change over the window below 2 % of the median is none


@dataclass(frozen=True)
class Slope:
    """Change for each step (for each point where no steps were given)."""

    value: float
    low: float
    high: float
    """95 % interval: moving-block bootstrap of the residuals."""
    flat: bool
    """The interval holds 0, or the change over the window is below 2 % of the median."""

    @property
    def rises(self) -> bool:
        """The whole interval is above 0."""
        return self.low > 0

    @property
    def falls(self) -> bool:
        """The whole interval is below 0."""
        return self.high < 0


def slope(values: Tensor, steps: Tensor | None = None) -> Slope:
    """Theil-Sen: the median slope of all pairs of at most 40 block medians; all NaN and flat for fewer than three points."""
    values = values.detach().double().flatten()
    places = torch.arange(values.numel()) if steps is None else steps.flatten()
    keep = torch.isfinite(values)
    values, places = values[keep], places[keep]
    if values.numel() < 3:
        return Slope(math.nan, math.nan, math.nan, True)
    parts = in_blocks(places, values, BLOCKS)
    at = (parts.first + parts.last).double() / 2
    rows, columns = torch.triu_indices(len(parts), len(parts), 1)
    run = (at[columns] - at[rows]).clamp(min=1e-12)
    value = ((parts.level[columns] - parts.level[rows]) / run).median()
    line = value * (at - at.mean())
    drawn = line + _resampled(parts.level - line)
    slopes = ((drawn[:, columns] - drawn[:, rows]) / run).median(dim=1).values.sort().values
    low, high = slopes[RESAMPLES // 40].item(), slopes[-1 - RESAMPLES // 40].item()
    window = float(at[-1] - at[0])
    change = abs(value.item()) * window
    return Slope(value.item(), low, high, low <= 0 <= high or change < FLAT * abs(parts.level.median().item()))


def _resampled(residuals: Tensor) -> Tensor:
    """(RESAMPLES, n): residuals in runs of neighbours, from a generator of its own so that no training sees it."""
    count = residuals.numel()
    length = min(RUN, max(1, count // 4))
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(0, count - length + 1, (RESAMPLES, math.ceil(count / length)), generator=generator)
    return residuals[(starts[:, :, None] + torch.arange(length)).flatten(1)[:, :count]]
