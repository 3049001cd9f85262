"""The pictures of the documents: each number that is printed in one against its formula, in float64."""

from __future__ import annotations

import re
from functools import partial

from ..explore.figures import discover
from .claim import Claim
from .figure_numbers import FORMULAS

__all__ = ["claims", "printed"]

_NUMBER = re.compile(r'data-name="([^"]+)" data-value="([^"]+)"')
_TOLERANCE = 1e-9


def printed(svg: str) -> dict[str, float]:
    """The full value of each number of a picture, by its name."""
    return {name: float(value) for name, value in _NUMBER.findall(svg)}


def _off(name: str, svg: str) -> str:
    """How many of a picture's numbers are those of the formulas, and the first that is not."""
    shown, truth = printed(svg), FORMULAS[name]()
    wrong = [key for key in truth if not abs(shown.get(key, float("nan")) - truth[key]) <= _TOLERANCE * max(1.0, abs(truth[key]))]
    wrong += [key for key in shown if key not in truth]
    found = f"{len(shown) - len(wrong)} of {len(shown)}"
    return found if not wrong else f"{found}: {wrong[0]} is {shown.get(wrong[0])}, the formula gives {truth.get(wrong[0])}"


def claims() -> list[Claim]:
    """One a figure."""
    found: list[Claim] = []
    for figure in discover():
        svg, count = figure.svg(), len(FORMULAS[figure.name]())
        about = f"{figure.name.partition('_')[0].upper()} {figure.title}: every number printed"
        found.append(Claim("figures, each number to 1e-9", about, f"{count} of {count}", partial(_off, figure.name, svg)))
    return found
