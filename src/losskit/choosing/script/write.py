"""A script put together from its pieces, and written where no file is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ...evaluate.files import write_whole
from ..advice import Advice
from ..columns import Columns
from . import language, pairs, rows
from .names import literal
from .plan import plan_of

__all__ = ["script", "write_script"]

PUT = {"rows": rows.script, "pairs": pairs.script, "language": language.script}


def write_script(advice: Advice, columns: Columns, path: Path, data: Path) -> None:
    """Write the script of an advice to a file that is not there yet.

    Args:
        advice: what was advised, with a first choice.
        columns: the data that it is about.
        path: where the script goes; what it saves goes beside it.
        data: the file of the data, as the user typed it: the script opens it by this path.
    Raises:     ValueError for a file that is there already, and for an advice of which no honest script can be made, with what
                to do instead; OSError for a path that cannot be written.
    """
    if os.path.lexists(path):
        raise ValueError(f'"{path}" is there already, and a script is yours to edit: name another file, or move this one away')
    write_whole(path, script(advice, columns, data, name=path.name, folder=path.parent))


def script(advice: Advice, columns: Columns, data: Path, name: str = "train.py", folder: Path = Path()) -> str:
    """The text of the script; ``name`` is what its file will be called, in ``folder``.

    Raises:     ValueError for an advice of which no honest script can be made, with what to do instead.
    """
    plan = plan_of(advice, columns, data)
    return PUT[plan.kind](replace(plan, written=_written(data, folder)), name)


def _written(data: Path, folder: Path) -> str:
    """The path of the data as code: one that is relative is so to the script, from wherever that is run."""
    if data.is_absolute():
        return literal(str(data))
    try:
        beside = os.path.relpath(data.resolve(), folder.resolve())
    except ValueError:  # Windows: another drive
        return literal(str(data.resolve()))
    return f"Path(__file__).resolve().parent / {literal(Path(beside).as_posix())}"
