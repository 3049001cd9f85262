"""What the arguments of a loss of lists may be: scores, relevance, and where ragged lists begin."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from typing_extensions import override

from .check import ShapeError
from .domain import Domain, Interval, Sizes

__all__ = ["Offsets", "Relevance", "Scores"]


@dataclass(frozen=True)
class Scores(Domain):
    """One score for each item of a list: the higher, the nearer to the top."""

    shape: str = "* L"
    meaning: str = "one score for each item, the items of a list last"


@dataclass(frozen=True)
class Relevance(Interval):
    """How relevant each item is, on any scale."""

    shape: str = "* L"
    meaning: str = "how relevant each item is: a grade, or any number of which more is better"

    @override
    def draw(self, generator: torch.Generator, sizes: Sizes, dtype: torch.dtype = torch.float64) -> Tensor:
        return torch.randint(4, self.size(sizes) or (), generator=generator).to(dtype)


@dataclass(frozen=True)
class Offsets(Domain):
    """Where each list of a flat batch begins, and where the last one ends: the lists are then the rows of the batch."""

    shape: str = "O"
    kind: str = "integer"
    optional: bool = True
    meaning: str = "where each list begins, and the number of all items at the end"

    @override
    def bound(self, name: str, value: Tensor, sizes: Sizes) -> None:
        if sizes.lead:
            remedy = ": use scores.squeeze(-1)" if sizes.named.get("L") == 1 else ""
            raise ShapeError(f'"{name}" is given with scores of {len(sizes.lead) + 1} axes, expected a flat batch, (T,){remedy}')
        if not len(value):
            raise ShapeError(f'"{name}" has shape (0,), expected (B + 1,): {self.meaning}')
        sizes.lead = (len(value) - 1,)
