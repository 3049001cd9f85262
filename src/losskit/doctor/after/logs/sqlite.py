"""SQLite databases of trackers, opened for reading only: MLflow's and trackio's."""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from .source import LogError, Source

__all__ = ["opened", "runs_of"]

MOST_RUNS = 10_000
MOST_WORK = 2_000_000_000  # SQLite instructions, a minute or so: a view made to run for ever ends


@contextmanager
def opened(path: Path) -> Generator[sqlite3.Connection]:
    """A connection that cannot write and does not trust what the file defines.

    Raises:     LogError for what is no database, or not one that can be read.
    """
    uri = f"file:{quote(str(path.resolve()))}?mode=ro"
    connection = None
    try:
        connection = _connected(uri)
        left = [MOST_WORK // 1_000_000]

        def stop() -> int:
            left[0] -= 1
            return int(left[0] < 0)

        connection.set_progress_handler(stop, 1_000_000)
        yield connection
    except sqlite3.Error as problem:
        raise LogError(f"{path.name} cannot be read as SQLite: {problem}") from None
    finally:
        if connection is not None:
            connection.close()


def _connected(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=2.0)
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("SELECT name FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.OperationalError:
        # a journal in a folder that may not be written: read the main file as it is
        connection.close()
        connection = sqlite3.connect(f"{uri}&immutable=1", uri=True, timeout=2.0)
    connection.text_factory = _text
    return connection


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def tables_of(connection: sqlite3.Connection) -> dict[str, set[str]]:
    """The columns of each table that a tracker may have."""
    tables: dict[str, set[str]] = {}
    for name in ("metrics", "runs", "params", "configs"):
        columns = connection.execute(f"SELECT name FROM pragma_table_info('{name}')").fetchall()
        if columns:
            tables[name] = {str(column) for (column,) in columns}
    return tables


def runs_of(path: Path, name: str) -> list[Source]:
    """The runs of a database, by whichever tracker wrote it; a source with a problem if none did."""
    try:
        with opened(path) as connection:
            metrics = tables_of(connection).get("metrics", set())
            if {"key", "value", "step", "run_uuid"} <= metrics:
                return _mlflow(connection, path, name)
            if {"run_name", "step", "metrics"} <= metrics:
                return _trackio(connection, path, name, "run_id" in metrics)
    except LogError as problem:
        return [Source(path, "", (path,), name, problem=str(problem))]
    return [Source(path, "", (path,), name, problem="an SQLite database of neither MLflow nor trackio")]


def _mlflow(connection: sqlite3.Connection, path: Path, name: str) -> list[Source]:
    names = {}
    if {"run_uuid", "name"} <= tables_of(connection).get("runs", set()):
        names = dict(connection.execute("SELECT run_uuid, name FROM runs").fetchall())
    found = connection.execute(f"SELECT DISTINCT run_uuid FROM metrics LIMIT {MOST_RUNS}").fetchall()
    runs = [Source(path, "mlflow", (path,), f"{name}:{names.get(run) or run}", key=str(run)) for (run,) in found]
    return runs or [Source(path, "", (path,), name, problem="an MLflow database without metrics")]


def _trackio(connection: sqlite3.Connection, path: Path, name: str, by_id: bool) -> list[Source]:
    key = "coalesce(run_id, run_name)" if by_id else "run_name"
    found = connection.execute(
        f"SELECT {key}, max(run_name) FROM metrics GROUP BY 1 ORDER BY min(rowid) LIMIT {MOST_RUNS}"
    ).fetchall()
    runs = [Source(path, "trackio", (path,), f"{name}:{run}", key=str(key)) for key, run in found]
    return runs or [Source(path, "", (path,), name, problem="a trackio database without metrics")]
