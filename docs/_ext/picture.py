"""A curve as an inline SVG: two panels, value and gradient, coloured by the theme, so that it follows light and dark."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from losskit.explore.curves import Curve

__all__ = ["picture", "ticks"]

At = Callable[[float, float], tuple[float, float]]

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 360, 230, 52, 10, 26, 42


def picture(curve: Curve, name: str) -> str:
    """Value and gradient side by side, below each other where the window is narrow."""
    x = curve.x.tolist()
    panels = [
        _panel(f"{title} of {name}", title, curve.axis, x, y.tolist())
        for title, y in (("value", curve.value), ("gradient", curve.gradient))
    ]
    return f'<div class="curves">{"".join(panels)}</div>'


def _framed(low: float, high: float) -> tuple[float, float]:
    """The range, widened to the next ticks, so that a curve that comes close to 0 shows its 0."""
    if high - low < 1e-9 * (1 + abs(high)):
        return low - 1, high + 1
    marks = ticks(low, high)
    step = marks[1] - marks[0]
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """At most ``most`` round numbers in [low, high]: steps of 1, 2 or 5 times a power of ten."""
    span = high - low
    exponent = math.floor(math.log10(span / most))
    step = next(s * 10.0**e for e in (exponent, exponent + 1) for s in (1, 2, 5) if span / (s * 10.0**e) <= most)
    return [k * step for k in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _panel(label: str, title: str, axis: str, x: list[float], y: list[float]) -> str:
    points = [(a, b) for a, b in zip(x, y, strict=True) if math.isfinite(b)]
    low, high = _framed(min(b for _, b in points), max(b for _, b in points))

    def at(a: float, b: float) -> tuple[float, float]:
        across = (a - x[0]) / (x[-1] - x[0]) * (_WIDTH - _LEFT - _RIGHT)
        up = (b - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)
        return _LEFT + across, _HEIGHT - _BOTTOM - up

    line = " ".join(f"{a:.1f},{b:.1f}" for a, b in (at(*point) for point in points))
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">'
        f'<text class="title" x="{_LEFT}" y="16">{title}</text>'
        + "".join(_grid(low, high, x[0], x[-1], at))
        + f'<polyline class="{title}" points="{line}"/>'
        f'<text class="axis" x="{(_LEFT + _WIDTH - _RIGHT) / 2}" y="{_HEIGHT - 8}">{axis}</text></svg>'
    )


def _grid(low: float, high: float, left: float, right: float, at: At) -> Iterator[str]:
    """A line and its number for each tick; the line through 0 is stronger."""
    for tick in ticks(low, high):
        (x1, y), (x2, _) = at(left, tick), at(right, tick)
        yield f'<line{_strength(tick)} x1="{x1:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="y" x="{x1 - 6:.1f}" y="{y + 4:.1f}">{_number(tick)}</text>'
    for tick in ticks(left, right, 7):
        (x, y1), (_, y2) = at(tick, low), at(tick, high)
        yield f'<line{_strength(tick)} x1="{x:.1f}" y1="{y1:.1f}" x2="{x:.1f}" y2="{y2:.1f}"/>'
        yield f'<text class="x" x="{x:.1f}" y="{y1 + 16:.1f}">{_number(tick)}</text>'


def _strength(tick: float) -> str:
    return ' class="zero"' if abs(tick) < 1e-12 else ""


def _number(tick: float) -> str:
    return "0" if abs(tick) < 1e-12 else f"{tick:.4g}".replace("-", "\N{MINUS SIGN}")
