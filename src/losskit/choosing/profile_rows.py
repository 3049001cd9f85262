"""What rows look like beside their target: missing, duplicates, a target that stands among the inputs, running numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .advice import Fact
from .columns import Column, Columns

__all__ = ["answers_itself", "is_running_number", "rows_facts", "rows_warnings", "telling"]

SAME = 1e-9  # a correlation this near to 1 is the same column in another unit
OFTEN = 0.05  # a share of duplicates that a test set would notice
ROOM = 10  # so many different rows for each one that is there: hardly two agree by chance
TELLS, COUNTS = "tells the target exactly", "counts the rows"
MANY = 0.25  # a column with more different values than this share of the rows tells most of them apart


def rows_facts(columns: Columns) -> list[Fact]:
    """Rows, missing targets, duplicates."""
    facts = [Fact("rows", columns.rows, f"{columns.rows:,} row{'s' * (columns.rows != 1)}")]
    for column in columns.targets:
        gone = int(column.missing.sum())
        if gone:
            facts.append(Fact("missing", gone / columns.rows, f'"{column.name}" is missing in {gone:,} of {columns.rows:,} rows'))
        if column.kind in ("number", "vector") and (infinite := int(column.values.isinf().sum())):
            facts.append(Fact("infinite", infinite, f'"{column.name}" is infinite {infinite:,} times: taken as missing'))
        if column.stored == "str" and column.kind == "number":
            facts.append(Fact("written as text", column.name, f'"{column.name}" holds numbers written as text: read as numbers'))
    repeated = _duplicates(columns)
    if repeated:
        facts.append(Fact("duplicates", repeated / columns.rows, f"{repeated:,} rows are the same as an earlier one"))
    return facts


def rows_warnings(columns: Columns, facts: Sequence[Fact], unused: Mapping[str, str]) -> list[str]:
    """What is wrong with rows or inputs, whatever the loss; ``unused`` are the inputs that ``telling`` finds."""
    found: list[str] = []
    said = {TELLS: "is the target itself, or tells it exactly", COUNTS: "counts the rows, like an id"}
    for name, why in unused.items():
        found.append(f'Input "{name}" {said[why]}: it is left out.')
    repeated = round(columns.rows * next((float(f.value) for f in facts if f.name == "duplicates"), 0.0))
    if repeated > OFTEN * columns.rows and _surprising(columns, repeated):
        found.append(f"{repeated:,} of {columns.rows:,} rows repeat an earlier one: a random test set shares rows with training.")
    missing = max((float(c.missing.double().mean()) for c in columns.targets), default=0.0)
    if 0.005 <= missing < 1:
        found.append(f"{missing:.0%} of the targets are missing: these rows are left out.")
    return found


def telling(columns: Columns) -> dict[str, str]:
    """Inputs that would decide everything by themselves, and what each does."""
    found: dict[str, str] = {}
    for column in columns.inputs if columns.targets else ():
        if any(answers_itself(column, target) for target in columns.targets):
            found[column.name] = TELLS
        elif is_running_number(column):
            found[column.name] = COUNTS
    return found


def is_running_number(column: Column) -> bool:
    """Whether a column counts its rows: whole numbers in equal steps, each once."""
    if column.kind != "number" or column.stored == "float" or len(column) < 10 or bool(column.missing.any()):
        return False
    steps = column.values.diff()
    return bool((steps == steps[0]).all()) and float(steps[0]) != 0


def answers_itself(column: Column, target: Column) -> bool:
    """Whether an input is the target under another name, in another unit, or with other names for its classes."""
    both = ~(column.missing | target.missing)
    if {"list", "vector", "other"} & {column.kind, target.kind} or int(both.sum()) < 3:
        return False
    a, b = column.values[both].double(), target.values[both].double()
    if "text" not in (column.kind, target.kind) and _correlation(a, b) > 1 - SAME:
        return True
    if len(torch.unique(b[:1000])) > 500:  # no classes, and counting them takes a sort
        return False
    # another name for each class: as many pairs as classes. Values that are all different always are.
    classes = len(torch.unique(b))
    if not 2 <= classes <= max(2, len(b) // 3) or len(torch.unique(a)) != classes:
        return False
    return len(torch.unique(torch.stack([a, b]), dim=1)[0]) == classes


def _correlation(a: Tensor, b: Tensor) -> float:
    good = a.isfinite() & b.isfinite()
    a, b = a[good] - a[good].mean(), b[good] - b[good].mean()
    scale = math.sqrt(float((a * a).sum()) * float((b * b).sum()))
    return abs(float((a * b).sum())) / scale if len(a) and scale > 0 else 0.0


def _surprising(columns: Columns, repeated: int) -> bool:
    """Whether rows repeat more than columns of so few values make them: three columns of yes and no have eight different rows."""
    counts = [len(torch.unique(column.values, dim=0)) for column in _parts(columns)]
    cells = math.prod(counts)
    if cells < ROOM * columns.rows and max(counts) < MANY * columns.rows:
        return False
    return repeated - _duplicates(columns, shuffled=True) > OFTEN * columns.rows


def _parts(columns: Columns) -> list[Column]:
    return [*columns.inputs, *columns.targets, *([columns.group] if columns.group else [])]


def _duplicates(columns: Columns, shuffled: bool = False) -> int:
    """Rows that repeat an earlier one in every column, by a random projection of each; 0 without inputs.

    ``shuffled`` counts those that are left where each column is in an order of its own: repeats by chance.
    """
    generator = torch.Generator().manual_seed(0)
    total = torch.zeros(columns.rows, dtype=torch.float64)
    parts = _parts(columns)
    if not columns.inputs or any(column.kind in ("list", "other") for column in parts):
        return 0
    for column in parts:
        wide = torch.nan_to_num(column.values.double().reshape(columns.rows, -1), nan=-12345.678, posinf=1e300, neginf=-1e300)
        # in units of its own, or a column of large numbers takes the digits of the others
        wide = wide / wide.abs().amax(0).clamp(min=1e-300)
        if shuffled:
            wide = wide[torch.randperm(columns.rows, generator=generator)]
        total += wide @ torch.rand(wide.shape[1], generator=generator, dtype=torch.float64).add(0.5)
    return columns.rows - len(torch.unique(total))
