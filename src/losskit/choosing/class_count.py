"""``num_classes``: how many classes, labels or tokens there are, where the rows do not show all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from .columns import Columns

__all__ = ["check_num_classes", "fitting", "with_classes"]

TAKES = ("multiclass", "multilabel", "language")
UNSEEN = "never seen"


def check_num_classes(num_classes: object, task: str | None = None) -> None:
    """Refuse what is no number of classes, and a task that has none.

    Raises:     ValueError that says what was expected.
    """
    if num_classes is None:
        return
    least = 1 if task == "multilabel" else 2
    if not isinstance(num_classes, int) or isinstance(num_classes, bool) or num_classes < least:
        raise ValueError(f'"num_classes" is {num_classes!r}, expected a whole number of at least {least}')
    if task is None or task in TAKES or (task == "binary" and num_classes == 2):
        return
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

    Raises:     ValueError where the rows show another number.
    """
    if not names or len(names) == num_classes:
        return values, names
    several = len(columns.targets) > 1
    if several or columns.target.kind == "vector":
        fitting(num_classes, len(names), f"the target has {len(names)} columns", exact=True)
    name = columns.target.name
    fitting(num_classes, len(names), f'column "{name}" has {len(names)} {"labels" if values.ndim == 2 else "classes"}')
    if values.ndim == 2:
        blank = values.new_zeros(len(values), num_classes - len(names))
        return torch.cat([values, blank], 1), (*names, *[UNSEEN] * blank.shape[1])
    numbers = [int(one) if one.isdecimal() else num_classes for one in names]
    if max(numbers) < num_classes:  # they are indices already
        return torch.tensor(numbers)[values], tuple(map(str, range(num_classes)))
    return values, (*names, *[UNSEEN] * (num_classes - len(names)))
