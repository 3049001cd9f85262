"""``num_classes``: how many classes, labels or tokens there are, where the rows do not show all of them."""

from __future__ import annotations

from operator import index
from typing import SupportsIndex

import torch
from torch import Tensor

from .columns import Columns

__all__ = ["CELLS", "check_num_classes", "fitting", "with_classes"]

TAKES = ("multiclass", "multilabel", "language")
UNSEEN = "never seen"
MOST = 1_000_000  # each is counted and named
CELLS = 2**28  # of a table of labels: 2 GiB


def check_num_classes(num_classes: SupportsIndex | None, task: str | None = None) -> int | None:
    """The number, also where it comes from numpy; refuse what is no number of classes, and a task that has none.

    Raises:     ValueError that says what was expected.
    """
    if num_classes is None:
        return None
    least = 1 if task == "multilabel" else 2
    try:
        number = 0 if isinstance(num_classes, bool) else index(num_classes)
    except TypeError:
        number = 0
    if number < least:
        raise ValueError(f'"num_classes" is {num_classes!r}, expected a whole number of at least {least}')
    if task is None or task in TAKES or (task == "binary" and number == 2):
        return number
    if task == "binary":
        raise ValueError(f'"num_classes" is {num_classes}, and binary has 2 classes: take the task multiclass')
    raise ValueError(f'"num_classes" is {num_classes}, and {task} has no classes: leave it out, or take the task multiclass')


def fitting(num_classes: int, seen: int, what: str, *, exact: bool = False) -> None:
    """Refuse a number that the data contradict.

    Raises:     ValueError with both numbers.
    """
    if num_classes < seen or (exact and num_classes != seen):
        raise ValueError(f'"num_classes" is {num_classes}, and {what}: expected {seen}{"" if exact else " or more"}')


def with_classes(values: Tensor, names: tuple[str, ...], num_classes: int, columns: Columns) -> tuple[Tensor, tuple[str, ...]]:
    """Targets and names with the classes, or labels, that no row has.

    Raises:     ValueError where the rows show another number, or where there are more than can be counted.
    """
    if not names or len(names) == num_classes:
        return values, names
    several = len(columns.targets) > 1
    if several or columns.target.kind == "vector":
        fitting(num_classes, len(names), f"the target has {len(names)} columns", exact=True)
    name = columns.target.name
    fitting(num_classes, len(names), f'column "{name}" has {len(names)} {"labels" if values.ndim == 2 else "classes"}')
    most = min(MOST, CELLS // max(len(values), 1)) if values.ndim == 2 else MOST
    if num_classes > most:
        raise ValueError(
            f'"num_classes" is {num_classes:,}, and beside {len(values):,} rows at most {most:,} are counted: '
            "choose by the task alone, without data"
        )
    place = {i: at for at, i in enumerate(_indices(names, num_classes))}
    named = tuple(map(str, range(num_classes))) if place else (*names, *[UNSEEN] * (num_classes - len(names)))
    if values.ndim == 2:
        wide = values.new_zeros(len(values), num_classes)
        wide[:, list(place) or slice(len(names))] = values
        return wide, named
    return torch.tensor(list(place))[values] if place else values, named


def _indices(names: tuple[str, ...], num_classes: int) -> tuple[int, ...]:
    """The names where they are indices already: whole numbers below ``num_classes``, each written as one; else none."""
    numbers = [int(one) for one in names if one.isdecimal()]
    written = [str(number) for number in numbers] == list(names)  # "01" is a name
    return tuple(numbers) if written and max(numbers) < num_classes else ()
