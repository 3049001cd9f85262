"""JSON, one object a line; or one list of objects; or an object of lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .log import Log
from .source import LogError, Source
from .text import Lines

__all__ = ["load", "read_jsonl"]

LARGEST = 1 << 29  # bytes of a document that has to be read whole


def load(path: Path) -> Any:
    """A JSON document of any make, NaN and Infinity included.

    Raises:     LogError if it is none, or too large or too deep.
    """
    if path.stat().st_size > LARGEST:
        raise LogError(f"{path.name} has {path.stat().st_size >> 20} MB in one JSON document, at most {LARGEST >> 20} are read")
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig", "replace"))
    except RecursionError:
        raise LogError(f"{path.name} nests deeper than any log does") from None
    except ValueError as problem:
        raise LogError(f"{path.name} is no JSON document, perhaps half written: {problem}") from None


def read_jsonl(source: Source) -> Log:
    """The numbers of every object, by key; nested keys are joined by "/"; null is not logged."""
    log = Log(files=tuple(map(str, source.files)))
    for path in source.files:
        if path.suffix == ".json" and (rows := _document(path)) is not None:
            log.table.add_rows(rows)
            continue
        lines = Lines(path)
        for block in lines:
            rows, skipped = _rows([line for line in block if line and not line.isspace()])
            log.table.add_rows(rows)
            log.table.skipped += skipped
            log.truncated = bool(skipped) and lines.unfinished
        log.table.skipped += lines.skipped
    return log


def _document(path: Path) -> list[dict[str, Any]] | None:
    """The rows of a file that is one document, None if it is not."""
    try:
        whole = load(path)
    except LogError:
        return None
    if isinstance(whole, dict):
        columns = {k: v for k, v in whole.items() if isinstance(v, list)}
        rows = whole.get("log_history") or whole.get("history")
        if isinstance(rows, list):
            whole = rows
        elif columns:
            longest = max(map(len, columns.values()))
            return [{k: v[i] for k, v in columns.items() if i < len(v)} for i in range(longest)]
        else:
            return [whole]
    return [row for row in whole if isinstance(row, dict)] if isinstance(whole, list) else []


def _rows(lines: list[str]) -> tuple[list[dict[str, Any]], int]:
    """The objects of lines, and how many lines are none."""
    try:
        # one call of the parser for all is three times as fast; a line that is not one object makes it fail or the count differ
        rows = json.loads(f"[{','.join(lines)}]")
        if len(rows) == len(lines) and all(type(row) is dict for row in rows):
            return rows, 0
    except (ValueError, RecursionError):
        pass
    rows = [row for row in map(_row, lines) if row is not None]
    return rows, len(lines) - len(rows)


def _row(line: str) -> dict[str, Any] | None:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return row if type(row) is dict else None
