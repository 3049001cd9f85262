"""D3: from the product of probabilities to a mean of logarithms, and what other noise makes of the same step."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...losses.binary import binary_cross_entropy_with_logits
from ...losses.likelihood import gaussian_nll_loss, laplace_nll_loss
from . import figure
from .computed import column, floats
from .drawing import EDGE, WIDTH, Axes, Drawing, Number

__all__ = ["maximum_likelihood"]

GIVEN = (0.9, 0.8, 0.7)
COLUMNS = (254, 354, 454)
RESULT = 620


def _chain(drawing: Drawing) -> None:
    given = column(*GIVEN)
    costs = binary_cross_entropy_with_logits(given.logit(), torch.ones_like(given), reduction="none")
    total = float(costs.sum())
    for x, p, cost, sign in zip(COLUMNS, GIVEN, floats(costs), ("×", "×", "="), strict=True):
        drawing.box(x - 36, 98, 72, 42, (Number(f"p {p:g}", p),))
        drawing.text(x + 50, 124, sign, size=16, anchor="middle", style="muted")
        drawing.arrow((x, 146), (x, 168), style="muted")
        drawing.text(x, 196, Number(f"ln {p:g}", -cost, ".3f"), size=15, anchor="middle")
        drawing.text(x + 50, 196, "=" if sign == "=" else "+", size=16, anchor="middle", style="muted")
    drawing.text(EDGE, 124, "three right answers")
    drawing.text(EDGE, 196, "their logarithms")
    drawing.text(EDGE, 262, "minus, and the mean of ", Number("rows", len(GIVEN)))
    for y, name, value, format, style in (
        (98, "likelihood", math.exp(-total), ".3f", "box"),
        (170, "log-likelihood", -total, ".4f", "box"),
        (236, "cross-entropy", total / len(GIVEN), ".4f", "pale-right"),
    ):
        drawing.box(
            RESULT - 68, y, 136, 46, (Number(name, value, format, "right" if style != "box" else ""),), (name,), style=style
        )
    drawing.arrow((RESULT, 219), (RESULT, 233), style="muted")
    drawing.text(COLUMNS[0] - 36, 262, "likeliest parameters = lowest loss", style="muted")


def _noise(drawing: Drawing, x: float, name: str, becomes: str, cost: Tensor, error: Tensor) -> None:
    """A density and, beside it, minus its logarithm."""
    drawing.text(x, 372, name, style="bold")
    drawing.text(x + 166, 372, becomes, style="bold right")
    wide, tall, top = 140, 96, 392
    density = (-cost).exp()
    for left, values, high, style, kind in (
        (x, density, 0.55, "ink", "density"),
        (x + 166, cost - cost.min(), 4.6, "right", "cost"),
    ):
        axes = Axes(left, top, wide, tall, -3, 3, 0, high)
        drawing.line(*axes.at(-3, 0), *axes.at(3, 0))
        drawing.line(*axes.at(0, 0), *axes.at(0, high), "grid")
        drawing.curve(axes.points(floats(error), floats(values)), style, f"{name} {kind}")
    drawing.arrow((x + 144, top + 56), (x + 164, top + 56), style="muted")


@figure(
    title="Cross-entropy is maximum likelihood",
    lead="Logarithms turn a tiny product into a mean, and a mean can be trained on.",
    description="Three probabilities are multiplied to a likelihood; their logarithms are added to the log-likelihood; minus its "
    "mean is the cross-entropy. Below, a normal density gives squared error and a Laplace density gives absolute error.",
    height=536,
)
def maximum_likelihood(drawing: Drawing) -> None:
    """Draw the chain, then two densities."""
    _chain(drawing)
    drawing.line(EDGE, 306, WIDTH - EDGE, 306)
    drawing.heading(338, "The same step for errors of a number")
    error = torch.linspace(-3, 3, 121, dtype=torch.float64)
    zero = torch.zeros_like(error)
    normal = gaussian_nll_loss(error, zero, log_var=0.0, reduction="none")
    laplace = laplace_nll_loss(error, zero, log_scale=0.0, reduction="none")
    _noise(drawing, EDGE, "normal errors", "squared error", normal, error)
    _noise(drawing, 382, "Laplace errors", "absolute error", laplace, error)
    for x, name in ((EDGE + 70, "density"), (EDGE + 236, "−ln density"), (452, "density"), (618, "−ln density")):
        drawing.text(x, 510, name, size=13, anchor="middle", style="muted")
