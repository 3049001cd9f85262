"""losskit demo: run the demos, print what they found, write the report."""

from __future__ import annotations

import json as js
import platform
import sys
import tempfile
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

import torch

from .. import __version__
from . import Demo, Ran, need, run, select
from .report import write
from .terminal import show

__all__ = ["run_demo"]


def run_demo(names: list[str], *, html: Path | None, json: bool) -> int:
    """Run the demos of these names (all for none), print the findings and write the report; what can fail early, does.

    Raises:     ValueError for an unknown name; ImportError that names the extra; OSError if the report cannot be written.
    """
    chosen = select(names)
    for module in ("sklearn", *(("jinja2", "plotly") if html is not None else ())):
        need(module)
    if html is not None:
        _check(html)
    with _progress(chosen) as tick:
        ran = run([one.name for one in chosen], tick)
    if json:
        print(js.dumps(_document(ran), indent=2, allow_nan=False))
    else:
        from rich.console import Console

        show(ran, Console(highlight=False))
    if html is not None:
        write(ran, html)
        print(f"report: {html.resolve()}", file=sys.stderr if json else sys.stdout)
    return 0


def _check(path: Path) -> None:
    """Find out before the work, and not after it, that the report cannot be written."""
    if path.exists() and not path.is_file():
        raise OSError(f'"--html" is {path}, which is not a file: name a file, such as report.html')
    folder = path.resolve().parent
    if not folder.is_dir():
        raise OSError(f'"--html" is {path}, but there is no folder {folder}: make it first')
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        raise OSError(f'"--html" is {path}, but nothing can be written to {folder}: {problem.strerror}') from problem


@contextmanager
def _progress(demos: Sequence[Demo]) -> Generator[Callable[[str, float], None], None, None]:
    """A bar for each demo on stderr; where that is not a terminal, a line for each demo that is done."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as progress:
        bars = {one.name: progress.add_task(one.name, total=1.0, start=False) for one in demos}

        def tick(name: str, share: float) -> None:
            if share == 0:
                progress.start_task(bars[name])
            progress.update(bars[name], completed=share)

        yield tick


def _lines() -> Callable[[str, float], None]:
    started: dict[str, float] = {}

    def tick(name: str, share: float) -> None:
        if name not in started:
            started[name] = perf_counter()
        elif share >= 1 and started[name] >= 0:
            print(f"{name}: {perf_counter() - started[name]:.1f} s", file=sys.stderr, flush=True)
            started[name] = -1.0  # said once, though a demo may report its end and run() does too

    return tick


def _document(ran: Sequence[Ran]) -> dict[str, object]:
    demos = [
        {"name": one.demo.name, "answer": one.result.answer, "facts": dict(one.result.facts), "seconds": round(one.seconds, 2)}
        for one in ran
    ]
    machine = {
        "losskit": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
    }
    return {"version": 1, "on": machine, "demos": demos}
