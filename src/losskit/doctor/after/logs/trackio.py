"""trackio: an SQLite database a project, each row a JSON object."""

from __future__ import annotations

import json
from typing import Any

from .config import facts_from, flat
from .log import Log
from .source import Source
from .sqlite import opened, tables_of

__all__ = ["read_trackio"]

ROWS = 4096  # rows that become columns at once


def read_trackio(source: Source) -> Log:
    """The rows of one run; NaN and the infinities are written as text, which counts as numbers."""
    log = Log(files=(str(source.path),))
    with opened(source.path) as connection:
        tables = tables_of(connection)
        run = "coalesce(run_id, run_name)" if "run_id" in tables["metrics"] else "run_name"
        found = connection.execute(f"SELECT step, metrics FROM metrics WHERE {run} = ? ORDER BY rowid", (source.key,))
        while some := found.fetchmany(ROWS):
            rows = [row for row in (_row(step, text) for step, text in some) if row is not None]
            log.table.skipped += len(some) - len(rows)
            log.table.add_rows(rows)
        if {"run_name", "config"} <= tables.get("configs", set()):
            run = "coalesce(run_id, run_name)" if "run_id" in tables["configs"] else "run_name"
            config = connection.execute(f"SELECT config FROM configs WHERE {run} = ? LIMIT 1", (source.key,)).fetchone()
            log.facts = facts_from(dict(flat(_object(config[0]) or {}))) if config else {}
    return log


def _row(step: Any, text: Any) -> dict[str, Any] | None:
    row = _object(text)
    return None if row is None else {**row, "global_step": step}


def _object(text: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (TypeError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
