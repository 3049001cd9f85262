"""Evidence to findings: every rule is asked, the earliest cause comes first, what follows from it is folded into it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from .evidence import Evidence
from .finding import SEVERITIES, Fault, Finding, rules

__all__ = ["examine", "fold"]


def examine(evidence: Evidence, *, codes: Collection[str] | None = None) -> tuple[tuple[Finding, ...], tuple[Fault, ...]]:
    """What the rules of the evidence's phase find, in order, and which rules failed themselves.

    ``codes`` asks only these rules.
    """
    found: list[Finding] = []
    faults: list[Fault] = []
    for rule in rules().values():
        if evidence.phase not in rule.phases or (codes is not None and rule.code not in codes):
            continue
        try:
            found += [Finding(rule, hit) for hit in rule.function(evidence)]
        except Exception as problem:  # one rule that fails must not silence the others
            faults.append(Fault(rule.code, f"{type(problem).__name__}: {problem}"))
    return fold(found), tuple(faults)


def fold(found: Sequence[Finding]) -> tuple[Finding, ...]:
    """Causes in order, each with what it explains: the worst first, then the earliest, then the surest."""
    causes = sorted(found, key=_order)
    tops: list[Finding] = []
    below: dict[int, list[Finding]] = {}
    for one in causes:
        reasons = [other for other in causes if other is not one and _explained(one, other) and not _explained(other, one)]
        if not reasons:
            tops.append(one)
            continue
        root = _root(one, causes)
        below.setdefault(id(root), []).append(one)
    whole = [replace(top, consequences=(*top.consequences, *below.get(id(top), ()))) for top in tops]
    return tuple(sorted(whole, key=_order))


def _root(one: Finding, causes: Sequence[Finding]) -> Finding:
    """The cause at the end of the chain; a chain never comes back to where it was."""
    seen = {id(one)}
    while True:
        above = [c for c in causes if id(c) not in seen and _explained(one, c) and not _explained(c, one)]
        if not above:
            return one
        one = above[0]
        seen.add(id(one))


def _explained(effect: Finding, cause: Finding) -> bool:
    """Whether the cause explains it, and is not later; what is only worth knowing hides no alarm."""
    if _own(cause) == SEVERITIES[-1] != _own(effect):
        return False
    if not cause.rule.explains_code(effect.code) or cause.code == effect.code:
        return False
    late, early = effect.hit.step, cause.hit.step
    return late is None or early is None or early <= late


def _own(one: Finding) -> str:
    return one.hit.severity or one.rule.severity


def _order(one: Finding) -> tuple[int, float, float, str]:
    step = one.hit.step
    return SEVERITIES.index(one.severity), -1.0 if step is None else step, -one.hit.confidence, one.code
