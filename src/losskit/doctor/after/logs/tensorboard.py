"""TensorBoard event files, by a reader of our own.

The tensorboard package would cost an install of a web server, its EventAccumulator keeps 10 000 points of a curve unless told
otherwise and reads 50 000 records a second. Of its format a doctor needs scalars only: events of one tag differ in time, step and
value and nowhere else, so that those that look alike are read as columns of bytes.
"""

from __future__ import annotations

import json
import struct
from array import array
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .config import facts_from, flat
from .log import Log
from .protobuf import BYTES, FIXED32, FIXED64, VARINT, WireError, fields, first, varint
from .source import LogError, Source
from .table import Table
from .tfrecord import Chunk, Records, checksums

__all__ = ["read_tensorboard"]

LOOKS = 64  # kinds of events of one length that are read as columns; more are read one by one


@dataclass(frozen=True)
class _Look:
    """An event with one scalar: what may differ in others of the same tag, and where."""

    tag: str
    wall: int
    step: int
    step_bytes: int
    value: int
    fixed: tuple[int, ...]
    """Places at which all are equal."""


@dataclass(frozen=True)
class _Found:
    order: Tensor
    steps: Tensor
    values: Tensor
    walls: Tensor


def read_tensorboard(source: Source) -> Log:
    """All scalars of all files of a folder, the files in the order in which they were begun."""
    log = Log(files=tuple(map(str, source.files)), aligned=False)
    texts: dict[str, Any] = {}
    broken = 0
    for path in source.files:
        records = Records(path)
        for chunk in records:
            _chunk(chunk, log.table, texts)
        log.truncated |= records.truncated or records.broken
        broken += records.broken
    log.table.skipped += broken
    if broken == len(source.files) and not log.table.points:
        raise LogError("no TensorBoard event file: the first record has no valid checksum")
    log.facts = facts_from(texts)
    return log


def _chunk(chunk: Chunk, table: Table, texts: dict[str, Any]) -> None:
    lengths = torch.tensor(chunk.lengths, dtype=torch.int64)
    found: dict[str, list[_Found]] = {}
    for length in lengths.unique().tolist():
        which = (lengths == length).nonzero().flatten()
        rows = chunk.rows(which, length)
        good = checksums(rows)
        table.skipped += int((~good).sum())
        _rows(rows[good, :length], which[good], found, table, texts)
    for tag, parts in found.items():
        order = torch.cat([part.order for part in parts])
        place = order.argsort(stable=True)
        columns = [torch.cat([getattr(part, name) for part in parts])[place] for name in ("steps", "values", "walls")]
        table.extend(tag, *map(_array, columns))


def _array(column: Tensor) -> array[float]:
    return array("d", column.tolist())


def _rows(rows: Tensor, order: Tensor, found: dict[str, list[_Found]], table: Table, texts: dict[str, Any]) -> None:
    """Events of one length: those that look like the first, then of the rest those that look like its first, and so on."""
    for _ in range(LOOKS):
        if not len(rows):
            return
        look = _look(bytes(rows[0].tolist()))
        if look is None:
            _one(bytes(rows[0].tolist()), int(order[0]), found, texts, table)
            rows, order = rows[1:], order[1:]
            continue
        fixed = torch.tensor(look.fixed)
        alike = (rows[:, fixed] == rows[0, fixed]).all(1)
        last = look.step + look.step_bytes
        # a varint of as many bytes: all but the last go on
        steps = rows[:, look.step : last]
        alike &= (steps[:, :-1] >= 128).all(1) & (steps[:, -1] < 128)
        found.setdefault(look.tag, []).append(_columns(rows[alike], order[alike], look))
        rows, order = rows[~alike], order[~alike]
    for row, place in zip(rows, order.tolist(), strict=True):
        _one(bytes(row.tolist()), place, found, texts, table)


def _columns(rows: Tensor, order: Tensor, look: _Look) -> _Found:
    steps = torch.zeros(len(rows), dtype=torch.int64)
    for at in range(look.step_bytes):
        steps |= (rows[:, look.step + at].long() & 127) << (7 * at)
    # a clone begins at a multiple of 8, which a slice of one row need not
    walls = rows[:, look.wall : look.wall + 8].clone(memory_format=torch.contiguous_format).view(torch.float64).flatten()
    values = rows[:, look.value : look.value + 4].clone(memory_format=torch.contiguous_format).view(torch.float32).flatten()
    return _Found(order, steps.double(), values.double(), walls)


def _look(event: bytes) -> _Look | None:
    """The look of an event with one simple value, None for any other."""
    try:
        places = {field: (wire, value, at) for field, wire, value, at in fields(event)}
        if set(places) != {1, 2, 5} or places[1][0] != FIXED64 or places[2][0] != VARINT or not isinstance(places[5][1], bytes):
            return None
        summary, begin = places[5][1], places[5][2]
        [(number, _, entry, at)] = list(fields(summary))
        if number != 1 or not isinstance(entry, bytes):
            return None
        inner = {field: (wire, value, place) for field, wire, value, place in fields(entry)}
    except (WireError, ValueError):
        return None
    if set(inner) != {1, 2} or inner[2][0] != FIXED32 or not isinstance(inner[1][1], bytes):
        return None
    wall, step, value = places[1][2], places[2][2], begin + at + inner[2][2]
    step_bytes = varint(event, step)[1] - step
    free = {*range(wall, wall + 8), *range(step, step + step_bytes), *range(value, value + 4)}
    fixed = tuple(place for place in range(len(event)) if place not in free)
    return _Look(inner[1][1].decode("utf-8", "replace"), wall, step, step_bytes, value, fixed)


def _one(event: bytes, order: int, found: dict[str, list[_Found]], texts: dict[str, Any], table: Table) -> None:
    """An event of any kind: several values, tensors, a config as text."""
    try:
        said = {field: value for field, _, value, _ in fields(event)}
        summary = said.get(5)
        if not isinstance(summary, bytes):
            return
        step, raw = said.get(2, 0), said.get(1)
        step = step - 2**64 if isinstance(step, int) and step >= 2**63 else step
        wall = struct.unpack("<d", raw)[0] if isinstance(raw, bytes) and len(raw) == 8 else float("nan")
        for number, _, entry, _ in fields(summary):
            if number == 1 and isinstance(entry, bytes):
                tag = first(entry, 1).decode("utf-8", "replace")
                value = _value(entry, tag, texts)
                if value is not None and isinstance(step, int):
                    columns = (torch.tensor([x], dtype=torch.float64) for x in (float(step), value, wall))
                    found.setdefault(tag, []).append(_Found(torch.tensor([order]), *columns))
    except (WireError, ValueError, struct.error):
        table.skipped += 1


def _value(entry: bytes, tag: str, texts: dict[str, Any]) -> float | None:
    """A simple value, or a tensor of one float; text of a config goes to ``texts``."""
    for number, wire, value, _ in fields(entry):
        if number == 2 and wire == FIXED32 and isinstance(value, bytes):
            return float(struct.unpack("<f", value)[0])
        if number == 8 and wire == BYTES and isinstance(value, bytes):
            return _tensor(value, tag, texts)
    return None


def _tensor(proto: bytes, tag: str, texts: dict[str, Any]) -> float | None:
    """TensorProto: 1 dtype, 4 content, 5 floats, 6 doubles, 8 strings."""
    parts = {field: value for field, _, value, _ in fields(proto)}
    if isinstance(parts.get(8), bytes):
        _config(tag, bytes(parts[8]) if isinstance(parts[8], bytes) else b"", texts)
        return None
    for field, form in ((5, "<f"), (6, "<d"), (4, "<f" if parts.get(1) == 1 else "<d")):
        data = parts.get(field)
        if isinstance(data, bytes) and len(data) == struct.calcsize(form):
            return float(struct.unpack(form, data)[0])
    return None


def _config(tag: str, text: bytes, texts: dict[str, Any]) -> None:
    """The Trainer writes its arguments and the model's config as text."""
    if not tag.startswith(("args", "model_config", "hparams", "config")):
        return
    try:
        values = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        for key, value in flat(values):
            texts.setdefault(key, value)
