"""D9: the smoothed target, the floor under its loss, and two conventions that share a name."""

from __future__ import annotations

import torch
from torch import Tensor

from ...core.card import reference
from ...losses.cross_entropy import cross_entropy
from . import figure
from .computed import best_constant, column, floats
from .drawing import EDGE, WIDTH, Axes, Drawing, Formula, Number

__all__ = ["label_smoothing"]

EPS, FEW, MANY = 0.1, 4, 10
SPLIT = 300


def smoothed(classes: int, *, spare: bool = False) -> Tensor:
    """(classes,) the target of class 0; ``spare`` gives eps to the other classes only."""
    share = EPS / (classes - 1 if spare else classes)
    own = 1 - EPS + (0 if spare else share)
    return column(own, *[share] * (classes - 1))


def cost(lead: Tensor, target: Tensor) -> Tensor:
    """The loss where the score of class 0 is ``lead`` above all others."""
    scores = torch.cat([lead[:, None], lead.new_zeros(len(lead), len(target) - 1)], dim=-1)
    return cross_entropy(scores, target.expand_as(scores), reduction="none")


def _target(drawing: Drawing) -> None:
    drawing.heading(112, Number("K few", FEW), " classes, ε = ", Number("eps", EPS))
    base, unit = 306, 140
    for i, share in enumerate(floats(smoothed(FEW))):
        x = EDGE + 54 * i
        drawing.column(x, base, share * unit, 40, "dull" if i else "right", "target", share)
        drawing.text(x + 20, base - share * unit - 9, Number(f"target {i}", share, ".3f", "bold"), anchor="middle")
        drawing.text(x + 20, base + 20, "other" if i else "true", size=13, anchor="middle", style="muted")
    drawing.line(EDGE, base, EDGE + 202, base)
    floor = reference("cross_entropy", num_classes=FEW, label_smoothing=EPS).floor
    assert floor is not None
    drawing.text(EDGE, base + 50, "lowest loss ", Number("floor few", floor, ".4f", "bold"))


def _lead(drawing: Drawing) -> None:
    """The loss over the lead of the true score, smoothed and not."""
    drawing.heading(112, Number("K many", MANY), " classes: loss over the lead of the true score", x=SPLIT)
    axes = Axes(SPLIT + 24, 130, 358, 176, 0, 10, 0, 2.5)
    axes.grid(drawing, [Number(f"x {x}", x) for x in (0, 2, 4, 6, 8, 10)], [Number(f"y {y}", y) for y in (0, 1, 2)])
    lead = torch.linspace(0, 10, 101, dtype=torch.float64)
    hard = cross_entropy(
        torch.cat([lead[:, None], lead.new_zeros(101, MANY - 1)], -1), lead.new_zeros(101).long(), reduction="none"
    )
    drawing.curve(axes.points(floats(lead), floats(hard)), "muted", "hard")
    drawing.curve(axes.points(floats(lead), floats(cost(lead, smoothed(MANY)))), "right", "smoothed")
    best, floor = _best(smoothed(MANY))
    drawing.line(*axes.at(best, 0), *axes.at(best, floor), "right dash")
    drawing.circle(*axes.at(best, floor), 5, "right")
    x, y = axes.at(best, floor)
    drawing.text(x + 4, y - 16, "floor ", Number("floor many", floor, ".4f"), style="bold right")
    drawing.text(*axes.at(9.9, 1.12), "smoothed", anchor="end", style="right")
    drawing.text(*axes.at(9.9, 0.12), "not smoothed", anchor="end", style="muted")
    drawing.text(SPLIT + 24, 356, "A loss stuck at ", Number("stuck", floor, ".4f"), " is done, not broken.")


def _best(target: Tensor) -> tuple[float, float]:
    best = best_constant(lambda lead: cost(lead, target), 0.0, 20.0)
    return best, float(cost(column(best), target))


def _conventions(drawing: Drawing) -> None:
    drawing.line(EDGE, 380, WIDTH - EDGE, 380)
    drawing.heading(412, "Two conventions, one name")
    for x, name in ((380, "true class"), (480, "each other"), (580, "best lead"), (WIDTH - EDGE, "floor")):
        drawing.text(x, 412, name, size=13, anchor="end", style="muted")
    for i, (formula, who, spare) in enumerate((("ε / K", "losskit, torch", False), ("ε / (K − 1)", "others", True))):
        y, target = 444 + 30 * i, smoothed(MANY, spare=spare)
        best, floor = _best(target)
        drawing.text(EDGE, y, Formula(formula, "bold"))
        drawing.text(EDGE + 104, y, who, style="muted")
        own, other = floats(target)[:2]
        for x, name, value, format in (
            (380, "own", own, ".2f"),
            (480, "other", other, ".4f"),
            (580, "lead", best, ".3f"),
            (WIDTH - EDGE, "floor", floor, ".4f"),
        ):
            drawing.text(x, y, Number(f"{name} {i}", value, format), size=15, anchor="end")


@figure(
    title="Label smoothing",
    lead="The truth keeps most of the target and the rest is shared out; so the loss never reaches zero.",
    description="Columns show a smoothed target of four classes. A plot shows that the smoothed loss has a lowest point at a "
    "finite lead of the true score. A table compares sharing among all classes with sharing among the others only.",
    height=504,
)
def label_smoothing(drawing: Drawing) -> None:
    """Draw target, floor and conventions."""
    _target(drawing)
    _lead(drawing)
    _conventions(drawing)
