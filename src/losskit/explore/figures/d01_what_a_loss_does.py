"""D1: the loop that a loss closes, and two answers with what they cost."""

from __future__ import annotations

import torch
from torch import Tensor

from ...losses.cross_entropy import cross_entropy
from . import figure
from .computed import floats, slope
from .drawing import EDGE, WIDTH, Drawing, Number

__all__ = ["what_a_loss_does"]

GIVEN = (0.9, 0.1)


def _cost(scores: Tensor) -> Tensor:
    """Of each row of two scores, the first class being true."""
    return cross_entropy(scores, torch.zeros(len(scores), dtype=torch.long), reduction="none")


def _loop(drawing: Drawing) -> None:
    top, tall = 104, 52
    places = {"input": (32, 96), "model": (166, 96), "prediction": (300, 120), "loss": (458, 96), "truth": (592, 96)}
    below = {"input": "a photo", "model": "weights", "prediction": "probabilities", "loss": "how wrong", "truth": "“cat”"}
    for name, (x, wide) in places.items():
        drawing.box(x, top, wide, tall, (name,), (below[name],), style="pale-right" if name == "loss" else "box")
    for x1, x2 in ((128, 166), (262, 300), (420, 458), (592, 554)):
        drawing.arrow((x1 + (4 if x2 > x1 else -4), top + tall / 2), (x2 - (4 if x2 > x1 else -4), top + tall / 2))
    low = top + 98
    drawing.box(446, low, 120, tall, ("gradient",), ("which way",))
    drawing.box(154, low, 120, tall, ("update",), ("one step down",))
    drawing.arrow((506, top + tall + 4), (506, low - 4))
    drawing.arrow((442, low + tall / 2), (278, low + tall / 2))
    drawing.arrow((214, low - 4), (214, top + tall + 4))


@figure(
    title="What a loss function does",
    lead="It turns “how wrong” into one number, and that number into a direction to move.",
    description="A loop: input, model, prediction; prediction and truth give a loss, the loss a gradient, the gradient an update "
    "of the model. Below, a good and a bad answer to the same photo with their loss and the size of their step.",
    height=420,
)
def what_a_loss_does(drawing: Drawing) -> None:
    """Draw the loop, then two answers."""
    _loop(drawing)
    scores = torch.tensor([[p, 1 - p] for p in GIVEN], dtype=torch.float64).log()
    costs, slopes = floats(_cost(scores)), floats(slope(_cost, scores)[:, 0])
    drawing.line(EDGE, 284, WIDTH - EDGE, 284)
    for x, name, anchor in (
        (32, "the photo is a cat", "start"),
        (250, "loss", "end"),
        (352, "gradient", "end"),
        (392, "step", "start"),
    ):
        drawing.text(x, 312, name, size=13, style="muted", anchor=anchor)
    for i, (p, cost, pull, style) in enumerate(zip(GIVEN, costs, slopes, ("right", "wrong"), strict=True)):
        y = 346 + 38 * i
        drawing.text(32, y, "model: cat ", Number(f"p {i}", p, ".1f", "bold"), size=15)
        drawing.text(250, y, Number(f"loss {i}", cost, ".3f", f"bold {style}"), size=15, anchor="end")
        drawing.text(352, y, Number(f"gradient {i}", pull, ".3f", f"bold {style}"), size=15, anchor="end")
        drawing.bar(392, y - 13, -pull * 200, 16, style, "step", -pull)
        drawing.text(400 - pull * 200, y, ("a small step", "a large step")[i], size=14, style=style)
