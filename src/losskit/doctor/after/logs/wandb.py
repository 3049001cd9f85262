"""Weights & Biases offline files (``run-*.wandb``), by a reader of our own: the SDK writes them but has none.

A LevelDB log: blocks of 32 KB, each with records of a checksum, a length and a type; a long record goes on in the next
block. Each record is a protocol buffer, of which the history and the config are read. W&B does not document the format.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .config import facts_from, flat
from .log import Log
from .protobuf import WireError, fields
from .source import LogError, Source

__all__ = ["read_wandb"]

BLOCK = 32768
HEADER = 7  # bytes before the first record of the file, and before each record
ROWS = 4096  # rows that become columns at once
LARGEST = 1 << 26  # bytes of one record
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HISTORY, _CONFIG, _RUN, _EXIT = 2, 5, 17, 18  # fields of a Record


class _Records:
    """The records of a file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.skipped = 0
        self.truncated = False

    def __iter__(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            head = file.read(HEADER)
            if head[:4] != b":W&B":
                raise LogError("no W&B file: it does not begin with :W&B")
            block = head + file.read(BLOCK - HEADER)
            at, parts = HEADER, bytearray()
            while block:
                for kind, piece in self._pieces(block, at):
                    if kind in (_FULL, _FIRST):
                        self.skipped += bool(parts)
                        parts = bytearray()
                    parts += piece
                    if len(parts) > LARGEST:
                        self.skipped += 1
                        parts = bytearray()
                    if kind in (_FULL, _LAST):
                        yield bytes(parts)
                        parts = bytearray()
                block, at = file.read(BLOCK), 0
            self.truncated |= bool(parts)

    def _pieces(self, block: bytes, at: int) -> Iterator[tuple[int, bytes]]:
        while at + HEADER <= len(block):
            check, length, kind = struct.unpack_from("<IHB", block, at)
            piece = block[at + HEADER : at + HEADER + length]
            if kind == 0 and length == 0:
                return  # padding at the end of a block
            if len(piece) < length:
                self.truncated = True
                return
            if kind > _LAST or zlib.crc32(block[at + 6 : at + 7] + piece) != check:
                self.skipped += 1
                return  # where the next record begins is not known: go on with the next block
            yield kind, piece
            at += HEADER + length


def read_wandb(source: Source) -> Log:
    """The history, by ``_step``, and the config as facts."""
    log = Log(files=tuple(map(str, source.files)), aligned=False)
    config: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for path in source.files:
        records = _Records(path)
        for record in records:
            try:
                _record(record, rows, config, log)
            except WireError:
                records.skipped += 1
            if len(rows) >= ROWS:
                log.table.add_rows(rows)
                rows = []
        log.table.skipped += records.skipped
        log.truncated |= records.truncated
    log.table.add_rows(rows)
    for clock in ("_runtime", "_wandb"):
        log.table.points.pop(clock, None)
    log.facts = facts_from(dict(flat(config)))
    return log


def _record(record: bytes, rows: list[dict[str, Any]], config: dict[str, Any], log: Log) -> None:
    for field, _, value, _ in fields(record):
        if not isinstance(value, bytes):
            continue
        if field == _HISTORY:
            rows.append(dict(_items(value, 1)))
            return
        if field == _CONFIG:
            config.update(_items(value, 1))
        elif field == _RUN:
            # field 4 of a RunRecord is the config that the run began with
            for number, _, inner, _ in fields(value):
                if number == 4 and isinstance(inner, bytes):
                    config.update(_items(inner, 1))
        elif field == _EXIT:
            code = [number for inner, _, number, _ in fields(value) if inner == 1]
            log.finished = not code or code[0] == 0


def _items(message: bytes, field: int) -> Iterator[tuple[str, Any]]:
    """The items of a history or config: 1 key, 2 nested key, 16 value as JSON."""
    for number, _, item, _ in fields(message):
        if number != field or not isinstance(item, bytes):
            continue
        keys: list[str] = []
        value: Any = None
        for inner, _, data, _ in fields(item):
            if inner in (1, 2) and isinstance(data, bytes):
                keys.append(data.decode("utf-8", "replace"))
            else:
                value = _typed(inner, data)
        if keys:
            yield "/".join(keys), value


def _typed(field: int, data: int | bytes) -> Any:
    """A value: as JSON (16, 8), or as a number or text of its own (5, 6, 7), as newer releases may write it."""
    if isinstance(data, int):
        return (data >> 1) ^ -(data & 1) if field == 5 else None  # zigzag: 0, -1, 1, -2, ...
    if field in (8, 16):
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            return None
    if field == 6 and len(data) == 8:
        return struct.unpack("<d", data)[0]
    return data.decode("utf-8", "replace") if field == 7 else None
