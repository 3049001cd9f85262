"""Tells each finding once, and again when it gets worse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from ..finding import SEVERITIES, Fault, Finding
from .sinks import Sink

__all__ = ["Teller"]


class Teller:
    """Keeps what was said, so that nothing is said twice."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self.sinks = sinks
        self.told: dict[tuple[str, str], Finding] = {}
        self.faults: dict[str, Fault] = {}

    def tell(self, findings: Iterable[Finding]) -> list[Finding]:
        """Those of the findings that are new, or worse than when they were told."""
        new = [one for one in findings if self._is_news(one)]
        for one in new:
            self.told[one.code, one.hit.where] = one
            for below in one.consequences:  # explained with their cause
                self.told.setdefault((below.code, below.hit.where), below)
            for sink in self.sinks:
                if one.severity != "info" or getattr(sink, "everything", False):
                    self._hand_over(sink, one)
        return new

    def _is_news(self, one: Finding) -> bool:
        before = self.told.get((one.code, one.hit.where))
        return before is None or SEVERITIES.index(one.severity) < SEVERITIES.index(before.severity)

    def _hand_over(self, sink: Sink, one: Finding) -> None:
        try:
            sink(one)
        except Exception as problem:  # a full disk or a lost connection must not end the training
            name = getattr(sink, "__name__", type(sink).__name__)
            self.fault(f"sink {name}", problem)

    def fault(self, where: str, problem: Any) -> None:
        """Remember a failure of the doctor's own, the first of each place."""
        said = f"{type(problem).__name__}: {problem}" if isinstance(problem, BaseException) else str(problem)
        self.faults.setdefault(where, Fault(where, said))

    def all_of(self, findings: Sequence[Finding]) -> tuple[Finding, ...]:
        """These, and what was told earlier and is not among them any more, alarms only."""
        now = {code for one in findings for code in (one.code, *(c.code for c in one.consequences))}
        folded = {c.code for one in self.told.values() for c in one.consequences}
        gone = [o for o in self.told.values() if o.code not in now | folded and o.severity != "info"]
        order = {severity: place for place, severity in enumerate(SEVERITIES)}
        return tuple(sorted([*findings, *gone], key=lambda one: order[one.severity]))
