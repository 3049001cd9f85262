"""What judged lists look like: how many, how long, how graded, and in how many there is anything to learn."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Lists", "lists_of"]


@dataclass(frozen=True)
class Lists:
    """Statistics of relevance in groups."""

    lists: int
    shortest: int
    median: float
    longest: int
    informative: int
    """Lists with two different grades: only these have a pair to learn from."""
    grades: tuple[float, ...]
    """The different grades, up to 21 of them."""
    relevant: float
    """Median number of items above the lowest grade, in the lists that are informative."""
    whole: bool
    negative: bool

    @property
    def binary(self) -> bool:
        """Whether there are two grades, as of clicks."""
        return len(self.grades) == 2

    @property
    def graded(self) -> bool:
        """Whether there are few grades, more than two."""
        return 2 < len(self.grades) <= 20


def lists_of(relevance: Tensor, groups: Tensor) -> Lists:
    """Statistics of ``relevance`` (m,) in ``groups`` (m,) of integers."""
    _, place, sizes = torch.unique(groups, return_inverse=True, return_counts=True)
    count = len(sizes)
    low = torch.full((count,), torch.inf, dtype=torch.float64).scatter_reduce(0, place, relevance.double(), "amin")
    high = torch.full((count,), -torch.inf, dtype=torch.float64).scatter_reduce(0, place, relevance.double(), "amax")
    informative = high > low
    grades = torch.unique(relevance)
    above = torch.zeros(count, dtype=torch.float64).index_add(0, place, (relevance > grades[0]).double())
    relevant = above[informative]
    return Lists(
        count,
        int(sizes.min()),
        float(sizes.double().median()),
        int(sizes.max()),
        int(informative.sum()),
        tuple(grades[:21].tolist()),
        float(relevant.median()) if len(relevant) else 0.0,
        bool((relevance == relevance.round()).all()),
        bool((relevance < 0).any()),
    )
