"""How much each pair of a list counts in a loss whose weights know the metric: vectors of items, never a matrix of pairs."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Lambda", "steps"]


# lambda_ij = (gain_i - gain_j) (place_ij + mu delta(d_ij)) of a pair with y_i > y_j,
# place_ij = ordered_i - ordered_j where s_i > s_j, swapped_j - swapped_i where s_i < s_j, tied_i where s_i = s_j
class Lambda(NamedTuple):
    """Weights of pairs by vectors of items, all (B, L) float64 without a gradient; ``place`` is 1 where nothing makes it."""

    gain: Tensor
    """Rises with relevance."""
    ordered: Tensor | None = None
    swapped: Tensor | None = None
    tied: Tensor | None = None
    """The same number for all items of one score."""
    rank: Tensor | None = None
    """d_ij = |rank_i - rank_j|, delta(d) = steps(d)."""
    apart: Tensor | None = None
    """d_ij where s_i = s_j."""
    mu: float = 0.0


def steps(distance: Tensor) -> Tensor:
    """1 / log2(1 + d) - 1 / log2(2 + d), without the cancellation."""
    near, far = torch.log1p(distance), torch.log1p(distance + 1)
    return torch.log1p(1 / (1 + distance)) * (math.log(2) / (near * far))
