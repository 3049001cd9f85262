"""D6: squared error as squares, one example beside its kin, and what a single outlier does to a constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from ...losses.huber import huber_loss
from ...losses.regression import l1_loss, mse_loss
from . import figure
from .computed import best_constant, column, floats
from .drawing import EDGE, WIDTH, Axes, Drawing, Number, Part

__all__ = ["squared_error"]

ERRORS = (1.0, 2.0, 10.0)
PREDICTED, TRUE = (2.5, 0.0, 2.0, 8.0), (3.0, -0.5, 2.0, 7.0)
TARGETS = (1.0, 2.0, 3.0, 4.0, 100.0)


def _squares(drawing: Drawing) -> None:
    zero, errors = column(0.0, 0.0, 0.0), column(*ERRORS)
    squared, absolute = (floats(loss(errors, zero, reduction="none")) for loss in (mse_loss, l1_loss))
    drawing.heading(112, "An error squared is an area")
    base, unit, x = 292, 15, EDGE + 8
    for error, square, plain in zip(ERRORS, squared, absolute, strict=True):
        style = "wrong" if error > 5 else "right"
        side = unit * square**0.5
        drawing.rect(x, base - side, side, side, f"pale-{style}")
        drawing.bar(x, base - 4, plain * unit, 4, style, "error", plain)
        middle = x + max(side, 30) / 2 - (15 - side / 2 if side < 30 else 0)
        drawing.text(middle, base + 22, Number(f"error {error:g}", plain), size=14, anchor="middle", style=style)
        area = Number(f"square {error:g}", square, "g", f"bold {style}")
        y, size = (base - side / 2 + 8, 22) if side > 100 else (base - side - 9, 15)
        drawing.text(x + side / 2, y, area, size=size, anchor="middle")
        x += side + 44
    drawing.text(EDGE, base + 46, "error below, its square above", size=13, style="muted")


def _worked(drawing: Drawing) -> None:
    drawing.heading(112, "One example, three losses", x=384)
    for i, (name, values) in enumerate((("predicted", PREDICTED), ("true", TRUE))):
        y = 144 + 26 * i
        drawing.text(384, y, name, style="muted")
        for j, value in enumerate(values):
            drawing.text(512 + 58 * j, y, Number(f"{name} {j}", value, ".1f"), anchor="end")
    drawing.line(384, 186, WIDTH - EDGE, 186, "grid")
    losses = (("mean squared error", mse_loss, ".3f"), ("mean absolute error", l1_loss, ".3f"), ("Huber", huber_loss, ".4f"))
    for i, (name, loss, format) in enumerate(losses):
        y = 214 + 28 * i
        more = (", delta ", Number("delta", 1.0)) if name == "Huber" else ()
        drawing.text(384, y, name, *more)
        drawing.text(
            WIDTH - EDGE - 2,
            y,
            Number(name, float(loss(column(*PREDICTED), column(*TRUE))), format, "bold"),
            size=15,
            anchor="end",
        )


def _outlier(drawing: Drawing) -> None:
    """A line of targets, and the constant that each loss would answer."""
    target = column(*TARGETS)
    best = {
        name: best_constant(partial(_of_constant, loss, target), -200.0, 200.0)
        for name, loss in (("squared error", mse_loss), ("absolute error", l1_loss))
    }
    drawing.line(EDGE, 364, WIDTH - EDGE, 364)
    drawing.heading(398, "One outlier, and the best constant answer")
    axes = Axes(EDGE + 16, 400, 616, 82, 0, 100, 0, 1)
    drawing.line(EDGE, 482, WIDTH - EDGE, 482)
    for value in TARGETS:
        drawing.circle(*axes.at(value, 0), 5, "ink")
    near: list[Part] = [part for value in TARGETS[:-1] for part in (Number(f"target {value:g}", value), "  ")]
    drawing.text(axes.at(2.5, 0)[0], 507, *near[:-1], size=13, anchor="middle", style="muted")
    drawing.text(axes.at(100, 0)[0], 507, Number("target 100", TARGETS[-1]), size=13, anchor="middle", style="muted")
    for name, style, height in (("absolute error", "right", 0.78), ("squared error", "wrong", 0.34)):
        x, y = axes.at(best[name], height)
        drawing.arrow((x, y), (x, 474), style=style)
        what = ": the median, " if style == "right" else ": the mean, "
        drawing.text(x + 9, y + 9, name, what, Number(f"best {name}", best[name], ".0f"), style=f"bold {style}")


def _of_constant(loss: Callable[[Tensor, Tensor], Tensor], target: Tensor, constant: Tensor) -> Tensor:
    return loss(constant.expand_as(target), target)


@figure(
    title="Squared error",
    lead="Twice the error costs four times as much; so one outlier can outweigh all the rest.",
    description="Squares with the sides of three errors show how the area grows. A worked example compares three losses. A line "
    "of five targets, one of them far away, shows the constant that squared error and absolute error would choose.",
    height=530,
)
def squared_error(drawing: Drawing) -> None:
    """Draw squares, example and outlier."""
    _squares(drawing)
    _worked(drawing)
    _outlier(drawing)
