"""One figure that a model is judged by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from .heads import Guess

__all__ = ["Metric"]


@dataclass(frozen=True)
class Metric:
    """One figure: what it says, and whether more is better."""

    name: str
    says: str
    higher: bool
    of: Callable[[Guess, Tensor], float | None]
    """(guess, target) -> the figure; None where it cannot be given"""
    quantile: float | None = None
    """Which quantile is its best constant; None for the mean."""
    want: str = ""
    """The want that it decides; empty for none."""
