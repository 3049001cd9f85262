"""The few marks that the figures are made of, as SVG; a number is drawn with its full value beside what is printed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

from .look import FONT, STYLE

__all__ = ["EDGE", "WIDTH", "Axes", "Drawing", "Formula", "Number", "Part", "printed"]

WIDTH, EDGE = 720, 32


class Number(NamedTuple):
    """A number to print: ``name`` is its own in the figure, ``format`` is Python's, ``style`` a class of the style sheet."""

    name: str
    value: float
    format: str = "g"
    style: str = ""


class Formula(NamedTuple):
    """A text whose digits are not numbers of the figure but part of a formula."""

    text: str
    style: str = ""


Part = str | Number | Formula


def printed(value: float, format: str) -> str:
    """As a person reads it: a true minus, and none before a zero."""
    text = f"{value:{format}}"
    if not any(digit in text for digit in "123456789"):
        text = text.lstrip("-")
    return text.replace("-", "\N{MINUS SIGN}")


class Drawing:
    """A picture ``WIDTH`` wide that marks are added to, with its title and a panel of its own behind them."""

    def __init__(self, title: str, lead: str, description: str, height: int) -> None:
        self.height, self._marks = height, list[str]()
        self._head = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
        self.rect(0.5, 0.5, WIDTH - 1, height - 1, "panel", radius=10)
        self.text(EDGE, 47, title, size=21, style="bold")
        self.text(EDGE, 72, lead, size=14, style="muted")

    def svg(self) -> str:
        """The whole file."""
        size = f'viewBox="0 0 {WIDTH} {self.height}" width="{WIDTH}" height="{self.height}"'
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" font-family="{escape(FONT)}">'
        return "\n".join([opening, self._head, f"<style>{STYLE}</style>", *self._marks, "</svg>", ""])

    def text(self, x: float, y: float, *parts: Part, size: int = 14, anchor: str = "start", style: str = "") -> None:
        """A line of text with its baseline at y; ``anchor`` is start, middle or end."""
        placed = f'x="{_at(x)}" y="{_at(y)}" font-size="{size}"' + (f' text-anchor="{anchor}"' if anchor != "start" else "")
        self._marks.append(f"<text{_class(style)} {placed}>{''.join(map(_span, parts))}</text>")

    def heading(self, y: float, *parts: Part, x: float = EDGE) -> None:
        """The title of a section."""
        self.text(x, y, *parts, size=15, style="bold")

    def rect(self, x: float, y: float, width: float, height: float, style: str, *, radius: float = 0, more: str = "") -> None:
        """A rectangle, its upper left corner at (x, y)."""
        corner = f' rx="{_at(radius)}"' if radius else ""
        place = f'x="{_at(x)}" y="{_at(y)}" width="{_at(width)}" height="{_at(height)}"'
        self._marks.append(f"<rect{_class(style)} {place}{corner}{more}/>")

    def box(self, x: float, y: float, width: float, height: float, *lines: Sequence[Part], style: str = "box") -> None:
        """A rounded box with its lines in the middle: the first says what it is, the others explain."""
        self.rect(x, y, width, height, style, radius=7)
        top = y + height / 2 + 5 - 9 * (len(lines) - 1)
        for i, line in enumerate(lines):
            self.text(x + width / 2, top + 19 * i, *line, size=13 if i else 14, anchor="middle", style="muted" if i else "bold")

    def bar(self, x: float, y: float, length: float, thickness: float, style: str, group: str, value: float) -> None:
        """A bar from (x, y) to the right; ``value`` is what its length is proportional to within its group."""
        more = f' data-bar="{group}" data-along="width" data-value="{value!r}"'
        self.rect(x if length >= 0 else x + length, y, abs(length), thickness, style, more=more)

    def column(self, x: float, base: float, length: float, thickness: float, style: str, group: str, value: float) -> None:
        """A bar that stands on the line y = base."""
        more = f' data-bar="{group}" data-along="height" data-value="{value!r}"'
        self.rect(x, base - length, thickness, length, style, more=more)

    def circle(self, x: float, y: float, radius: float, style: str) -> None:
        """A circle around (x, y)."""
        self._marks.append(f'<circle{_class(style)} cx="{_at(x)}" cy="{_at(y)}" r="{_at(radius)}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str = "rule") -> None:
        """A straight line."""
        self._marks.append(f'<line{_class(style)} x1="{_at(x1)}" y1="{_at(y1)}" x2="{_at(x2)}" y2="{_at(y2)}"/>')

    def curve(self, points: Iterable[tuple[float, float]], style: str, name: str = "") -> None:
        """A line through many points; ``name`` is for those who check what it shows."""
        more = f' data-curve="{name}"' if name else ""
        self._marks.append(f'<polyline{_class(style)}{more} points="{" ".join(f"{x:.2f},{y:.2f}" for x, y in points)}"/>')

    def arrow(self, *points: tuple[float, float], style: str = "ink") -> None:
        """A line through the points with a head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        long = math.hypot(x1 - x0, y1 - y0)
        dx, dy = (x1 - x0) / long, (y1 - y0) / long
        neck = x1 - 7 * dx, y1 - 7 * dy
        self.curve([*points[:-1], neck], f"arrow {style}")
        head = [(x1, y1), (x1 - 9 * dx - 4.5 * dy, y1 - 9 * dy + 4.5 * dx), (x1 - 9 * dx + 4.5 * dy, y1 - 9 * dy - 4.5 * dx)]
        corners = " ".join(f"{x:.2f},{y:.2f}" for x, y in head)
        self._marks.append(f'<polygon class="head {style}" points="{corners}"/>')

    def matrix(self, x: float, y: float, cell: float, rows: Sequence[Sequence[Number]], styles: Sequence[Sequence[str]]) -> None:
        """Numbers in square cells, each with its style."""
        for i, (row, style) in enumerate(zip(rows, styles, strict=True)):
            for j, (number, fill) in enumerate(zip(row, style, strict=True)):
                self.rect(x + j * cell, y + i * cell, cell - 3, cell - 3, fill, radius=4)
                self.text(x + j * cell + (cell - 3) / 2, y + i * cell + cell / 2 + 3.5, number, size=13, anchor="middle")


class Axes(NamedTuple):
    """A plot's area on the page and the ranges it shows; ``log`` is for x in powers of ten."""

    x: float
    y: float
    width: float
    height: float
    left: float
    right: float
    low: float
    high: float
    log: bool = False

    def at(self, a: float, b: float) -> tuple[float, float]:
        """Where on the page the point (a, b) is."""
        across = (
            math.log(a / self.left) / math.log(self.right / self.left) if self.log else (a - self.left) / (self.right - self.left)
        )
        return self.x + across * self.width, self.y + self.height * (self.high - b) / (self.high - self.low)

    def grid(self, drawing: Drawing, x: Sequence[Number], y: Sequence[Number]) -> None:
        """A line and its number for each tick; the lowest line of y is stronger."""
        for tick in y:
            _, level = self.at(self.left, tick.value)
            drawing.line(self.x, level, self.x + self.width, level, "grid" if tick.value > self.low else "rule")
            drawing.text(self.x - 8, level + 4, tick, size=12, anchor="end", style="muted")
        for tick in x:
            drawing.text(
                self.at(tick.value, self.low)[0], self.y + self.height + 19, tick, size=12, anchor="middle", style="muted"
            )

    def points(self, a: Sequence[float], b: Sequence[float]) -> list[tuple[float, float]]:
        """Where on the page a curve is."""
        return [self.at(*point) for point in zip(a, b, strict=True)]


def _at(place: float) -> str:
    return f"{place:.2f}".rstrip("0").rstrip(".")


def _class(style: str) -> str:
    return f' class="{style}"' if style else ""


def _span(part: Part) -> str:
    if isinstance(part, str):
        return escape(part, quote=False)
    if isinstance(part, Formula):
        return f"<tspan{_class(' '.join(filter(None, ('formula', part.style))))}>{escape(part.text, quote=False)}</tspan>"
    said = f'data-name="{part.name}" data-value="{float(part.value)!r}" data-format="{part.format}"'
    return f"<tspan{_class(part.style)} {said}>{printed(float(part.value), part.format)}</tspan>"
