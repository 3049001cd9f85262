"""What a script is about: which columns are which, how they are written, what is left out and why."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, cast

import torch

from ..advice import Advice, Candidate
from ..columns import Column, Columns
from ..kinds_pairs import decide_pairs, text_of
from ..profile_rows import telling
from ..targets import encode

__all__ = ["Plan", "plan_of"]

READ = (".csv", ".tsv", ".jsonl", ".ndjson", ".parquet", ".npy", ".npz")
SEARCH = "docs/tutorials/search_encoder.md trains an encoder of texts"


@dataclass(frozen=True)
class Plan:
    """Facts for the pieces of a script."""

    first: Candidate
    task: str
    data: Path
    suffix: str
    separator: str
    matrix: bool
    """Whether a .npy holds the target itself rather than columns with names."""
    numbers: list[str] = field(default_factory=list[str])
    dates: list[str] = field(default_factory=list[str])
    vectors: list[str] = field(default_factory=list[str])
    words: list[str] = field(default_factory=list[str])
    left_out: dict[str, str] = field(default_factory=dict[str, str])
    targets: tuple[Column, ...] = ()
    classes: tuple[object, ...] = ()
    """Their values as the file has them, in the order of the loss."""
    soft: bool = False
    outputs: int = 1
    group: str | None = None
    roles: dict[str, str] = field(default_factory=dict[str, str])
    """Of pairs and triplets: which column is the query, the key, ..."""
    written: str = ""
    """``data`` as code"""
    text: Column | None = None
    """Of language: the column of texts or tokens."""

    @property
    def kind(self) -> str:
        """The pieces that it is put together from: "rows", "pairs" or "language"."""
        return "language" if self.task == "language" else "pairs" if self.roles else "rows"


def plan_of(advice: Advice, columns: Columns, data: Path) -> Plan:
    """The facts, or what keeps a script from being honest.

    Raises:     ValueError with what to do instead.
    """
    if advice.first is None or advice.task is None:
        raise ValueError("a script trains with a first choice, and this advice has none: answer its questions first")
    suffix = Path(data.name.removesuffix(".gz")).suffix.lower()
    if suffix not in READ:
        raise ValueError(f'a script reads {", ".join(READ)}, text also as .gz, and "{data.name}" is none of them: convert it')
    matrix = suffix == ".npy" and [c.name for c in (*columns.targets, *columns.inputs)] == ["target"]
    base = Plan(advice.first, advice.task, data, suffix, _separator(data, suffix), matrix)
    if base.separator:
        columns = _spelt(columns, data, base.separator)
    if advice.task == "language":
        return _language(base, columns)
    roles = dict(decide_pairs(columns).roles) if advice.task == "embedding" else {}
    if roles:
        return _pairs(base, columns, roles)
    if not columns.targets:
        raise ValueError(f"a script for {advice.task} predicts a column, and none was named: name it with --target")
    return _rows(base, columns)


def _opened(data: Path) -> IO[str]:
    opened = gzip.open if data.suffix == ".gz" else open
    return cast("IO[str]", opened(data, "rt", encoding="utf-8-sig", errors="replace", newline=""))


def _separator(data: Path, suffix: str) -> str:
    """As losskit reads a CSV: the sign that the line of names has most of."""
    if suffix == ".tsv":
        return "\t"
    if suffix != ".csv":
        return ""
    with _opened(data) as file:
        header = file.readline()
    return ";" if header.count(";") > header.count(",") else "\t" if header.count("\t") > header.count(",") else ","


def _spelt(columns: Columns, data: Path, separator: str) -> Columns:
    """The columns by their names as Python's csv reads them: polars leaves quotes inside of a quoted name doubled."""
    with _opened(data) as file:
        names = {name.replace('"', '""'): name for name in next(csv.reader(file, delimiter=separator))}

    def of(column: Column) -> Column:
        return replace(column, name=names.get(column.name, column.name))

    group = None if columns.group is None else of(columns.group)
    return replace(columns, inputs=tuple(map(of, columns.inputs)), targets=tuple(map(of, columns.targets)), group=group)


def _rows(base: Plan, columns: Columns) -> Plan:
    """A row of inputs, and what is predicted of it."""
    target = encode(columns, base.task)
    left_out = _left_out(columns)
    kept = [column for column in columns.inputs if column.name not in left_out]
    if not kept:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError("a script trains on inputs, and there are none" + (f" ({why})" if why else ": pass a table with some"))
    if base.task == "ranking" and columns.group is None:
        raise ValueError("a script for ranking needs the column that says which rows are one list: name it with --group")
    if columns.group is not None and columns.group.kind in ("vector", "list"):
        raise ValueError(f'"group" is "{columns.group.name}", a column of {columns.group.kind}s: name one of words or numbers')
    wide = target.values.shape[1] if target.values.ndim == 2 else 1
    told = [len(value) for value in base.first.options.values() if isinstance(value, (list, tuple))]
    many = base.task in ("multiclass", "multilabel")
    outputs = max([len(target.classes), *told]) if many else 32 if base.task == "embedding" else wide
    return replace(
        base,
        numbers=[c.name for c in kept if c.kind in ("number", "bool")],
        dates=[c.name for c in kept if c.kind == "date"],
        vectors=[c.name for c in kept if c.kind == "vector"],
        words=[c.name for c in kept if c.kind == "text"],
        left_out=left_out,
        targets=columns.targets,
        classes=_classes(columns.target, target.classes) if base.task != "multilabel" else target.classes,
        soft=target.values.is_floating_point() and (target.values.ndim == 2 or target.soft),
        outputs=outputs,
        group=None if columns.group is None else columns.group.name,
    )


def _left_out(columns: Columns) -> dict[str, str]:
    """Inputs that no small model can take, or that would decide everything by themselves; and constants."""
    found = {**columns.features().left_out, **telling(columns)}
    for column in columns.inputs:
        if column.name not in found and not bool(column.missing.any()) and _constant(column):
            found[column.name] = "is the same in all rows"
    return found


def _constant(column: Column) -> bool:
    return column.kind != "list" and bool((column.values == column.values[:1]).all())


def _classes(column: Column, names: tuple[str, ...]) -> tuple[object, ...]:
    """The values of classes as cells hold them: words, or numbers."""
    if column.kind == "text":
        return names
    if column.kind not in ("number", "bool"):
        return ()
    values = torch.unique(column.known[column.known.isfinite()]).tolist()
    return tuple(int(value) if value.is_integer() else value for value in values)


def _pairs(base: Plan, columns: Columns, roles: dict[str, str]) -> Plan:
    """Pairs or triplets of vectors."""
    parts = [next(column for column in columns.inputs if column.name == name) for name in roles.values()]
    for part in parts:
        if part.kind != "vector":
            raise ValueError(f'"{part.name}" holds {_things(part)}, and a script of one file has no encoder for them: {SEARCH}')
    if len({part.values.shape[1] for part in parts}) > 1 and "anchor" in roles:
        raise ValueError("anchor, positive and negative are vectors of different lengths: make them alike first")
    return replace(base, roles=roles, targets=columns.targets, outputs=32)


def _things(column: Column) -> str:
    return {"text": "texts", "list": "lists"}.get(column.kind, "single values")


def _language(base: Plan, columns: Columns) -> Plan:
    """The column that the advice is about."""
    found = text_of(columns)
    if found is None:
        raise ValueError("no column holds text or lists of tokens: name it with --target")
    return replace(base, text=found)
