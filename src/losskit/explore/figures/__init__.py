"""The pictures of the documentation, drawn by code: each file here is one figure, and its numbers are losskit's own.

A figure is a module of this package with one function under :func:`figure`; nothing else has to know of it.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from .drawing import Drawing

__all__ = ["FIGURES", "Figure", "discover", "figure"]

Draw = Callable[[Drawing], None]


@dataclass(frozen=True)
class Figure:
    """One picture: ``lead`` is the line under its title, ``description`` what a screen reader says of it."""

    name: str
    title: str
    lead: str
    description: str
    height: int
    draw: Draw

    def svg(self) -> str:
        """The picture as the text of an SVG file."""
        drawing = Drawing(self.title, self.lead, self.description, self.height)
        self.draw(drawing)
        return drawing.svg()


FIGURES: dict[str, Figure] = {}


def figure(*, title: str, lead: str, description: str, height: int) -> Callable[[Draw], Draw]:
    """Register the picture of a module, under the name of the module."""

    def register(draw: Draw) -> Draw:
        name = draw.__module__.rpartition(".")[2]
        FIGURES[name] = Figure(name, title, lead, description, height, draw)
        return draw

    return register


def discover() -> list[Figure]:
    """Every figure there is, in order: each module of this package is imported once."""
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        import_module(module.name)
    return [FIGURES[name] for name in sorted(FIGURES)]
