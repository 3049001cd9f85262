"""The picture of a proof: a dot with its interval for each candidate and model, as one inline SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

from ..advice import Scored
from ..printed import digits, model_of

__all__ = ["dots"]

WIDTH, ROW, LEFT, TOP = 360, 26, 8, 4
_SHAPE = {"linear": "circle", "mlp": "square"}


def dots(rows: Sequence[Scored], *, first: str, avoid: Sequence[str], label: str) -> str:
    """All rows of one metric on one axis; the first choice is filled, the name stands above its interval."""
    finite = [value for one in rows for value in (one.low, one.mean, one.high) if math.isfinite(value)]
    names = list(dict.fromkeys(one.loss for one in rows))
    if not finite or not names:
        return ""
    low, high = min(finite), max(finite)
    span = (high - low) or max(abs(high), 1e-9)

    def across(value: float) -> float:
        return LEFT + (WIDTH - 2 * LEFT) * (min(max(value, low), high) - low) / span

    height = TOP + sum(18 + ROW * sum(one.loss == name for one in rows) for name in names) + 34
    parts, y = [], TOP
    for name in names:
        role = "first" if name == first else "wrong" if name in avoid else "other"
        note = " (first choice)" if name == first else " (avoid)" if name in avoid else ""
        y += 16
        parts.append(f'<text class="{role}" x="{LEFT}" y="{y}">{escape(name + note)}</text>')
        for one in (each for each in rows if each.loss == name):
            parts.append(_row(one, role, y + ROW / 2, across))
            y += ROW
        y += 2
    parts.append(f'<line class="axis" x1="{LEFT}" x2="{WIDTH - LEFT}" y1="{y + 6}" y2="{y + 6}"/>')
    for value, anchor in ((low, "start"), (low + span / 2, "middle"), (high, "end")):
        parts.append(f'<text class="tick" x="{across(value):.1f}" y="{y + 22}" text-anchor="{anchor}">{value:.3g}</text>')
    body = "".join(parts)
    return f'<svg class="dots" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">{body}</svg>'


def _row(one: Scored, role: str, y: float, across: Callable[[float], float]) -> str:
    """One interval and its dot."""
    x = across(one.mean)
    ends = (across(one.low), across(one.high)) if math.isfinite(one.low) and math.isfinite(one.high) else (x, x)
    said = f"{model_of(one.model) or one.model}: {digits(one.mean)}, {digits(one.low)} to {digits(one.high)}"
    mark = (
        f'<circle cx="{x:.1f}" cy="{y}" r="5"/>'
        if _SHAPE.get(one.model) == "circle"
        else f'<rect x="{x - 4.5:.1f}" y="{y - 4.5}" width="9" height="9"/>'
    )
    line = f'<line x1="{ends[0]:.1f}" x2="{ends[1]:.1f}" y1="{y}" y2="{y}"/>'
    return f'<g class="{role}" data-value="{one.mean!r}"><title>{escape(said)}</title>{line}{mark}</g>'
