"""A report in the terminal: one line a finding, then why, what to do, how to confirm it, and the curve; in any width."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from ...evaluate.page.wording import count, plural, visible
from ..finding import Finding
from ..report import Case, Report
from .braille import draw
from .once import Once, Words

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["MANY", "show", "spelled", "state", "text"]

WIDEST = 110
LEAST = 16  # letters of a name that tell one run from another
TOO_SHORT = "D903"  # the finding of a log that says too little
MANY = 60  # runs of which each has a line
_STYLES = {"error": "bold red", "warning": "yellow", "info": "dim"}


class _Line(NamedTuple):
    text: str
    style: str = ""
    lead: int = 0
    """So many letters at its start have the style; 0 for all."""


def text(report: Report, width: int | None = None) -> str:
    """The report as plain lines no wider than ``width`` (the terminal's by default)."""
    wide = min(WIDEST, width or shutil.get_terminal_size((80, 24)).columns)
    return "\n".join(line.text.rstrip() for line in _lines(report, wide))


def show(report: Report, console: Console) -> None:
    """Print the report, with colours where the console has them."""
    from rich.text import Text

    for line in _lines(report, min(WIDEST, console.width)):
        written = Text(line.text.rstrip(), no_wrap=True)
        if line.style:
            written.stylize(line.style, 0, line.lead or len(line.text))
        console.print(written, soft_wrap=True)


def _lines(report: Report, width: int) -> Iterator[_Line]:
    if len(report.cases) > 1:
        yield from _ranking(report, width)
    sick = [case for case in report.cases if case.findings or case.problem or case.faults]
    once = Once[str]()
    for i, case in enumerate(sick if len(report.cases) > 1 else report.cases):
        if i or len(report.cases) > 1:
            yield _Line("")
        yield from _case(case, width, once)


def _ranking(report: Report, width: int) -> Iterator[_Line]:
    """Which run needs a person first."""
    states = [state(case) for case in report.cases]
    sick = sum(case.severity in ("error", "warning") for case in report.cases)
    yield _Line(f"{plural(len(report.cases), 'run')}, {count(sick)} sick", "bold")
    room = max(len(told) for told in states)
    shown = report.cases if len(report.cases) <= MANY else [c for c in report.cases if state(c) != "healthy"]
    for case in shown:
        first = next((f for f in case.findings if f.severity != "info"), None)
        told, said, style = state(case), first.code if first else "", _STYLES.get(case.severity or "", "")
        if width - room - 9 < LEAST:  # the name on a line of its own
            yield _Line(f"  {told}  {said}", style, 2 + len(told))
            yield _Line(f"    {_fit(case.subject, width - 4)}")
        else:
            yield _Line(f"  {told:<{room}}  {said:<4} {_fit(case.subject, width - room - 9)}", style, 2 + room)
    if more := len(report.cases) - len(shown):
        yield _Line(f"  and {plural(more, 'healthy run')}", "dim")


def state(case: Case) -> str:
    """ "2 errors, 1 warning", "healthy", "not judged" (too short a log) or "unreadable"."""
    if case.problem:
        return "cannot be run" if case.phase == "before" else "unreadable"
    counts = [(sum(f.severity == s for f in case.findings), s) for s in ("error", "warning")]
    well = "not judged" if any(f.code == TOO_SHORT for f in case.findings) else "healthy"
    return ", ".join(plural(n, s) for n, s in counts if n) or well


def _case(case: Case, width: int, once: Once[str]) -> Iterator[_Line]:
    yield _Line(_fit(case.subject, width), "bold")
    if case.problem:
        what = "cannot be run" if case.phase == "before" else "cannot be read"
        yield from _wrapped(f"  {what}: ", case.problem, width, _STYLES["error"])
    loud = [f for f in case.findings if f.severity != "info"]
    for one in loud:
        yield from _finding(one, width, once.of(one, case.subject), case.subject)
    if not loud and not case.problem and state(case) == "healthy":
        yield from _wrapped("  healthy: ", _healthy(case), width, "green")
    elif not loud and not case.problem:
        yield _Line(f"  {state(case)}", "bold")
    for one in case.findings:
        if one.severity == "info":
            yield from _wrapped(f"  info    {one.code}  ", one.hit.said, width, _STYLES["info"])
    for fault in case.faults:
        yield from _wrapped("  the doctor's own fault: ", f"{fault.where}: {fault.problem}", width, _STYLES["error"])
    yield from _curve(case, width)
    for name, value in case.facts.items():
        yield from _wrapped(f"  {name}: ", spelled(value), width, "dim")
    for what in case.looked_at:
        yield from _wrapped("  looked at  ", what, width, "dim")
    for what, why in case.left_out:
        yield from _wrapped("  left out   ", f"{what}: {why}", width, "dim")


def _healthy(case: Case) -> str:
    if case.run is None:
        return "nothing found"
    loss = case.run.main("train_loss") or case.run.main("eval_loss")
    if loss is None or not len(loss):
        return f"nothing found in {plural(case.run.reading.points, 'point')}"
    return f"nothing found in {plural(len(loss), 'point')} of {visible(loss.name)}, {loss.values[0]:.4g} to {loss.values[-1]:.4g}"


def _finding(one: Finding, width: int, words: Words[str], subject: str) -> Iterator[_Line]:
    hit = one.hit
    yield from _wrapped(f"  {one.severity:<7} {one.code}  ", hit.said, width, _STYLES[one.severity])
    indent = " " * (10 if width >= 60 else 4)
    place = " · ".join(part for part in (hit.where, "" if hit.step is None else f"step {hit.step:,}") if part)
    if place:
        yield from _wrapped(f"{indent}where  ", place, width, "dim")
    for head, said in words.new.items():
        yield from _wrapped(f"{indent}{head:<5}  ", said, width, "bold")
    if words.known:
        place = "above" if words.at == subject else f"for {words.at}"
        yield from _wrapped(f"{indent}{', '.join(words.known)}  ", f"as {place}", width, "dim")
    for follows in one.consequences:
        yield from _wrapped(f"{indent}hence  ", f"{follows.code} {follows.hit.said}", width, "dim")


def _curve(case: Case, width: int) -> Iterator[_Line]:
    if case.run is None:
        return
    for kind in ("train_loss", "eval_loss"):
        series = case.run.main(kind)
        drawn = [] if series is None else draw(series, case.pictured, width=width - 2)
        if drawn and series is not None:
            yield _Line(f"  {_fit(series.name, width - 2)}", "dim")
            yield from (_Line(f"  {line}") for line in drawn)


def _wrapped(head: str, said: str, width: int, style: str) -> Iterator[_Line]:
    """A paragraph that hangs behind its head; lines that the writer broke stay broken."""
    hang = " " * min(len(head), max(4, width // 4))
    start = head
    for line in visible(said).expandtabs(4).splitlines() or [""]:
        inside = len(line) - len(line.lstrip())
        more = hang + " " * (inside + 2 if inside else 0)
        pieces = textwrap.wrap(
            line, max(20, width), initial_indent=start, subsequent_indent=more, drop_whitespace=True, break_on_hyphens=False
        ) or [start]
        for piece in pieces:
            yield _Line(piece, style, len(head.rstrip()) if start == head else 0) if start == head else _Line(piece)
            start = hang
        start = hang


def _fit(name: str, room: int) -> str:
    """At most so many letters: of a path, the end says more."""
    shown = " ".join(visible(name).split())
    room = max(8, room)
    return shown if len(shown) <= room else f"…{shown[1 - room :]}"


def spelled(value: Any) -> str:
    """A fact as people read it."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
