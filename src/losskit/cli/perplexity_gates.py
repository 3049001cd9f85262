"""Gates: what a figure must not be, and how much worse than before a model must not be."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from ..evaluate.paired import Comparison, compare
from ..evaluate.records import UNITS, DocumentScore
from ..evaluate.report import PerplexityReport
from ..evaluate.summary import figures

__all__ = ["Gate", "broken", "gate", "names", "one_sided", "share", "worse"]

_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_FORM = re.compile(r"\s*(\w+)\s*(>=|<=|>|<)\s*(\S+)\s*")


class Gate(NamedTuple):
    """A figure, and what makes it fail."""

    name: str
    """Of the report's ``overall`` section."""
    operator: str
    bound: float


def names(units: Sequence[str] = UNITS) -> list[str]:
    """The figures that a gate can be about: the numbers of the ``overall`` section."""
    some = [DocumentScore(str(i), None, 1.0 + i, 1.0, 1, 0, bytes=1, characters=1, words=1) for i in range(12)]
    return [name for name, value in figures(some, units=units).to_json().items() if isinstance(value, int | float)]


def gate(text: str, units: Sequence[str] = UNITS) -> Gate:
    """Read ``perplexity>12``.

    Raises:     ValueError for what is no comparison of a figure with a number.
    """
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"\"--fail-if\" is {text!r}, expected a figure, one of > >= < <=, and a number: 'perplexity>12'")
    name, sign, number = found.groups()
    known = names(units)
    if name not in known:
        raise ValueError(f'"--fail-if" names the figure {name!r}, expected one of {", ".join(known)}')
    try:
        bound = float(number)
    except ValueError:
        bound = math.nan
    if math.isnan(bound):
        raise ValueError(f'"--fail-if" compares {name} with {number!r}, expected a number')
    return Gate(name, sign, bound)


def broken(one: Gate, report: PerplexityReport) -> str | None:
    """Why the report fails; None if it passes. What is not known, or not a number, fails."""
    value = report.overall.to_json().get(one.name)
    if value is None:
        return f"{one.name} is not known, so that it cannot pass {one.name}{one.operator}{one.bound:g}"
    if math.isnan(value) or _OPERATORS[one.operator](value, one.bound):
        return f"{one.name} is {value:.6g}, which fails at {one.operator}{one.bound:g}"
    return None


def share(text: str) -> float:
    """Read ``0.5%``.

    Raises:     ValueError for what is no percentage.
    """
    try:
        value = float(text.removesuffix("%")) / 100 if text.endswith("%") else math.nan
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ValueError(f'"--fail-if-worse" is {text!r}, expected a percentage of at least 0: 0.5%')
    return value


def one_sided(level: float) -> float:
    """The level of the two-sided interval whose lower end bounds the ratio on one side at ``level``."""
    if level <= 0.5:
        raise ValueError(f'"--level" is {level:g}, expected more than 0.5 for a bound on one side')
    return 2 * level - 1


def worse(report: PerplexityReport, baseline: PerplexityReport, limit: float, level: float) -> tuple[Comparison, str | None]:
    """The report beside an earlier one, and why it fails: it is certain at ``level`` that it is worse by more than ``limit``.

    Where the documents are too few for an interval the ratio itself decides.

    Raises:     ValueError for reports that cannot be compared.
    """
    found = compare(report, baseline, level=one_sided(level))
    bound = found.ratio if found.interval is None else found.interval[0]
    if bound <= 1 + limit:  # a ratio that is NaN fails
        return found, None
    told = "" if found.interval is None else f" (with a confidence of {100 * level:g} % at least {100 * (bound - 1):.3g} %)"
    unit = f"the perplexity per {found.unit} is {100 * found.worse_by:.3g} % above that of the baseline"
    return found, f"{unit}{told}, at most {100 * limit:g} % is allowed"
