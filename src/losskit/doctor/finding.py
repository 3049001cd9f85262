"""What a finding is: a rule with a stable code, and what it saw in one run, in numbers."""

from __future__ import annotations

import functools
import inspect
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pkgutil import iter_modules
from typing import Literal

from .evidence import Evidence, Phase

__all__ = ["RULES", "SECTIONS", "SEVERITIES", "Fault", "Finding", "Hit", "Rule", "Severity", "finding", "reflowed", "rules"]

Severity = Literal["error", "warning", "info"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
SECTIONS = ("Cause", "Rule", "Silent when", "Fix", "Confirm", "Reference", "Example")
_HEADING = re.compile(rf"^\s*({'|'.join(SECTIONS)}):[ \t]*", re.MULTILINE)
_CODE = re.compile(r"D[1-9]\d\d")
ALERT = 100  # letters of a fix in an alert, a line or so: the report has all of it, once


@dataclass(frozen=True)
class Hit:
    """What one rule saw: a sentence with its numbers."""

    said: str
    """One sentence that a tired engineer understands, the numbers in it."""
    numbers: Mapping[str, float]
    """The evidence, by name; at least one."""
    where: str = ""
    """The place: "train.py:41", "encoder.layers.3", a file and line, the first sample."""
    step: int | None = None
    """The step at which it shows first."""
    fix: str = ""
    """The concrete change, where the rule knows more than its docstring says."""
    confidence: float = 1.0
    """0 to 1: how sure it is that this is so."""
    severity: Severity | None = None
    """Where a rule knows two."""
    level: str = ""
    """The name of the reference level that it is about."""

    def __post_init__(self) -> None:
        if not self.numbers:
            raise ValueError(f'"numbers" is empty, expected at least one number behind {self.said!r}')


@dataclass(frozen=True)
class Rule:
    """A pure function of evidence, with what is known about the fault that it finds."""

    code: str
    severity: Severity
    phases: tuple[Phase, ...]
    explains: tuple[str, ...]
    function: Callable[[Evidence], Iterator[Hit]]

    @property
    def name(self) -> str:
        """As its file and function are called, in words: "softmax before cross entropy"."""
        return self.function.__name__.replace("_", " ")

    @property
    def summary(self) -> str:
        """The first sentence of the docstring."""
        return " ".join((inspect.getdoc(self.function) or "").split("\n\n")[0].split())

    @functools.cached_property
    def sections(self) -> dict[str, str]:
        """The docstring's sections, by heading."""
        pieces = _HEADING.split(inspect.getdoc(self.function) or "")
        return {head: inspect.cleandoc(text) for head, text in zip(pieces[1::2], pieces[2::2], strict=True)}

    def explains_code(self, code: str) -> bool:
        """Whether a finding of that code is a consequence of this one ("D5xx" stands for a whole family)."""
        return any(code.startswith(one.rstrip("x")) for one in self.explains)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing, with its consequences folded into it."""

    rule: Rule
    hit: Hit
    consequences: tuple[Finding, ...] = field(default=())

    @property
    def code(self) -> str:
        """E.g. "D101"."""
        return self.rule.code

    @property
    def severity(self) -> Severity:
        """Its own, or that of the worst consequence."""
        own = self.hit.severity or self.rule.severity
        return next(s for s in SEVERITIES if s == own or any(c.severity == s for c in self.consequences))

    @property
    def cause(self) -> str:
        """Why, with the source."""
        return " ".join(self.rule.sections["Cause"].split())

    @property
    def fix(self) -> str:
        """What to change."""
        return self.hit.fix or reflowed(self.rule.sections["Fix"])

    @property
    def confirm(self) -> str:
        """How to see that this was it."""
        return " ".join(self.rule.sections["Confirm"].split())

    def __str__(self) -> str:
        """As an alert has it: what is wrong, and the first words of what to change; a report says why, and all of it."""
        hit = self.hit
        place = "".join([f", step {hit.step}" if hit.step is not None else "", f", {hit.where}" if hit.where else ""])
        fix = textwrap.shorten(re.split(r"(?<=\.)\s+(?=[A-Z])", self.fix)[0], ALERT, placeholder=" …")
        return f"{self.severity} {self.code}{place}: {hit.said}\n  fix: {fix} (losskit show {self.code})"

    def as_dict(self) -> dict[str, object]:
        """For JSON: numbers that are not finite become the strings "nan", "inf", "-inf"."""
        hit = self.hit
        numbers = {k: v if math.isfinite(v) else str(float(v)) for k, v in hit.numbers.items()}
        return {
            "code": self.code,
            "name": self.rule.name,
            "severity": self.severity,
            "confidence": hit.confidence,
            "said": hit.said,
            "numbers": numbers,
            "where": hit.where,
            "step": hit.step,
            "level": hit.level,
            "cause": self.cause,
            "fix": self.fix,
            "confirm": self.confirm,
            "reference": " ".join(self.rule.sections["Reference"].split()),
            "consequences": [one.as_dict() for one in self.consequences],
        }


@dataclass(frozen=True)
class Fault:
    """A rule or a probe of the doctor's own that failed: the run is not to blame."""

    where: str
    problem: str


def reflowed(text: str) -> str:
    """The lines of a docstring as paragraphs: what is indented is code and stays a line."""
    lines: list[str] = []
    for line in text.splitlines():
        if lines and line.strip() and not line.startswith(" ") and lines[-1].strip() and not lines[-1].startswith(" "):
            lines[-1] += f" {line}"
        else:
            lines.append(line.rstrip())
    return "\n".join(lines)


RULES: dict[str, Rule] = {}


def finding(
    code: str,
    *,
    severity: Severity,
    phases: Sequence[Phase],
    explains: Sequence[str] = (),
) -> Callable[[Callable[[Evidence], Iterator[Hit]]], Callable[[Evidence], Iterator[Hit]]]:
    """Register a rule under its stable code.

    ``phases`` are when it can be seen: "before" (one batch), "during" (a live run), "after" (a log). ``explains`` are the codes
    of what follows from it; where both are found, those are folded into this one.
    """

    def register(function: Callable[[Evidence], Iterator[Hit]]) -> Callable[[Evidence], Iterator[Hit]]:
        if not _CODE.fullmatch(code) or code in RULES:
            raise ValueError(f'"code" is {code!r}, expected D and three digits that no other rule has')
        rule = Rule(code, severity, tuple(phases), tuple(explains), function)
        if missing := set(SECTIONS) - rule.sections.keys():
            raise ValueError(f"{code} has no section {', '.join(sorted(missing))}")
        RULES[code] = rule
        return function

    return register


@functools.cache
def rules() -> Mapping[str, Rule]:
    """Every rule, by code: each file of ``findings/`` is one."""
    package = import_module(f"{__package__}.findings")
    for found in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{found.name}")
    return dict(sorted(RULES.items()))
