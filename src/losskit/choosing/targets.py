"""A target column as the tensor that a loss takes: which rows are known, which class is which number."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..evaluate.text.readers import DataError
from .class_count import CELLS, with_classes
from .columns import Column, Columns

__all__ = ["Target", "encode", "group_codes", "levels_of"]

YES = ("1", "true", "yes", "y", "t", "positive", "pos", "malignant", "spam", "fraud", "click", "clicked", "default", "churn")


@dataclass(frozen=True, eq=False)
class Target:
    """What is learned, of the rows where it is known."""

    values: Tensor
    """binary, regression, count, ranking: (m,) float64; multiclass: (m,) int64, or (m, C) probabilities; multilabel: (m, L) of 0
    and 1; regression of several numbers: (m, D)."""
    rows: Tensor
    """(m,) int64: which rows these are."""
    classes: tuple[str, ...] = ()
    """binary: the no and the yes; multiclass and multilabel: the name of each class, by its number."""
    groups: Tensor | None = None
    """(m,) int64: the list that each row belongs to, where a group was named."""

    @property
    def soft(self) -> bool:
        """Whether targets are probabilities in place of classes."""
        inside = (self.values > 0) & (self.values < 1)
        return self.values.is_floating_point() and bool(inside.any())


def levels_of(column: Column) -> tuple[str, ...]:
    """The names of the different values of a column, in order."""
    if column.kind == "text":
        return column.levels
    if column.kind == "bool":
        return ("False", "True")
    known = column.known
    return tuple(_shown(v) for v in torch.unique(known[known.isfinite()]).tolist())


def _shown(value: float) -> str:
    """A number as a name, all of its digits if it is whole: 1000000 and 1000001 are two classes."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < 1e15 else f"{value:.10g}"


def group_codes(column: Column) -> Tensor:
    """(n,) int64: the number of each row's group; a missing one is a group of its own, -1."""
    if column.kind in ("vector", "list"):
        raise DataError(f'"group" is "{column.name}", a column of {column.kind}s, expected one name or number a row')
    found = torch.full((len(column),), -1, dtype=torch.int64)
    found[~column.missing] = torch.unique(column.known, return_inverse=True)[1]
    return found


def encode(columns: Columns, task: str, num_classes: int | None = None) -> Target:
    """The target of a task as a tensor, of the rows where it is known; ``num_classes`` is how many classes or labels there are,
    where that is more than the rows have.

    Raises:     DataError where the target is not what the task takes: three classes for "binary", words for "regression".
                ValueError where the rows have more classes than ``num_classes``.
    """
    rows = _known(columns)
    makers = {"binary": _binary, "multiclass": _multiclass, "multilabel": _multilabel, "embedding": _multiclass}
    values, classes = makers.get(task, _numbers)(columns, rows, task)
    groups = None if columns.group is None else group_codes(columns.group)[rows]
    if num_classes is not None:
        values, classes = with_classes(values, classes, num_classes, columns)
    return Target(values, rows, classes, groups)


def _known(columns: Columns) -> Tensor:
    """The rows in which every target is there and finite."""
    known = torch.ones(columns.rows, dtype=torch.bool)
    for column in columns.targets:
        known &= ~column.missing
        if column.kind in ("number", "bool", "vector", "date"):
            known &= column.values.reshape(len(column), -1).isfinite().all(1)
    return known.nonzero()[:, 0]


def _binary(columns: Columns, rows: Tensor, task: str) -> tuple[Tensor, tuple[str, ...]]:
    column = _one(columns, task)
    if column.kind in ("vector", "list"):
        raise DataError(_not(task, column, "one yes or no a row: several labels a row are multilabel"))
    values = column.values[rows]
    names = levels_of(column)
    if column.kind == "number" and len(names) > 2 and bool(((values >= 0) & (values <= 1)).all()):
        return values.double(), ("0", "1")
    if len(names) > 2:
        raise DataError(_not(task, column, f"two classes, got {len(names)}: {', '.join(names[:5])}: take multiclass"))
    if column.kind == "bool":
        return values.double(), names
    seen = torch.unique(values)
    if len(seen) < 2:
        only = "".join(names)
        return (values == 1).double(), ("0", "1") if column.kind == "number" else (f"not {only}", only)
    yes = _yes(column, values, names)
    return (values == seen[yes]).double(), (names[1 - yes], names[yes])


def _yes(column: Column, values: Tensor, names: tuple[str, ...]) -> int:
    """Which of two is the yes: the larger number, the word that says so, or else the rarer."""
    if column.kind == "number":
        return 1
    said = [name.lower() in YES for name in names]
    return said.index(True) if sum(said) == 1 else int(2 * int((values == values.max()).sum()) <= len(values))


def _multiclass(columns: Columns, rows: Tensor, task: str) -> tuple[Tensor, tuple[str, ...]]:
    if len(columns.targets) > 1 or columns.target.kind == "vector":
        wide, names = _wide(columns, rows)
        if bool(((wide == 0) | (wide == 1)).all()):
            return wide.argmax(1), names
        return wide, names
    column = _one(columns, task)
    if column.kind == "list":
        raise DataError(_not(task, column, "one class a row: several are multilabel"))
    values = column.values[rows]
    if column.kind == "text":
        return values, column.levels
    return torch.unique(values, return_inverse=True)[1], levels_of(column)


def _multilabel(columns: Columns, rows: Tensor, task: str) -> tuple[Tensor, tuple[str, ...]]:
    column = columns.target
    if column.kind != "list":
        return _wide(columns, rows)
    names = sorted({str(tag) for i in rows.tolist() for tag in column.lists[i]})
    place = {name: i for i, name in enumerate(names)}
    if len(rows) * len(names) > CELLS:
        raise DataError(f'column "{column.name}" has {len(names)} labels in {len(rows)} rows: too many for a table of 0 and 1')
    values = torch.zeros(len(rows), len(names), dtype=torch.float64)
    for at, i in enumerate(rows.tolist()):
        values[at, [place[str(tag)] for tag in column.lists[i]]] = 1
    return values, tuple(names)


def _numbers(columns: Columns, rows: Tensor, task: str) -> tuple[Tensor, tuple[str, ...]]:
    for column in columns.targets:
        if column.kind in ("text", "list", "date"):
            remedy = "a date is a number once it is counted from a day" if column.kind == "date" else "words are classes"
            raise DataError(_not(task, column, f"numbers: {remedy}"))
    wide, _ = _wide(columns, rows)
    return (wide[:, 0] if wide.shape[1] == 1 and columns.target.kind != "vector" else wide), ()


def _wide(columns: Columns, rows: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Several targets side by side, (m, L), and their names."""
    parts: list[Tensor] = []
    names: list[str] = []
    for column in columns.targets:
        wide = column.values.reshape(len(column), -1)[rows].double()
        parts.append(wide)
        names += [column.name] if wide.shape[1] == 1 else [str(i) for i in range(wide.shape[1])]
    return torch.cat(parts, 1), tuple(names)


def _one(columns: Columns, task: str) -> Column:
    if len(columns.targets) != 1:
        raise DataError(f'"target" names {len(columns.targets)} columns, expected one for {task}')
    return columns.target


def _not(task: str, column: Column, expected: str) -> str:
    return f'"task" is "{task}", but column "{column.name}" is not that: expected {expected}'
