"""D2: the three faces of cross-entropy, what each probability costs, and one example to the end."""

from __future__ import annotations

import torch

from ...losses.binary import binary_cross_entropy_with_logits
from ...losses.cross_entropy import cross_entropy
from . import figure
from .computed import column, floats, slope
from .drawing import EDGE, WIDTH, Drawing, Formula, Number

__all__ = ["cross_entropy_formula"]

GIVEN = (0.99, 0.9, 0.7, 0.5, 0.1, 0.01, 0.001)
SCORES = (2.0, 1.0, 0.1)
FORMULAS = (
    ("two classes", "−[y ln p + (1 − y) ln(1 − p)]"),
    ("many classes", "−Σ y ln p  =  −ln p(true)"),
    ("from scores z", "ln Σ exp(z) − z(true),   gradient: softmax(z) − onehot"),
)


def _costs(drawing: Drawing) -> None:
    given = column(*GIVEN)
    costs = floats(binary_cross_entropy_with_logits(given.logit(), torch.ones_like(given), reduction="none"))
    drawing.heading(214, "What the probability of the truth costs: −ln p")
    base, tall = 386, 20
    for i, (p, cost) in enumerate(zip(GIVEN, costs, strict=True)):
        x, style = EDGE + 10 + 94 * i, "right" if p >= 0.5 else "wrong"
        drawing.column(x, base, cost * tall, 52, style, "cost", cost)
        drawing.text(x + 26, base - cost * tall - 8, Number(f"cost {p:g}", cost, ".3f", "bold"), size=15, anchor="middle")
        drawing.text(x + 26, base + 22, "p = ", Number(f"p {p:g}", p, "g"), size=13, anchor="middle", style="muted")
    drawing.line(EDGE, base, WIDTH - EDGE, base)


def _worked(drawing: Drawing) -> None:
    z, truth = column(*SCORES)[None], torch.tensor([0])
    cost = float(cross_entropy(z, truth))
    pulls = floats(slope(lambda scores: cross_entropy(scores, truth), z))
    p = floats(z.softmax(-1))
    drawing.heading(448, "One example, three classes")
    for x, name, anchor in ((180, "score z", "end"), (220, "probability", "start"), (420, "gradient", "start")):
        drawing.text(x, 474, name, size=13, style="muted", anchor=anchor)
    for i, (score, share, pull) in enumerate(zip(SCORES, p, pulls, strict=True)):
        y, style = 502 + 28 * i, "right" if i == 0 else "muted"
        drawing.text(EDGE, y, ("the truth", "another class", "another class")[i], style="bold" if i == 0 else "")
        drawing.text(180, y, Number(f"z {i}", score, ".1f"), size=14, anchor="end")
        drawing.bar(220, y - 12, share * 110, 14, "right" if i == 0 else "dull", "share", share)
        drawing.text(228 + share * 110, y, Number(f"share {i}", share, ".3f", "bold"), size=14)
        drawing.text(480, y, Number(f"gradient {i}", pull, "+.3f", f"bold {style}"), size=14, anchor="end")
    drawing.text(420, 582, "they add up to ", Number("sum", sum(pulls), ".0f"), size=13, style="muted")
    drawing.rect(548, 474, 140, 90, "pale-right", radius=8)
    drawing.text(618, 504, "−ln ", Number("share of the truth", p[0], ".3f"), size=14, anchor="middle", style="muted")
    drawing.text(618, 540, Number("loss", cost, ".4f", "bold right"), size=26, anchor="middle")


@figure(
    title="Cross-entropy",
    lead="Minus the logarithm of the probability that the model gave to the truth.",
    description="The formula for two classes, for many, and from scores. Columns show the loss growing without bound as the "
    "probability of the truth falls. A worked example of three classes ends with a gradient that adds up to nothing.",
    height=606,
)
def cross_entropy_formula(drawing: Drawing) -> None:
    """Draw formulas, costs and the example."""
    for i, (name, formula) in enumerate(FORMULAS):
        drawing.text(EDGE, 112 + 27 * i, name, size=14, style="muted")
        drawing.text(170, 112 + 27 * i, Formula(formula), size=15)
    _costs(drawing)
    _worked(drawing)
