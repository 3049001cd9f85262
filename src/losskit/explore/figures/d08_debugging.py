"""D8: what to ask of a loss, in order, and the numbers that the first step should show."""

from __future__ import annotations

from ...core.card import reference
from ...losses import binary as binary  # reference() knows of a loss once its file is loaded
from ...losses import cross_entropy as cross_entropy
from . import figure
from .drawing import EDGE, WIDTH, Drawing, Number

__all__ = ["debugging"]

QUESTIONS = (
    ("Is the first loss its reference?", "head, labels or scale are wrong:", "see the numbers below"),
    ("Does it learn one batch by heart?", "wiring: labels out of order, frozen weights,", "a softmax too many, the wrong sign"),
    ("Is it finite?", "smaller steps, clipped gradients; find", "the first tensor that is not"),
    ("Does it fall at all?", "which level is it at? Prior, smoothing", "floor, ln N, margin: each has its cause"),
    ("Does it fall without a spike?", "look at that very batch; warm up,", "or take smaller steps"),
    ("Does validation fall with it?", "overfitting: more data, regularise,", "or stop at its lowest point"),
)
CLASSES = (10, 1000, 50257, 128256)
TALL = 62


def _reference(drawing: Drawing, y: float) -> None:
    """ln 2 and the logarithms of some sizes of an output."""
    two = reference("binary_cross_entropy_with_logits").chance
    chances = [two, *(reference("cross_entropy", num_classes=n).chance for n in CLASSES)]
    drawing.line(EDGE, y - 32, WIDTH - EDGE, y - 32)
    drawing.heading(y, "What the first step should show: the logarithm of the number of classes")
    for i, (n, chance) in enumerate(zip((2, *CLASSES), chances, strict=True)):
        assert chance is not None
        x = EDGE + 134 * i
        drawing.text(x, y + 36, Number(f"chance {n}", chance, ".3f", "bold right"), size=19)
        drawing.text(x, y + 59, "ln ", Number(f"classes {n}", n, ",.0f"), size=13, style="muted")


@figure(
    title="A loss that does not do what it should",
    lead="Ask in this order; the first no is the place to look.",
    description="Six questions below each other, each with what to do if the answer is no. Below, the loss that an untrained "
    "model should show for several numbers of classes.",
    height=628,
)
def debugging(drawing: Drawing) -> None:
    """Draw the questions, then the numbers."""
    for i, (question, first, second) in enumerate(QUESTIONS):
        y = 100 + TALL * i
        drawing.box(EDGE, y, 284, 40, (question,))
        drawing.arrow((320, y + 20), (374, y + 20), style="wrong")
        drawing.text(345, y + 13, "no", size=13, anchor="middle", style="wrong")
        drawing.text(386, y + 17, first, size=13)
        drawing.text(386, y + 35, second, size=13)
        drawing.arrow((EDGE + 28, y + 43), (EDGE + 28, y + TALL - 3), style="right")
        drawing.text(EDGE + 40, y + 56, "yes", size=13, style="right")
    drawing.text(EDGE, 100 + TALL * len(QUESTIONS) + 18, "healthy: let it run", style="bold right")
    _reference(drawing, 544)
