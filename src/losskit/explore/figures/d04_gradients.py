"""D4: the gradient on a sigmoid's logit under squared error and under cross-entropy."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...losses.binary import binary_cross_entropy_with_logits
from ...losses.regression import mse_loss
from . import figure
from .computed import column, floats, slope
from .drawing import EDGE, WIDTH, Axes, Drawing, Formula, Number

__all__ = ["gradients", "pulls", "shrug_and_scream"]

GIVEN = (0.0001, 0.001, 0.01, 0.1, 0.5, 0.9)


def pulls(p: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients on the logit of one sigmoid whose target is 1: of squared error and of cross-entropy."""
    one = torch.ones_like(p)
    squared = slope(lambda z: mse_loss(z.sigmoid(), one, reduction="sum"), p.logit())
    return squared, slope(lambda z: binary_cross_entropy_with_logits(z, one, reduction="sum"), p.logit())


def shrug_and_scream(drawing: Drawing, axes: Axes, x: tuple[Number, ...], y: tuple[Number, ...]) -> None:
    """Both sizes of gradient over the probability of the truth."""
    axes.grid(drawing, x, y)
    p = torch.logspace(math.log10(axes.left), math.log10(axes.right), 121, dtype=torch.float64)
    squared, cross = pulls(p)
    drawing.curve(axes.points(floats(p), floats(squared.abs())), "wrong", "squared error")
    drawing.curve(axes.points(floats(p), floats(cross.abs())), "right", "cross-entropy")


def _table(drawing: Drawing) -> None:
    squared, cross = map(floats, pulls(column(*GIVEN)))
    rows = (
        ("p of the truth", "p", GIVEN, "g", "muted"),
        ("squared error", "squared error", squared, ".4f", "wrong"),
        ("cross-entropy", "cross-entropy", cross, ".4f", "right"),
        ("larger by", "ratio", [c / s for c, s in zip(cross, squared, strict=True)], ",.1f", "bold"),
    )
    for i, (said, name, values, format, style) in enumerate(rows):
        y = 412 + 31 * i
        drawing.text(EDGE, y, said, style=style)
        for j, (p, value) in enumerate(zip(GIVEN, values, strict=True)):
            more = " ×" if name == "ratio" else ""
            drawing.text(238 + 90 * j, y, Number(f"{name} {p:g}", value, format), more, anchor="end", style=style)
        if i in (0, 2):
            drawing.line(EDGE, y + 11, WIDTH - EDGE, y + 11, "grid" if i else "rule")


@figure(
    title="Two gradients on one mistake",
    lead="How hard each loss pulls on the score of one sigmoid whose target is yes.",
    description="Size of the gradient against the probability given to the truth, on a logarithmic axis. Cross-entropy's rises "
    "to one on a confident mistake. Squared error's is highest at a third and vanishes on both sides. A table has the numbers.",
    height=540,
)
def gradients(drawing: Drawing) -> None:
    """Draw the two curves and their table."""
    axes = Axes(76, 104, 596, 216, 1e-4, 0.9999, 0, 1, log=True)
    x = tuple(Number(f"x {p:g}", p) for p in (0.0001, 0.001, 0.01, 0.1, 0.5))
    shrug_and_scream(drawing, axes, x, tuple(Number(f"y {y:g}", y, ".1f") for y in (0.0, 0.5, 1.0)))
    drawing.text(
        374, 362, "probability given to the truth: the further left, the more wrong", size=13, anchor="middle", style="muted"
    )
    drawing.text(96, 130, "cross-entropy: ", Formula("1 − p"), size=15, style="bold right")
    drawing.text(96, 296, "squared error: ", Formula("2p(1 − p)²"), size=15, style="bold wrong")
    peak = float(pulls(column(1 / 3))[0].abs())
    top = axes.at(1 / 3, peak)
    drawing.circle(*top, 4, "wrong")
    drawing.text(top[0] - 6, top[1] - 12, "never above ", Number("peak", peak, ".3f"), size=13, anchor="end", style="wrong")
    _table(drawing)
