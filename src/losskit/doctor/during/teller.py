"""Tells each finding once, and again when it gets worse."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from ..finding import SEVERITIES, Fault, Finding
from .sinks import Sink

__all__ = ["Teller"]

T = TypeVar("T")
APART = 150  # steps after which a jump of the loss is another one: what has not come back until then is called lasting


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
        if before is None or SEVERITIES.index(one.severity) < SEVERITIES.index(before.severity):
            return True
        return _happened_again(before, one)

    def _hand_over(self, sink: Sink, one: Finding) -> None:
        try:
            sink(one)
        except Exception as problem:  # a full disk or a lost connection must not end the training
            name = getattr(sink, "__name__", type(sink).__name__)
            self.fault(f"sink {name}", problem)

    def safely(self, where: str, call: Callable[[], T]) -> T | None:
        """What the call returns, None where it fails: a training does not end for the doctor's sake."""
        try:
            return call()
        except Exception as problem:
            self.fault(where, problem)
            return None

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


def _happened_again(before: Finding, now: Finding) -> bool:
    """Whether it is another event than the one that was told, and no revision of that: twice as many spikes, a later jump."""
    old, new = before.hit, now.hit
    if now.code == "D502":
        return new.numbers.get("spikes", 1.0) >= 2 * old.numbers.get("spikes", 1.0)
    if old.step is None or new.step is None or now.code not in ("D501", "D507"):
        return False
    low = new.numbers.get("low_step", new.step)  # a divergence of the same low is the same one
    return new.step > old.step + APART and low > old.step
