"""MLflow: its SQLite store, and its file store of one text file a metric."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from .config import facts_from, yaml_values
from .log import Log
from .names import number
from .source import LogError, Source
from .sqlite import opened, tables_of
from .text import Lines, decode

__all__ = ["read_mlflow"]

_NAN = float("nan")
MOST_PARAMS = 5000


def read_mlflow(source: Source) -> Log:
    """The metrics of one run in the order in which they were logged, and its parameters as facts."""
    return _files(source) if source.path.is_dir() else _database(source)


def _database(source: Source) -> Log:
    log = Log(files=(str(source.path),), aligned=False)
    with opened(source.path) as connection:
        tables = tables_of(connection)
        bad = "is_nan" if "is_nan" in tables.get("metrics", set()) else "0"
        # a NaN is stored as 0 with a flag beside it
        found = connection.execute(
            f"SELECT key, value, timestamp, step, {bad} FROM metrics WHERE run_uuid = ? ORDER BY timestamp, rowid", (source.key,)
        )
        for key, value, stamp, step, is_nan in found:
            _add(log, key, _NAN if is_nan else _unclamped(value), stamp, step)
        log.facts = facts_from(_params(connection, tables, source.key))
        if "status" in tables.get("runs", set()):
            status = connection.execute("SELECT status FROM runs WHERE run_uuid = ?", (source.key,)).fetchone()
            log.finished = None if status is None else status[0] == "FINISHED"
    return log


def _add(log: Log, key: Any, value: Any, stamp: Any, step: Any) -> None:
    found, at, wall = number(value), number(step), number(stamp)
    if found is None:
        log.table.skipped += 1
        return
    log.table.add(
        str(key), _NAN if at is None else at, found, _NAN if wall is None else wall / 1000
    )  # MLflow counts milliseconds


def _unclamped(value: Any) -> Any:
    """MLflow stores an infinity as the largest float64, since SQL has none."""
    if isinstance(value, float) and abs(value) >= 1.7976931348623157e308:
        return float("inf") if value > 0 else float("-inf")
    return value


def _params(connection: sqlite3.Connection, tables: dict[str, set[str]], run: str) -> dict[str, Any]:
    if not {"key", "value", "run_uuid"} <= tables.get("params", set()):
        return {}
    return {
        str(k): v for k, v in connection.execute(f"SELECT key, value FROM params WHERE run_uuid = ? LIMIT {MOST_PARAMS}", (run,))
    }


def _files(source: Source) -> Log:
    log = Log(aligned=False)
    metrics = source.path / "metrics"
    if not source.files:
        raise LogError("an MLflow run without metrics")
    for path in source.files:
        lines = Lines(path)
        for block in lines:
            for line in block:
                if line.strip():
                    cells = line.split()
                    _add(log, path.relative_to(metrics).as_posix(), *_three(cells))
        log.table.skipped += lines.skipped
    log.files = tuple(map(str, source.files))
    log.facts = facts_from(_params_of_files(source.path / "params"))
    meta = source.path / "meta.yaml"
    if meta.is_file() and meta.stat().st_size < 1 << 16:
        status = dict(yaml_values(decode(meta.read_bytes()))).get("status")
        log.finished = status in (3, "FINISHED")
    return log


def _three(cells: list[str]) -> tuple[Any, Any, Any]:
    """value, time and step of a line "time value step"; older stores have no step."""
    return (cells[1], cells[0], cells[2] if len(cells) > 2 else None) if len(cells) >= 2 else (None, None, None)


def _params_of_files(folder: Path) -> dict[str, Any]:
    params: dict[str, Any] = {}
    for path in sorted(folder.glob("*"))[:MOST_PARAMS]:
        if path.is_file() and path.stat().st_size < 4096:
            params[path.name] = path.read_text(encoding="utf-8", errors="replace")
    return params
