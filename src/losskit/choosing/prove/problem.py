"""What is to be learned, as tensors: rows of inputs, a target for each, and which rows belong together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

__all__ = ["MOST_ROWS", "Problem", "Units", "smaller", "units"]

MOST_ROWS = 5000  # beyond this the intervals are narrower than what separates losses, and a proof takes minutes
LONGEST = 100  # items of a list: NDCG@10 needs no more


@dataclass(frozen=True)
class Problem:
    """Rows to learn from; ``inputs`` are NaN where a number is missing."""

    task: str
    inputs: Tensor
    """(N, D) float32"""
    target: Tensor
    """(N,) classes, numbers or grades; (N, C) soft or several labels"""
    classes: int = 0
    """Of classification, and labels of multilabel."""
    group: Tensor | None = None
    """(N,) int64: the list of an item; or rows that must be trained on, or tested on, together."""
    said: str = ""
    """What the inputs are, how they are written as numbers, and which columns no model is shown."""

    @property
    def soft(self) -> bool:
        """Whether a target is a share of each class rather than one class."""
        shares = self.target.ndim == 2 if self.task == "multiclass" else self.target.is_floating_point()
        return self.task in ("binary", "multiclass") and shares


@dataclass(frozen=True)
class Units:
    """What folds are made of: a row, or a list of rows."""

    inputs: Tensor
    """(U, D), or (U, L, D) of lists"""
    target: Tensor
    """(U,) or (U, C), or (U, L) of lists"""
    mask: Tensor | None
    """(U, L), True where a list has an item"""
    group: Tensor | None
    """(U,) of rows that stay together"""

    def __len__(self) -> int:
        return len(self.inputs)


def smaller(problem: Problem, generator: torch.Generator) -> Problem:
    """At most ``MOST_ROWS`` rows: random rows, or random whole groups."""
    rows = len(problem.target)
    if rows <= MOST_ROWS:
        return problem
    if problem.group is None:
        keep = torch.randperm(rows, generator=generator)[:MOST_ROWS].sort().values
    else:
        _, member, size = problem.group.unique(return_inverse=True, return_counts=True)
        order = torch.randperm(len(size), generator=generator)
        chosen = order[: max(2, int((size[order].cumsum(0) <= MOST_ROWS).sum()))]
        keep = torch.isin(member, chosen).nonzero().flatten()
    group = None if problem.group is None else problem.group[keep]
    return replace(problem, inputs=problem.inputs[keep], target=problem.target[keep], group=group)


def units(problem: Problem) -> Units:
    """Rows as they are; the rows of a ranking as lists, padded to the longest."""
    if problem.task != "ranking":
        return Units(problem.inputs, problem.target, None, problem.group)
    if problem.group is None:
        raise ValueError('a proof for ranking needs "group": the column that says which rows are one list')
    _, member, size = problem.group.unique(return_inverse=True, return_counts=True)
    order = member.argsort(stable=True)
    place = torch.arange(len(order)) - (size.cumsum(0) - size)[member[order]]  # within its list
    width = min(int(size.max()), LONGEST)
    order, place = order[place < width], place[place < width]
    lists = member[order]
    inputs = problem.inputs.new_full((len(size), width, problem.inputs.shape[1]), torch.nan)
    target = torch.zeros(len(size), width)
    mask = torch.zeros(len(size), width, dtype=torch.bool)
    inputs[lists, place] = problem.inputs[order]
    target[lists, place] = problem.target[order].float()
    mask[lists, place] = True
    return Units(inputs, target, mask, None)
