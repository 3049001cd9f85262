"""Nats and tokens by group and document, added up without waiting for the device; units of text beside them on the host."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple, TypedDict, TypeVar

import torch
from torch import Tensor

from ..core.check import ShapeError

__all__ = [
    "Group",
    "Key",
    "Line",
    "Name",
    "State",
    "Totals",
    "checked",
    "fields",
    "key_of",
    "keys",
    "known_sum",
    "lines",
    "number",
    "others_of",
]

M = TypeVar("M")

Key = tuple[str | None, str | int | None]
"""(group, document); None where there is no name."""
Name = str | int | Sequence[str | int] | Tensor | None
"""The document of a call, or one for each entry of the first axis."""
Group = str | Sequence[str] | None
_UNITS = 3  # bytes, characters, words


class Line(NamedTuple):
    """What was counted under one key."""

    nats: float
    tokens: int
    units: tuple[int | None, ...]
    """Bytes, characters, words; None for a unit that some tokens came without."""


class State(TypedDict):
    """A table that can be pickled, sent and loaded with ``weights_only=True``."""

    keys: list[Key]
    nats: Tensor
    tokens: Tensor
    units: list[list[int]]
    owed: list[list[bool]]


class Totals:
    """A table with one row for each key: float64 nats and int64 tokens on a device, units on the host."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.rows: dict[Key, int] = {}
        self.units: list[list[int]] = []
        self.owed: list[list[bool]] = []
        """Whether tokens have come without their bytes, characters, words."""
        self.nats, self.tokens = _table(0, torch.device(device))

    @property
    def device(self) -> torch.device:
        """Where the sums are."""
        return self.nats.device

    def to(self, device: torch.device | str) -> None:
        """Move the sums."""
        with torch.inference_mode(False):
            self.nats, self.tokens = self.nats.to(device), self.tokens.to(device)

    def join(self, device: torch.device) -> torch.device:
        """The device where values from ``device`` are added: theirs, unless the sums are on an accelerator already."""
        if self.device.type == "cpu" and device.type not in ("cpu", "mps"):  # mps has no float64
            self.to(device)
        return self.device

    def row(self, key: Key) -> int:
        """The row of ``key``, a new one if need be."""
        row = self.rows.setdefault(key, len(self.rows))
        if row == len(self.units):
            self.units.append([0] * _UNITS)
            self.owed.append([False] * _UNITS)
        if row >= len(self.nats):
            more = _table(max(row, 1), self.device)
            with torch.inference_mode(False):  # or updates outside of inference mode could not add to them
                self.nats, self.tokens = torch.cat([self.nats, more[0]]), torch.cat([self.tokens, more[1]])
        return row

    def add(self, names: Sequence[Key], nats: Tensor, tokens: Tensor) -> list[int]:
        """Add values (n,) to the rows of their keys, and return the rows."""
        rows = [self.row(key) for key in names]
        if len(rows) == 1:
            self.nats[rows[0] : rows[0] + 1] += nats
            self.tokens[rows[0] : rows[0] + 1] += tokens
        elif rows:
            at = torch.tensor(rows).to(self.device, non_blocking=True)
            self.nats.index_add_(0, at, nats)
            self.tokens.index_add_(0, at, tokens)
        return rows

    def owe(self, rows: Iterable[int]) -> None:
        """Note that tokens of these rows came without units."""
        for row in rows:
            self.owed[row] = [True] * _UNITS

    def add_units(self, row: int, given: Sequence[int | None], *, settles: bool) -> None:
        """Add units to a row; they are those of tokens counted before (``settles``), or of tokens that come with them."""
        for i, count in enumerate(given):
            if count is not None:
                self.units[row][i] += count
            self.owed[row][i] = (self.owed[row][i] and not (settles and count is not None)) or (count is None and not settles)

    def absorb(self, other: State) -> None:
        """Add another table to this one."""
        nats, tokens = (other[name].to(self.device) for name in ("nats", "tokens"))
        for row, units, owed in zip(self.add(other["keys"], nats, tokens), other["units"], other["owed"], strict=True):
            self.units[row] = [a + b for a, b in zip(self.units[row], units, strict=True)]
            self.owed[row] = [a or b for a, b in zip(self.owed[row], owed, strict=True)]

    def state(self) -> State:
        """A copy of the table, on the CPU."""
        count = len(self.rows)
        return State(
            keys=list(self.rows),
            nats=self.nats[:count].detach().cpu().clone(),
            tokens=self.tokens[:count].detach().cpu().clone(),
            units=[list(units) for units in self.units],
            owed=[list(owed) for owed in self.owed],
        )


def _table(rows: int, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros(rows, dtype=torch.float64, device=device), torch.zeros(rows, dtype=torch.int64, device=device)


def lines(tables: Iterable[State]) -> dict[Key, Line]:
    """The tables of all ranks as one, ordered by key: the same on each rank, to the last digit."""
    found: dict[Key, list[tuple[float, int, list[int | None]]]] = {}
    for table in tables:
        columns = zip(table["keys"], table["nats"].tolist(), table["tokens"].tolist(), table["units"], table["owed"], strict=True)
        for key, nats, tokens, units, owed in columns:
            known = [None if unknown else count for count, unknown in zip(units, owed, strict=True)]
            found.setdefault(key, []).append((nats, tokens, known))
    return {
        key: Line(
            math.fsum(part[0] for part in parts),
            sum(part[1] for part in parts),
            tuple(known_sum([part[2][i] for part in parts]) for i in range(_UNITS)),
        )
        for key, parts in sorted(found.items(), key=lambda item: [(name is not None, str(name)) for name in item[0]])
    }


def known_sum(counts: Sequence[int | None]) -> int | None:
    """The sum, None if one of them is not known."""
    return None if None in counts else sum(count for count in counts if count is not None)


def keys(document: Name, group: Group, shape: torch.Size) -> list[Key]:
    """The key of a call on targets of ``shape``, or one for each entry of the first axis.

    Raises:     ShapeError for a sequence of another length; TypeError for ids that are not on the host, or no str or int.
    """
    if isinstance(document, Tensor):
        if document.device.type != "cpu" or document.is_floating_point() or document.ndim != 1:
            raise TypeError(
                f'"document" is a {document.ndim}-d tensor of {document.dtype} on {document.device}, expected 1-d integers on '
                "the CPU, one for each entry of the first axis: ids on a device would have to be waited for"
            )
        document = document.tolist()
    if not (_several(document) or _several(group)):
        return [key_of(document, group)]
    length = shape[0] if shape else 1
    names: tuple[Any, Any] = document, group
    documents, groups = (list(each) if _several(each) else [each] * length for each in names)
    for what, column in (("document", documents), ("group", groups)):
        if len(column) != length:
            raise ShapeError(
                f'"{what}" has {len(column)} entries, expected {length}: one for each entry of the first axis of {tuple(shape)}'
            )
    return [key_of(*pair) for pair in zip(documents, groups, strict=True)]


def _several(names: Any) -> bool:
    return isinstance(names, Iterable) and not isinstance(names, (str, bytes))


def number(name: str, value: Any) -> Tensor:
    """A number of Python or numpy in float64."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f'"{name}" must be a number or a Tensor, got {type(value).__name__}')
    return torch.tensor(float(value), dtype=torch.float64)


def key_of(document: Any, group: Any) -> Key:
    """The key of one document and one group, of Python's own types: those of numpy are not loaded with ``weights_only``."""
    if not isinstance(document, bool) and isinstance(document, Integral):
        document = int(document)
    elif isinstance(document, str):
        document = str(document)
    elif document is not None:
        raise TypeError(f'"document" must be a str or an int, got {type(document).__name__}')
    if group is not None and not isinstance(group, str):
        raise TypeError(f'"group" must be a str, got {type(group).__name__}')
    return group if group is None else str(group), document


def others_of(metric: object, others: Any, kind: type[M]) -> list[M]:
    """What ``merge_state`` is given.

    Raises:     TypeError for anything but metrics; ValueError for one that would count twice.
    """
    if not isinstance(others, Iterable):
        raise TypeError(f'"others" is a {type(others).__name__}, expected several {kind.__name__}, in a list')
    found = list(others)
    for i, other in enumerate(found):
        if not isinstance(other, kind):
            raise TypeError(f'"others" holds a {type(other).__name__}, expected {kind.__name__} only')
        if other is metric:
            raise ValueError('"others" holds this metric itself, expected other ones: what it has would count twice')
        if any(other is earlier for earlier in found[:i]):
            raise ValueError('"others" holds the same metric twice, expected each once: what it has would count twice')
    return found


def fields(state: object, *names: str) -> list[Any]:
    """The entries of a saved state that go by these names."""
    if not isinstance(state, Mapping):
        raise TypeError(f'"state" is a {type(state).__name__}, expected what state_dict() returns')
    for name in names:
        if name not in state:
            raise ValueError(f'"state" has no "{name}", expected what state_dict() returns')
    return [state[name] for name in names]


def checked(state: object) -> State:
    """A table that was saved, if its columns are of its keys."""
    keys, nats, tokens, units, owed = fields(state, "keys", "nats", "tokens", "units", "owed")
    count = len(keys) if isinstance(keys, list) else 0
    named = isinstance(keys, list) and all(map(_is_key, keys)) and len(set(keys)) == count
    columns = {
        "keys": (named, "a list of pairs (group, document), each once"),
        "nats": (_is_column(nats, torch.float64, count), f"{count} float64 sums, one for each key"),
        "tokens": (_is_column(tokens, torch.int64, count) and not (tokens < 0).any(), f"{count} int64 counts, 0 or more"),
        "units": (_is_table(units, int, count), f"{count} lists of {_UNITS} counts"),
        "owed": (_is_table(owed, bool, count), f"{count} lists of {_UNITS} flags"),
    }
    for name, (fits, what) in columns.items():
        if not fits:
            raise ValueError(f'"state" has {name} that are not {what}, expected what state_dict() returns')
    return State(keys=keys, nats=nats, tokens=tokens, units=units, owed=owed)


def _is_key(key: Any) -> bool:
    types = (str, type(None)), (str, int, type(None))
    return isinstance(key, tuple) and len(key) == 2 and all(map(isinstance, key, types))


def _is_column(column: Any, dtype: torch.dtype, count: int) -> bool:
    return isinstance(column, Tensor) and column.dtype == dtype and column.shape == (count,)


def _is_table(table: Any, kind: type[int], count: int) -> bool:
    return (
        isinstance(table, list)
        and len(table) == count
        and all(isinstance(row, list) and len(row) == _UNITS and all(type(n) is kind and n >= 0 for n in row) for row in table)
    )
