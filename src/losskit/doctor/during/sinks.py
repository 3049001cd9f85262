"""Where a live run's findings are told: a terminal, a file, TensorBoard, Weights & Biases, a function."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, cast

from ..finding import Finding

__all__ = ["File", "Sink", "TensorBoard", "Terminal", "WandB", "as_sinks"]

Sink = Callable[[Finding], None]


class Writer(Protocol):
    """What is used of a SummaryWriter."""

    def add_text(self, tag: str, text_string: str, global_step: int | None = None) -> Any: ...


class Terminal:
    """Two lines on stderr: what is wrong, and in a few words what to change; the report says it in full."""

    def __call__(self, finding: Finding) -> None:
        """Print it."""
        sys.stderr.write(f"\n{finding}\n")  # a progress bar may stand in the line
        sys.stderr.flush()


class File:
    """JSON lines, one object a finding: a run that is killed leaves whole lines, runs that share the file do not mix theirs."""

    everything = True

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, finding: Finding) -> None:
        """Append it."""
        line = json.dumps(finding.as_dict(), allow_nan=False, ensure_ascii=False) + "\n"
        handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            whole = size == 0 or os.pread(handle, 1, size - 1) == b"\n"  # a line that another run left half written ends here
            os.write(handle, (line if whole else "\n" + line).encode())
        finally:
            os.close(handle)


class TensorBoard:
    """A text of the tag ``doctor/<code>`` at the step."""

    def __init__(self, writer: Writer) -> None:
        self.writer = writer

    def __call__(self, finding: Finding) -> None:
        """Write it down."""
        fix = " ".join(finding.fix.split())
        text = f"**{finding.severity} {finding.code}** {finding.hit.said}\n\n{finding.cause}\n\nfix: {fix}"
        self.writer.add_text(f"doctor/{finding.code}", text, finding.hit.step)


class WandB:
    """An alert of the run that is active; nothing where wandb is not installed or no run is active."""

    def __call__(self, finding: Finding) -> None:
        """Send it."""
        try:
            wandb: Any = import_module("wandb")
        except ImportError:
            return
        run = getattr(wandb, "run", None)
        if run is None:
            return
        level = "ERROR" if finding.severity == "error" else "WARN"
        run.alert(title=f"{finding.code} {finding.rule.name}", text=f"{finding.hit.said}\nfix: {finding.fix}", level=level)


def as_sinks(given: Sequence[Any]) -> tuple[Sink, ...]:
    """Sinks of their names: "terminal", "wandb", a path that ends in .jsonl, a SummaryWriter, any function of a finding.

    Raises:     ValueError for anything else.
    """
    return tuple(_as_sink(one) for one in given)


def _as_sink(one: Any) -> Sink:
    if one == "terminal":
        return Terminal()
    if one == "wandb":
        return WandB()
    if isinstance(one, Path) or (isinstance(one, str) and one.endswith(".jsonl")):
        return File(one)
    other: Any = one
    if callable(getattr(other, "add_text", None)):
        return TensorBoard(other)
    if callable(other):
        return cast(Sink, other)
    expected = '"terminal", "wandb", a path ending in ".jsonl", a SummaryWriter or a function of a finding'
    raise ValueError(f'"sinks" holds {one!r}, expected {expected}')
