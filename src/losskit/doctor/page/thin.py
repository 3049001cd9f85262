"""A curve of any length as few points, with its extremes kept."""

from __future__ import annotations

import torch
from torch import Tensor

from ..evidence.run import Series

__all__ = ["thin"]


def thin(series: Series, most: int) -> tuple[Tensor, Tensor]:
    """At most about ``most`` points (steps, values): of each bucket its lowest and its highest, in their order, and its NaN."""
    steps, values, n = series.steps, series.values, len(series)
    if n <= most:
        return steps, values
    buckets = max(1, most // 3)
    size = -(-n // buckets)
    pad = buckets * size - n
    padded = torch.cat([values, values.new_full((pad,), torch.nan)]).view(buckets, size)
    known = torch.isfinite(padded)
    lowest = torch.where(known, padded, torch.inf).argmin(1)
    highest = torch.where(known, padded, -torch.inf).argmax(1)
    broken = (~known).int().argmax(1)  # the first that is no number; place 0 where all are
    start = torch.arange(buckets) * size
    kept = torch.stack([lowest, highest, broken], 1).add(start[:, None]).flatten()
    kept = torch.cat([kept[kept < n], torch.tensor([0, n - 1])]).unique()
    return steps[kept], values[kept]
