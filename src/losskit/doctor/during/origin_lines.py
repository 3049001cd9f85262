"""Which line of the user's code runs now."""

from __future__ import annotations

import inspect
import re
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from types import FrameType

import torch

__all__ = ["line_now", "line_of_stack"]

_TORCH = str(Path(torch.__file__).parent)
_OURS = str(Path(__file__).parents[2])
_DEMOS = str(Path(__file__).parents[2] / "demos")  # experiments are written as a user would
_STDLIB = sysconfig.get_paths()["stdlib"]
# above these stands who called the doctor, not the model
_ENDS = (
    str(Path(__file__).parents[1] / "step.py"),
    str(Path(__file__).with_name("replay.py")),
    str(Path(__file__).with_name("origin_pass.py")),
)
_FRAME = re.compile(r'^\s*File "(.+?)", line (\d+)')


def line_now() -> str:
    """The innermost line outside torch and losskit, "" if losskit itself called torch."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        name = frame.f_code.co_filename
        if name in _ENDS:
            return ""
        if _theirs(name):
            return f"{_short(name)}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def line_of_stack(lines: Sequence[str]) -> str:
    """The same of a formatted stack, outermost first, as torch's anomaly mode keeps it for each node."""
    for entry in reversed(lines):
        found = _FRAME.match(entry)
        if found is None:
            continue
        if found[1] in _ENDS:
            return ""
        if _theirs(found[1]):
            return f"{_short(found[1])}:{found[2]}"
    return ""


@cache
def _theirs(name: str) -> bool:
    if name.startswith(_STDLIB) and "-packages" not in name:
        return False
    if name.startswith((_TORCH, "<frozen", "<string", "<eval_with_key", "<decorator")):
        return False
    return not name.startswith(_OURS) or name.startswith(_DEMOS)


@cache
def _short(name: str) -> str:
    path = Path(name)
    for at, part in enumerate(path.parts):
        if part in ("site-packages", "dist-packages"):
            return str(Path(*path.parts[at + 1 :]))
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return path.name
