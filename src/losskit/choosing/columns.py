"""Any data as named columns: what is learned from (inputs), what is learned (targets), and what belongs together (group).

``read_columns(data, target=..., group=..., inputs=...) -> Columns``. A ``Column`` has one of these kinds:

number   ``values`` (n,) float64, NaN where missing
bool     the same, 0 and 1
date     the same, seconds since 1970
text     ``values`` (n,) int64, an index into ``levels`` (sorted), -1 where missing
vector   ``values`` (n, D) float64: one-hot rows, soft labels, an embedding
list     ``lists``: one tuple a row, of different lengths: tags, tokens
other    nothing: what no loss and no model takes, ``stored`` says why

``Columns.features()`` is what a model can take of the inputs: numbers with NaN where missing, categories as codes with -1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ..evaluate.text.readers import DataError

__all__ = ["Column", "Columns", "Features", "Kind", "NothingThereError", "read_columns"]

Kind = Literal["number", "bool", "date", "text", "vector", "list", "other"]
CATEGORIES = 50  # a text column with more levels is no category for a small model: names, ids, sentences


class NothingThereError(DataError):
    """Data that can be read and have no row."""


@dataclass(frozen=True, eq=False)
class Column:
    """One column; see the top of this file for what ``values`` is for each kind."""

    name: str
    kind: Kind
    values: Tensor
    missing: Tensor
    """(n,) bool."""
    levels: tuple[str, ...] = ()
    lists: tuple[tuple[Any, ...], ...] = ()
    stored: str = ""
    """How it came: "int", "float", "bool", "str" (numbers that were written as strings), "mixed", ..."""

    def __len__(self) -> int:
        return len(self.missing)

    @property
    def known(self) -> Tensor:
        """The values that are there and finite, in the order of the rows."""
        return self.values[~self.missing]

    @property
    def unfit(self) -> str:
        """Why no small model can take it as an input; empty where one can."""
        if bool(self.missing.all()):
            return "all of it is missing"
        if self.kind in ("list", "other"):
            return "lists of different lengths" if self.kind == "list" else "neither numbers nor words"
        many = self.kind == "text" and len(self.levels) > CATEGORIES
        return f"text with {len(self.levels):,} different values" if many else ""

    def take(self, rows: Tensor) -> Column:
        """The same column of some rows: indices, or a mask."""
        chosen = rows.nonzero()[:, 0] if rows.dtype == torch.bool else rows
        lists = tuple(self.lists[i] for i in chosen.tolist()) if self.lists else ()
        values = self.values if self.kind in ("list", "other") else self.values[chosen]
        return Column(self.name, self.kind, values, self.missing[chosen], self.levels, lists, self.stored)


@dataclass(frozen=True, eq=False)
class Features:
    """The inputs of a small model. Nothing is imputed or scaled: that belongs inside of each fold."""

    numbers: Tensor
    """(n, P) float64, NaN where missing: numbers, bools, dates, vectors feature by feature."""
    names: tuple[str, ...]
    categories: Tensor
    """(n, K) int64, -1 where missing: texts of few levels."""
    category_names: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    """The levels of each category: K tuples."""
    left_out: Mapping[str, str]
    """Columns that no small model can take, and why."""

    @property
    def width(self) -> int:
        """How many inputs a model sees, one for each level of a category."""
        return self.numbers.shape[1] + sum(map(len, self.levels))


@dataclass(frozen=True, eq=False)
class Columns:
    """All columns of one data set by their part in the learning; each has ``rows`` rows."""

    rows: int
    inputs: tuple[Column, ...]
    targets: tuple[Column, ...]
    """Empty where none was named: pairs, triplets and texts have none."""
    group: Column | None
    source: str
    """What the data are called in a sentence: a file's name, "the table", "the array"."""

    @property
    def target(self) -> Column:
        """The only target, or the first of several."""
        return self.targets[0]

    def features(self) -> Features:
        """What a model can take of the inputs."""
        numbers: list[Tensor] = []
        names: list[str] = []
        chosen: list[Column] = []
        left_out: dict[str, str] = {}
        for column in self.inputs:
            if why := column.unfit:
                left_out[column.name] = why
            elif column.kind == "text":
                chosen.append(column)
            else:
                wide = column.values.double().reshape(self.rows, -1)
                numbers.append(wide.masked_fill(~wide.isfinite(), torch.nan))
                width = wide.shape[1]
                names += [column.name] if column.kind != "vector" else [f"{column.name}[{i}]" for i in range(width)]
        return Features(
            torch.cat(numbers, 1) if numbers else torch.empty(self.rows, 0, dtype=torch.float64),
            tuple(names),
            torch.stack([c.values for c in chosen], 1) if chosen else torch.empty(self.rows, 0, dtype=torch.int64),
            tuple(c.name for c in chosen),
            tuple(c.levels for c in chosen),
            left_out,
        )

    def take(self, rows: Tensor) -> Columns:
        """The same columns of some rows: indices, or a mask."""
        count = int(rows.sum()) if rows.dtype == torch.bool else len(rows)
        group = None if self.group is None else self.group.take(rows)
        inputs, targets = (tuple(c.take(rows) for c in part) for part in (self.inputs, self.targets))
        return Columns(count, inputs, targets, group, self.source)


def read_columns(
    data: Any,
    *,
    target: str | int | Sequence[str | int] | None = None,
    group: Any = None,
    inputs: Any = None,
) -> Columns:
    """The columns of a path, a frame, a mapping, or of an array that is the target itself.

    Args:
        data: a path (csv, tsv, parquet, jsonl, npy, npz, also .gz and .zst), a mapping of columns, a frame of pandas or polars,
            or the target as an array, tensor, list or Series, one or two axes.
        target: the column to be predicted, or several. A table of one column needs none.
        group: the column whose rows belong together, as the items of a query; beside an array, an array.
        inputs: the columns that are learned from, if not all others; beside an array, an array (n, features).
    Raises:     DataError for data that are empty (NothingThereError), cut off or ragged, and for a column that is not there.
    """
    from .columns_cells import make_column
    from .columns_files import is_table, read_table, table_columns

    if isinstance(data, (str, Path)):
        source = Path(data).name or str(data)
        data = read_table(data)
    else:
        source = "the table" if is_table(data) else "the array"
    if getattr(getattr(data, "dtype", None), "names", None):  # a structured array of numpy is a table
        data = {name: data[name] for name in data.dtype.names}
    if not is_table(data):
        if target is None:
            return _beside(make_column("target", data), group, inputs, source)
        data = _numbered(make_column("column", data))
    table = table_columns(data)
    return _parts(_same_length(table, source), target, group, inputs, source)


def _numbered(column: Column) -> dict[str, Tensor]:
    """The columns of a matrix, named by their number."""
    if column.kind != "vector":
        raise DataError('"target" names a column, but "data" has only one: leave "target" out, or pass a table')
    return {str(i): column.values[:, i] for i in range(column.values.shape[1])}


def _beside(target: Column, group: Any, inputs: Any, source: str) -> Columns:
    """A target that came as an array, with arrays beside it."""
    from .columns_cells import make_column
    from .columns_files import is_table, table_columns

    if isinstance(group, str):
        raise DataError(f'"group" is "{group}", but "data" is an array without named columns: pass an array of {len(target)}')
    grouped = None if group is None else make_column("group", group)
    if inputs is None:
        features: list[Column] = []
    elif is_table(inputs):
        features = list(table_columns(inputs).values())
    else:
        if isinstance(inputs, str) or (isinstance(inputs, Sequence) and inputs and isinstance(inputs[0], str)):
            raise DataError('"inputs" are names, but "data" is an array, which has no named columns: pass an array (n, features)')
        features = [make_column("inputs", inputs)]
    _same_length({c.name: c for c in [target, *features, *([grouped] if grouped else [])]}, source)
    return Columns(len(target), tuple(features), (target,), grouped, source)


def _same_length(table: dict[str, Column], source: str) -> dict[str, Column]:
    if not table:
        raise DataError(f"{source} has no columns, expected at least one")
    lengths = {name: len(column) for name, column in table.items()}
    first = next(iter(lengths))
    for name, length in lengths.items():
        if length != lengths[first]:
            raise DataError(f'column "{name}" has {length} rows, column "{first}" has {lengths[first]}: expected the same')
    if not lengths[first]:
        raise NothingThereError(f"{source} has no rows: there is nothing to learn")
    return table


def _parts(table: dict[str, Column], target: Any, group: Any, inputs: Any, source: str) -> Columns:
    """Which column is target, group, input."""
    targets = _names(target, "target")
    if not targets and len(table) == 1:
        targets = list(table)
    named = None if inputs is None else _names(inputs, "inputs")
    grouped = _group(table, group)
    groups = [grouped.name] if grouped is not None and grouped.name in table else []
    for role, names in (("target", targets), ("group", groups), ("inputs", named or [])):
        for name in names:
            if name not in table:
                raise DataError(_unknown(role, name, list(table)))
            if table[name].kind == "other":
                raise DataError(f'"{role}" is "{name}": {table[name].stored}')
            if names.count(name) > 1:
                raise DataError(f'"{role}" names "{name}" twice')
    if groups and groups[0] in targets:
        raise DataError(
            f'"group" is "{groups[0]}", which is the target: expected the column that says which rows belong together'
        )
    taken = {*targets, *groups}
    if named is not None and (both := [name for name in named if name in taken]):
        raise DataError(f'"inputs" has "{both[0]}", which is the target or the group: it cannot be learned from')
    rest = [name for name in table if name not in taken] if named is None else named
    rows = len(next(iter(table.values())))
    return Columns(rows, tuple(table[n] for n in rest), tuple(table[n] for n in targets), grouped, source)


def _group(table: dict[str, Column], given: Any) -> Column | None:
    """The group by its name, or as an array beside the table."""
    from .columns_cells import make_column

    if given is None or _is_name(given):
        name = _names(given, "group")
        if name and name[0] not in table:
            raise DataError(_unknown("group", name[0], list(table)))
        return table[name[0]] if name else None
    if isinstance(given, Sequence) and given and isinstance(given[0], str) and given[0] in table:
        raise DataError(f'"group" names {len(given)} columns, expected one: make one column of them')
    # an empty name is no column's, so that it hides none
    column, rows = make_column("", given), len(next(iter(table.values())))
    if len(column) != rows:
        raise DataError(f'"group" has {len(column)} rows, the table has {rows}: expected the same')
    return replace(column, name="group") if "group" not in table else column


def _is_name(given: Any) -> bool:
    return isinstance(given, str) or (hasattr(given, "__index__") and not getattr(given, "ndim", 0))


def _names(given: Any, role: str) -> list[str]:
    if given is None:
        return []
    if _is_name(given):
        return [str(given)]
    if not isinstance(given, Sequence):
        remedy = ": with the target as an array, call choose(target, inputs=table)" if role == "target" else ""
        raise TypeError(f'"{role}" is a {type(given).__name__}, expected the name of a column or a list of names{remedy}')
    return [str(name) for name in given]


def _unknown(role: str, name: str, there: list[str]) -> str:
    near = get_close_matches(name, there, 3, 0.6) or [each for each in there if each.lower() == name.lower()]
    if near:
        return f'"{role}" is "{name}", which is no column: did you mean {" or ".join(near)}?'
    listed = ", ".join(there[:20]) + (f", ... ({len(there)} in all)" if len(there) > 20 else "")
    return f'"{role}" is "{name}", which is no column: there are {listed}'
