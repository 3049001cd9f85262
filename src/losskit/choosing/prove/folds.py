"""Who is trained on and who is tested on: stratified, grouped or plain folds, repeated, each with an inner split to stop by."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Fold", "folds", "strata"]

ENOUGH = 10  # rows of a stratum: two for each of five folds
INNER = 0.2  # of a fold's training rows: they choose step and learning rate


class Fold(NamedTuple):
    """Indices of units."""

    train: Tensor
    stop: Tensor
    """Held out from training to say when to stop."""
    test: Tensor


def strata(target: Tensor, task: str) -> Tensor | None:
    """The class of each unit, where each fold should have its share of every class."""
    if task == "multilabel":
        some = (target.sum(1) > 0).long()
        # few rows without a label, or none: any folds will do, and a class of two would forbid five
        return some if int(torch.bincount(some, minlength=2).min()) >= ENOUGH else None
    if task in ("binary", "multiclass", "embedding"):
        hard = target.argmax(1) if target.ndim == 2 else target
        return (hard > 0.5).long() if hard.is_floating_point() else hard.long()
    return None


def folds(count: int, k: int, repeats: int, generator: torch.Generator, *, by: Tensor | None, group: Tensor | None) -> list[Fold]:
    """``repeats`` times ``k`` folds of ``count`` units; ``by`` are their classes, ``group`` what stays together."""
    found = []
    for _ in range(repeats):
        part = _parts(torch.arange(count), k, generator, by, group)
        for i in range(k):
            outside = (part != i).nonzero().flatten()
            inner = _parts(outside, round(1 / INNER), generator, by, group)
            found.append(Fold(outside[inner != 0], outside[inner == 0], (part == i).nonzero().flatten()))
    return found


def _parts(chosen: Tensor, k: int, generator: torch.Generator, by: Tensor | None, group: Tensor | None) -> Tensor:
    """Which of ``k`` parts each chosen unit is in, (len(chosen),)."""
    if group is not None:
        _, member, size = group[chosen].unique(return_inverse=True, return_counts=True)
        return _balanced(size, k, generator)[member]
    part = torch.empty(len(chosen), dtype=torch.long)
    order = torch.randperm(len(chosen), generator=generator)
    if by is not None:
        order = order[by[chosen][order].argsort(stable=True)]  # a class after the other, dealt out in turn
    part[order] = torch.arange(len(chosen)) % k
    return part


def _balanced(size: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """The part of each group: the largest first, each to the part that has least."""
    order = torch.randperm(len(size), generator=generator)
    order = order[size[order].argsort(descending=True, stable=True)]
    part, filled = torch.zeros(len(size), dtype=torch.long), [0] * k
    for i in order.tolist():
        least = filled.index(min(filled))
        part[i] = least
        filled[least] += int(size[i])
    return part
