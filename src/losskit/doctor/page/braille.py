"""A curve of the terminal in braille dots, its reference levels drawn through it and named beside it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from ..evidence.calls import Level
from ..evidence.run import Series
from .thin import thin

__all__ = ["draw"]

# the eight dots of a braille cell, by row and column of the cell
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
LABELS = 11  # columns of the numbers on the left
LEAST = 20  # columns below which a curve says nothing
FAR = 100  # times the median: with a peak that is higher a linear axis shows the peak alone


def draw(series: Series, levels: Sequence[Level] = (), *, width: int = 80, height: int = 6) -> list[str]:
    """Lines of text: the curve, the highest and the lowest value beside it, the steps below; nothing without two numbers."""
    finite = series.finite()
    if len(finite) < 2 or width < LABELS + LEAST:
        return []
    far = _far(finite)
    if far:
        finite = replace(finite, values=finite.values.log10())
    places = [(one, math.log10(one.value) if far else one.value) for one in levels if one.value > 0 or not far]
    low, high = _range(finite, [place for _, place in places], whole=far)
    if low == high:
        return []
    inside = [(one, place) for one, place in places if low <= place <= high]
    names = [_short(one, max(8, width // 3)) for one, _ in inside]
    beside = max(map(len, names), default=-1) + 1
    if width - LABELS - beside < LEAST:
        names, beside = [""] * len(names), 0
    columns = width - LABELS - beside
    cells = _curve(finite, low, high, columns, height)
    rows = [[chr(cell) for cell in line] for line in cells]
    labels = [""] * height
    for (_, place), name in zip(inside, names, strict=True):
        at = _row(place, low, high, height)
        rows[at] = ["╌" if cell == "\u2800" and i % 2 == 0 else cell for i, cell in enumerate(rows[at])]
        labels[at] = labels[at] or name
    ends = [f"{10**high if far else high:.4g}", *[""] * (height - 2), f"{10**low if far else low:.4g}"]
    body = [f"{end:>{LABELS - 1}} {''.join(row)} {label}".rstrip() for end, row, label in zip(ends, rows, labels, strict=True)]
    first, last = f"{int(finite.steps[0]):,}", f"{int(finite.steps[-1]):,}"
    gap = max(1, columns - len(first) - len(last))
    return [*body, f"{'log, step' if far else 'step':>{LABELS - 1}} {first}{' ' * gap}{last}"]


def _far(series: Series) -> bool:
    """Whether the curve is drawn over the logarithm of the loss."""
    middle = float(series.values.median())
    return float(series.values.min()) > 0 and float(series.values.max()) > FAR * middle


def _range(series: Series, places: Sequence[float], *, whole: bool) -> tuple[float, float]:
    """From the lowest to the highest value; if not ``whole``, of nearly all: one spike must not flatten the curve."""
    values = series.values if len(series) < 1000 or whole else series.values[:: max(1, len(series) // 10_000)]
    low, high = float(values.min()), float(values.max())
    if len(values) > 50 and not whole:
        high = float(torch.quantile(values, 0.995))
    span = (high - low) or abs(high) or 1.0
    if not math.isfinite(4 * span):  # beyond what can be scaled
        return 0.0, 0.0
    near = [place for place in places if low - span <= place <= high + span]
    low, high = min([low, *near]), max([high, *near])
    return (low, high) if high > low else (low - span / 2, high + span / 2)


def _curve(series: Series, low: float, high: float, columns: int, height: int) -> list[list[int]]:
    cells = [[0x2800] * columns for _ in range(height)]
    steps, values = thin(series, 4 * columns)
    first, span = float(steps[0]), float(steps[-1] - steps[0]) or 1.0
    dots: dict[int, tuple[int, int]] = {}
    for step, value in zip(steps.tolist(), values.tolist(), strict=True):
        if not math.isfinite(value):
            continue
        column = min(2 * columns - 1, int((step - first) / span * (2 * columns - 1)))
        row = 4 * height - 1 - round((min(max(value, low), high) - low) / (high - low) * (4 * height - 1))
        top, bottom = dots.get(column, (row, row))
        dots[column] = (min(top, row), max(bottom, row))
    for column, (top, bottom) in dots.items():
        for row in range(top, bottom + 1):
            cells[row // 4][column // 2] |= _DOTS[row % 4][column % 2]
    return cells


def _row(value: float, low: float, high: float, height: int) -> int:
    return (4 * height - 1 - round((value - low) / (high - low) * (4 * height - 1))) // 4


def _short(level: Level, most: int) -> str:
    """The name up to its colon, where that fits."""
    name = level.name.split(":")[0].strip()
    return name if len(name) <= most else f"{name[: most - 1]}…"
