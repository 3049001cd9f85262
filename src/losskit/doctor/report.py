"""What the doctor says: cases, the sickest first, each with its findings; as text, HTML, JSON and JUnit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .evidence import Phase
from .evidence.calls import Level
from .evidence.run import Run
from .finding import SEVERITIES, Fault, Finding, Severity

__all__ = ["Case", "Report"]


@dataclass(frozen=True)
class Case:
    """One model or one run that was looked at."""

    subject: str
    """"train.py:make", "runs/a"."""
    phase: Phase
    findings: tuple[Finding, ...] = ()
    """Earliest cause first, consequences folded into it."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What was measured besides, for a person: {"loss at the start": 2.31, "expected": "2.303 (ln 10)", ...}."""
    looked_at: tuple[str, ...] = ()
    """What was tried, in words: "one backward: 12 parameters", "32 samples are learned by heart, ..."."""
    left_out: tuple[tuple[str, str], ...] = ()
    """What was not tried, and why."""
    levels: tuple[Level, ...] = ()
    run: Run | None = None
    problem: str = ""
    """Why nothing could be read."""
    faults: tuple[Fault, ...] = ()

    @property
    def pictured(self) -> tuple[Level, ...]:
        """The levels worth a line in a picture: neither 0 nor the plateau of a mistake that nobody found."""
        named = {f.hit.level for top in self.findings for f in (top, *top.consequences)}
        every = self.levels or (self.run.levels if self.run else ())
        return tuple(one for one in every if one.name in named or (one.kind != "plateau" and one.value != 0))

    @property
    def severity(self) -> Severity | None:
        """Of the worst finding; None for a healthy case."""
        return next((s for s in SEVERITIES if any(f.severity == s for f in self.findings)), None)


@dataclass(frozen=True)
class Report:
    """The cases, the sickest first."""

    cases: tuple[Case, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Of all cases, in order."""
        return tuple(f for case in self.cases for f in case.findings)

    @property
    def exit_code(self) -> int:
        """Of a program that fails on errors: 0 fine, 2 an error found, 3 nothing to judge, 4 the doctor's own fault."""
        return self.exit_for("error")

    def exit_for(self, fail_on: Severity) -> int:
        """0 nothing found, 1 warnings (if these fail too), 2 errors, 3 nothing to judge, 4 the doctor's own fault."""
        found = {f.severity for f in self.findings}
        if "error" in found:
            return 2
        if any(case.problem for case in self.cases) or not self.cases:
            return 3
        if any(case.faults for case in self.cases):
            return 4
        return int(fail_on != "error" and "warning" in found)

    def __str__(self) -> str:
        from .page.terminal import text

        return text(self)

    def to_json(self, path: str | Path | None = None) -> dict[str, Any]:
        """The report as plain values, schema "losskit.doctor/1"; into a file too if a path is given."""
        from .page.machine import as_json

        return as_json(self, path)

    def to_html(self, path: str | Path) -> None:
        """One HTML file that needs no network."""
        from .page.html import write

        write(self, path)

    def to_junit(self, path: str | Path) -> None:
        """JUnit XML for a CI server: one test case for each rule that was asked."""
        from .page.machine import write_junit

        write_junit(self, path)


def sickest_first(cases: Sequence[Case]) -> tuple[Case, ...]:
    """Errors, warnings, what could not be read, then the healthy; more findings first."""

    def order(case: Case) -> tuple[int, int]:
        rank = {"error": 0, "warning": 1}.get(case.severity or "", 2 if case.problem else 3)
        return rank, -sum(f.severity != "info" for f in case.findings)

    return tuple(sorted(cases, key=order))
