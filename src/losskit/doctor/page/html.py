"""A report as one HTML file that needs no network: text and tables are HTML, plotly draws the curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ...evaluate.files import write_whole
from ...evaluate.page.html import page
from ...evaluate.page.wording import count, plural
from ..finding import Finding
from ..report import Case, Report
from .once import Once, Words
from .pictures import curves
from .terminal import MANY, spelled, state

__all__ = ["render", "write"]

_HEADS = {"check": "confirm"}


def write(report: Report, path: str | Path) -> None:
    """Write the page; a file that is already there is replaced as a whole or, if anything fails, not touched.

    Raises:     ImportError that names the extra if plotly or jinja2 is missing; OSError for a path that cannot be written.
    """
    write_whole(Path(path), render(report))


def render(report: Report) -> str:
    """The report as one string of HTML."""
    once = Once[tuple[str, str]]()
    cases = [_case(case, i, once) for i, case in enumerate(report.cases)]
    for one in cases:
        one["listed"] = len(cases) <= MANY or one["severity"] != "healthy"
    charts = {f"{one['anchor']}-{name}": chart for one in cases if one["listed"] for name, chart in one["charts"].items()}
    sick = sum(case.severity in ("error", "warning") for case in report.cases)
    one_only = report.cases[0].subject if len(report.cases) == 1 else ""
    title = f"Doctor: {one_only}" if one_only else f"Doctor: {count(sick)} of {plural(len(cases), 'run')} sick"
    heading = one_only or title.removeprefix("Doctor: ")
    found = {"title": title, "heading": heading, "cases": cases, "one": bool(one_only), "package": __package__}
    found["hidden"] = plural(hidden, "run") if (hidden := sum(not one["listed"] for one in cases)) else ""
    return page(f"{__package__}:doctor.html.j2", charts, found)


def _case(case: Case, number: int, once: Once[tuple[str, str]]) -> dict[str, Any]:
    run, anchor = case.run, f"case-{number + 1}"
    loud, quiet = _parted(case.findings)
    reading = [] if run is None else _reading(case)
    return {
        "anchor": anchor,
        "subject": case.subject,
        "state": state(case),
        "severity": case.severity or ("error" if case.problem else "healthy"),
        "problem": case.problem,
        "cannot": "Cannot be run" if case.phase == "before" else "Cannot be read",
        "findings": [_finding(one, once.of(one, (anchor, case.subject))) for one in loud],
        "notes": [(one.code, one.hit.said) for one in quiet],
        "first": next((one.code for one in loud), ""),
        "said": next((one.hit.said for one in loud), case.problem or ""),
        "charts": {} if run is None else curves(case),
        "levels": [[level.name, f"{level.value:.6g}", level.kind] for level in case.levels or (run.levels if run else ())],
        "facts": [(str(k), spelled(v), False) for k, v in case.facts.items()] + reading,
        "looked_at": case.looked_at,
        "left_out": case.left_out,
        "faults": [(one.where, one.problem) for one in case.faults],
    }


def _parted(findings: Sequence[Finding]) -> tuple[list[Finding], list[Finding]]:
    return [f for f in findings if f.severity != "info"], [f for f in findings if f.severity == "info"]


def _finding(one: Finding, words: Words[tuple[str, str]]) -> dict[str, Any]:
    hit = one.hit
    return {
        "code": one.code,
        "name": one.rule.name,
        "severity": one.severity,
        "said": hit.said,
        "where": hit.where,
        "step": "" if hit.step is None else f"step {hit.step:,}",
        "words": {_HEADS.get(head, head): said for head, said in words.new.items()},
        "known": ", ".join(_HEADS.get(head, head) for head in words.known),
        "at": words.at,
        "reference": " ".join(one.rule.sections["Reference"].split()),
        "numbers": [(name, spelled(value), False) for name, value in hit.numbers.items()],
        "confidence": f"{100 * hit.confidence:.0f}\u00a0%",
        "consequences": [(f.code, f.hit.said) for f in one.consequences],
    }


def _reading(case: Case) -> list[tuple[str, str, bool]]:
    run = case.run
    assert run is not None
    reading = run.reading
    rows = [("format", reading.format, False), ("points", count(reading.points), False)]
    rows += [("could not be read", plural(reading.skipped, "record"), False)] * bool(reading.skipped)
    rows += [("end", "the last record is half written", False)] * reading.truncated
    rows += [("restarted at", ", ".join(f"{step:,}" for step in reading.restarts[:20]), False)] * bool(reading.restarts)
    rows += [("file", file, True) for file in reading.files[:20]]
    return rows
