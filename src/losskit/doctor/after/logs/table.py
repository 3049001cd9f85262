"""Points as a log has them, by name, in the log's order; and the curves that they make."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any

from .names import number, role_of

__all__ = ["Points", "Table"]

MOST_CURVES = 5000  # names beyond are counted, not kept: a log with a name a line is none
_NAN = float("nan")


class Points:
    """The points of one name: the row of the log, its step (NaN if it has none), the value, the time."""

    __slots__ = ("rows", "steps", "values", "walls")

    def __init__(self) -> None:
        self.rows = array("q")
        self.steps = array("d")
        self.values = array("d")
        self.walls = array("d")


class Table:
    """A log as columns of points."""

    def __init__(self) -> None:
        self.points: dict[str, Points] = {}
        self.rows = 0
        """Rows so far: the order of all points."""
        self.skipped = 0

    def of(self, name: str) -> Points | None:
        """The points of a name, which begin here if it is new; None if there are too many names."""
        found = self.points.get(name)
        if found is None:
            if len(self.points) >= MOST_CURVES:
                return None
            found = self.points[name] = Points()
        return found

    def add(self, name: str, step: float, value: float, wall: float = _NAN) -> None:
        """One point, in a row of its own."""
        found = self.of(name)
        if found is None:
            self.skipped += 1
            return
        found.rows.append(self.rows)
        found.steps.append(step)
        found.values.append(value)
        found.walls.append(wall)
        self.rows += 1

    def extend(self, name: str, steps: array[float], values: array[float], walls: array[float]) -> None:
        """Many points of one name, each in a row of its own."""
        found = self.of(name)
        if found is None:
            self.skipped += len(values)
            return
        found.rows.extend(range(self.rows, self.rows + len(values)))
        found.steps.extend(steps)
        found.values.extend(values)
        found.walls.extend(walls)
        self.rows += len(values)

    def add_rows(self, rows: Sequence[Mapping[str, Any]], *, null: float | None = None) -> None:
        """Rows as a JSON log has them; nested ones are flattened; ``null`` is what a null stands for, None for "not logged"."""
        places: dict[tuple[str, ...], list[int]] = {}
        keys = list(map(tuple, rows))
        if len(set(keys)) == 1:
            places[keys[0]] = list(range(len(rows)))
        else:
            for at, key in enumerate(keys):
                places.setdefault(key, []).append(at)
        for key, which in places.items():
            some = rows if len(which) == len(rows) else [rows[at] for at in which]
            self._alike(key, some, [self.rows + at for at in which], null)
        self.rows += len(rows)

    def _alike(self, key: tuple[str, ...], rows: Sequence[Mapping[str, Any]], places: Sequence[int], null: float | None) -> None:
        """Rows with the same keys."""
        columns: list[Sequence[Any]] = [list(map(itemgetter(name), rows)) for name in key]  # zip(*rows) is five times slower
        kinds = [set(map(type, column)) for column in columns]
        if any(dict in one for one in kinds):
            for row, place in zip(rows, places, strict=True):
                flat = dict(_flat(row))
                self._alike(tuple(flat), [flat], [place], null)
            return
        if null is not None:
            none = type(None)
            columns = [
                [null if cell is None else cell for cell in c] if none in k else c for c, k in zip(columns, kinds, strict=True)
            ]
        self.add_columns(key, columns, places)

    def add_columns(self, names: Sequence[str], columns: Sequence[Sequence[Any]], places: Sequence[int] | None = None) -> None:
        """Columns side by side: numbers, or text of numbers; a cell that is no number is not there.

        ``places`` are the rows, if they have been counted; else they are new ones.
        """
        if not columns:
            return
        counted = places is not None
        at = array("q", places if places is not None else range(self.rows, self.rows + len(columns[0])))
        roles = [role_of(name) for name in names]
        steps = self._axis("step", roles, columns, len(at))
        walls = self._axis("clock", roles, columns, len(at))
        for name, (role, _), column in zip(names, roles, columns, strict=True):
            if role == "curve":
                self._curve(str(name), at, steps, walls, column)
        if not counted:
            self.rows += len(at)

    def _curve(self, name: str, rows: array[int], steps: array[float], walls: array[float], column: Sequence[Any]) -> None:
        kept, values = _numbers(column)
        if not values:
            return
        found = self.of(name)
        if found is None:
            self.skipped += len(values)
            return
        found.values.extend(values)
        if kept is None:
            found.rows.extend(rows)
            found.steps.extend(steps)
            found.walls.extend(walls)
        else:
            found.rows.extend([rows[i] for i in kept])
            found.steps.extend([steps[i] for i in kept])
            found.walls.extend([walls[i] for i in kept])

    @staticmethod
    def _axis(role: str, roles: Sequence[tuple[str, int]], columns: Sequence[Sequence[Any]], rows: int) -> array[float]:
        """The best counter (or clock) that has numbers at all; NaN where it has none."""
        found = sorted((place, at) for at, (one, place) in enumerate(roles) if one == role)
        for _, at in found:
            kept, values = _numbers(columns[at])
            if kept is None:
                return values
            if values:
                axis = array("d", [_NAN]) * rows
                for i, value in zip(kept, values, strict=True):
                    axis[i] = value
                return axis
        return array("d", [_NAN]) * rows


def _numbers(column: Sequence[Any]) -> tuple[list[int] | None, array[float]]:
    """The numbers of a column and their places, None if all are."""
    if column and type(column[0]) is not bool:
        try:
            return None, array("d", map(float, column))
        except (TypeError, ValueError, OverflowError):
            pass
    found = [(i, value) for i, cell in enumerate(column) if (value := number(cell)) is not None]
    return [i for i, _ in found], array("d", [value for _, value in found])


def _flat(row: Mapping[str, Any], prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """{"train": {"loss": 1}} as "train/loss"; three levels, as no logger goes deeper."""
    for key, value in row.items():
        if type(value) is dict:
            if depth < 3:
                yield from _flat(value, f"{prefix}{key}/", depth + 1)
        else:
            yield f"{prefix}{key}", value
