"""The README's picture: a confident mistake, as a formula and on handwritten digits; the runs are recorded in the JSON beside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypedDict

from . import figure
from .computed import column
from .d04_gradients import pulls, shrug_and_scream
from .drawing import EDGE, Axes, Drawing, Number

__all__ = ["RECORD", "Record", "Run", "readme", "recorded"]

RECORD = Path(__file__).with_suffix(".json")
MISTAKE = 0.0001


class Run(TypedDict):
    """One loss, at its best learning rate: means over the splits."""

    rate: float
    first_gradient: float
    steps_to_goal: float | None
    accuracy: list[float]
    """On the test rows, after every ``every`` steps."""


class Record(TypedDict):
    """What ``tools/figures.py --record`` measured with the functions of the demo why-cross-entropy."""

    start: float
    goal: float
    splits: int
    every: int
    steps: int
    runs: dict[str, Run]


def recorded() -> Record:
    """The record in the repository."""
    record: Record = json.loads(RECORD.read_text())
    return record


def _formula(drawing: Drawing) -> None:
    drawing.heading(112, "The pull of one mistake")
    axes = Axes(EDGE + 26, 132, 270, 172, 1e-4, 0.9999, 0, 1, log=True)
    x = tuple(Number(f"x {p:g}", p) for p in (0.0001, 0.01, 0.5))
    shrug_and_scream(drawing, axes, x, (Number("y 0", 0.0), Number("y 1", 1.0)))
    drawing.text(EDGE + 161, 346, "probability of the truth", size=13, anchor="middle", style="muted")
    squared, cross = pulls(column(MISTAKE))
    drawing.text(EDGE + 38, 164, Number("scream", float(cross.abs()), ".4f"), " cross-entropy", size=15, style="bold right")
    drawing.text(EDGE + 38, 286, Number("shrug", float(squared.abs()), ".4f"), " squared error", size=15, style="bold wrong")


def _digits(drawing: Drawing, record: Record) -> None:
    left, steps = 384, record["steps"]
    drawing.heading(112, "Digits, from a wrong belief", x=left)
    axes = Axes(left + 38, 132, 260, 172, 0, steps, 0, 1)
    ticks = [Number(f"step {n}", n) for n in range(0, steps + 1, steps // 4)]
    axes.grid(drawing, ticks, [Number(f"accuracy {y}", y, ".0%") for y in (0.0, 0.5, 1.0)])
    for name, style in (("squared error", "wrong"), ("cross-entropy", "right")):
        accuracy = record["runs"][name]["accuracy"]
        at = [float(record["every"] * i) for i in range(len(accuracy))]
        drawing.curve(axes.points(at, accuracy), style, f"digits {name}")
    reached = record["runs"]["cross-entropy"]["steps_to_goal"]
    assert reached is not None
    drawing.circle(*axes.at(reached, record["goal"]), 4.5, "right")
    x, y = axes.at(reached, record["goal"])
    goal = Number("goal", record["goal"], ".0%")
    drawing.text(x + 12, y + 22, goal, " after ", Number("steps", reached, ".0f"), " steps", size=15, style="bold right")
    last = record["runs"]["squared error"]["accuracy"][-1]
    drawing.text(x + 12, 250, Number("last", last, ".0%"), " after ", Number("cap", steps), size=15, style="bold wrong")
    for name, style, below in (("cross-entropy", "right", y + 42), ("squared error", "wrong", 270)):
        first = Number(f"first {name}", record["runs"][name]["first_gradient"], ".2g" if style == "right" else ".6f")
        drawing.text(x + 12, below, "first gradient ", first, size=13, style=style)
    drawing.text(left + 168, 346, "steps of SGD, test accuracy", size=13, anchor="middle", style="muted")


@figure(
    title="Squared error shrugs, cross-entropy screams",
    lead="A model is sure of a wrong answer. Each loss at its best learning rate: one gets out.",
    description="Left: the size of the gradient on a score against the probability given to the truth; cross-entropy's is "
    "largest on a confident mistake, squared error's vanishes there. Right: test accuracy on handwritten digits from a "
    "confidently wrong start; cross-entropy learns, squared error does not.",
    height=372,
)
def readme(drawing: Drawing) -> None:
    """Draw the formula, then the runs."""
    _formula(drawing)
    _digits(drawing, recorded())
