"""CSV of any make: Lightning's metrics.csv, with a row for each call of log(), and everybody's own."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

from .log import Log
from .source import Source, board_curve, header_line
from .text import LONGEST, Lines, decode, head_and_tail

__all__ = ["read_csv"]

_COMMA, _POINT = re.compile(r"(?<![\d,])\d+,\d+(?![\d,])"), re.compile(r"\d\.\d")


def read_csv(source: Source) -> Log:
    """The numbers of every column; an empty cell is not logged; a header in the middle is passed over."""
    log = Log(files=tuple(map(str, source.files)))
    csv.field_size_limit(LONGEST)
    for path in source.files:
        lines = Lines(path, returns=b"\n" not in head_and_tail(path)[0])
        _read(log, path, lines)
        log.table.skipped += lines.skipped
    return log


def _read(log: Log, path: Path, lines: Lines) -> None:
    header: list[str] = []
    delimiter, commas = _delimiter(path), False
    for block in lines:
        some = [line for line in block if line]
        if not some:
            continue
        if not header:
            header = [name.strip() for name in next(csv.reader(some[:1], delimiter=delimiter))]
            if (curve := board_curve(path, header)) is not None:
                header[-1] = curve
            some = some[1:]
            commas = delimiter != "," and _decimal_commas(some)
        if commas:
            some = [line.replace(",", ".") for line in some]
        columns, ragged = _columns(some, len(header), delimiter)
        log.table.skipped += ragged
        log.truncated = bool(ragged) and lines.unfinished
        log.table.add_columns(header, columns)


def _columns(lines: list[str], width: int, delimiter: str) -> tuple[list[Sequence[str]], int]:
    """The cells by column, and how many rows have more or fewer of them than the header."""
    if not any('"' in line for line in lines) and all(line.count(delimiter) == width - 1 for line in lines):
        cells = delimiter.join(lines).split(delimiter) if lines else []
        return [cells[at::width] for at in range(width)], 0
    rows = _rows(lines, delimiter)
    whole = [row for row in rows if len(row) == width]
    ragged = sum(len(row) != width and any(row) for row in rows)
    return list(zip(*whole, strict=True)), ragged


def _rows(lines: list[str], delimiter: str) -> list[list[str]]:
    """The rows of lines; one that is no CSV is left out of them, and all after it are read on their own."""
    try:
        return list(csv.reader(lines, delimiter=delimiter))
    except csv.Error:
        return [row for line in lines for row in _row(line, delimiter)]


def _row(line: str, delimiter: str) -> list[list[str]]:
    try:
        return list(csv.reader([line], delimiter=delimiter))
    except csv.Error:
        return [["", "unreadable"]]


def _delimiter(path: Path) -> str:
    return max(",\t;", key=header_line(decode(head_and_tail(path)[0])).count)


def _decimal_commas(lines: Sequence[str]) -> bool:
    """Whether numbers are written "2,3642"."""
    text = "\n".join(lines[:1000])
    return bool(_COMMA.search(text)) and not _POINT.search(text)
