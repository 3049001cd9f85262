"""D10: what to do about a rare class: weights, focal loss, the prior."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch

from ...core.card import reference
from ...losses.binary import binary_cross_entropy_with_logits
from ...losses.focal import binary_focal_loss
from . import figure
from .computed import column, floats
from .drawing import EDGE, WIDTH, Drawing, Formula, Number

__all__ = ["class_imbalance"]

COUNTS = (900, 90, 10)
BETA, GAMMA, RARE = 0.999, 2.0, 0.01
EASY, HARD = (990, 0.95), (10, 0.1)


def losses(p: float) -> tuple[float, float]:
    """Cross-entropy and focal loss of one example whose truth got the probability p."""
    score, one = column(p).logit(), column(1.0)
    return float(binary_cross_entropy_with_logits(score, one)), float(binary_focal_loss(score, one, gamma=GAMMA))


class Shown(NamedTuple):
    """A column of the table of classes."""

    x: float
    name: str | Formula
    values: list[float]
    format: str
    style: str = ""


def _weights(drawing: Drawing) -> None:
    n = column(*COUNTS)
    # as class_weights gives them, which are float32: (1 - beta) / (1 - beta^n), with a mean of 1
    effective = (1 - BETA) / -torch.expm1(n * math.log(BETA))
    balanced = n.sum() / (len(COUNTS) * n)
    shown = (
        Shown(84, "count", floats(n), ".0f"),
        Shown(196, Formula("N / (K n)"), floats(balanced), ".3f", "bold right"),
        Shown(336, "count × weight", floats(n * balanced), ".1f"),
        Shown(486, "effective number", floats(effective / effective.mean()), ".3f", "bold"),
        Shown(WIDTH - EDGE, "logit adjustment, ln π", floats((n / n.sum()).log()), ".3f", "bold"),
    )
    drawing.heading(112, "Let each class weigh as much, or add the prior to the scores")
    for name, key, x, format, style, values in ((s.name, str(i), s.x, s.format, s.style, s.values) for i, s in enumerate(shown)):
        drawing.text(x, 140, name, size=13, anchor="end", style="muted")
        for row, value in enumerate(values):
            drawing.text(x, 168 + 26 * row, Number(f"{key} {COUNTS[row]}", value, format, style), size=15, anchor="end")
    drawing.text(
        EDGE,
        250,
        "effective number with β = ",
        Number("beta", BETA),
        ", scaled to a mean of ",
        Number("mean", 1.0),
        size=13,
        style="muted",
    )


def _voices(drawing: Drawing) -> None:
    """Whose loss is in the sum, before and after focal loss."""
    drawing.line(EDGE, 272, WIDTH - EDGE, 272)
    drawing.heading(304, "Whose voice is in the sum?")
    (many, p_easy), (few, p_hard) = EASY, HARD
    drawing.text(EDGE, 330, Number("many", many), " easy examples at p = ", Number("p easy", p_easy), style="muted")
    drawing.text(
        WIDTH - EDGE, 330, Number("few", few), " hard ones at p = ", Number("p hard", p_hard), style="right", anchor="end"
    )
    for i, name in enumerate(("cross-entropy", "focal")):
        y, easy, hard = 346 + 44 * i, many * losses(p_easy)[i], few * losses(p_hard)[i]
        drawing.text(EDGE, y + 21, name, style="bold")
        share, wide = easy / (easy + hard), 384
        drawing.bar(210, y, share * wide, 30, "dull", f"voices {i}", easy)
        drawing.bar(210 + share * wide, y, (1 - share) * wide, 30, "right", f"voices {i}", hard)
        drawing.text(200, y + 21, Number(f"easy {name}", easy, ".1f" if easy > 1 else ".3f"), size=15, anchor="end")
        drawing.text(
            WIDTH - EDGE, y + 21, Number(f"hard {name}", hard, ".1f" if easy > 1 else ".2f", "bold right"), size=15, anchor="end"
        )


def _examples(drawing: Drawing) -> None:
    drawing.text(EDGE, 460, "focal: ", Formula("(1 − p)²"), " × cross-entropy", size=13, style="muted")
    for i, p in enumerate((0.9, 0.1)):
        plain, focal = losses(p)
        x = 264 + 226 * i
        drawing.text(
            x, 460, "p = ", Number(f"p {p}", p), ": ", Number(f"factor {p}", plain / focal, ".1f", "bold"), " times less", size=13
        )


def _prior(drawing: Drawing) -> None:
    levels = reference("binary_cross_entropy_with_logits", prior=RARE)
    assert levels.chance is not None
    assert levels.constant is not None
    drawing.line(EDGE, 484, WIDTH - EDGE, 484)
    drawing.heading(516, "Begin where the data are: ", Number("rare", RARE, ".0%"), " positives")
    start = float(column(RARE).logit())
    for x, name, value, style in (
        (EDGE, "bias of the last layer", start, ""),
        (250, "first loss with it", levels.constant, "right"),
        (450, "first loss without", levels.chance, "wrong"),
    ):
        drawing.text(x, 552, Number(name, value, ".3f", f"bold {style}"), size=19)
        drawing.text(x, 575, name, size=13, style="muted")
    drawing.text(EDGE, 610, "Also: sample the rare class more often, or move the threshold of a finished model.", size=13)


@figure(
    title="A rare class",
    lead="What is rare is outvoted: weigh it, silence the easy, or tell the model how rare it is.",
    description="A table of three classes with their counts, two kinds of weights and the logarithm of the prior. Bars show that "
    "many easy examples outvote few hard ones under cross-entropy and not under focal loss. Last, the bias to begin with.",
    height=632,
)
def class_imbalance(drawing: Drawing) -> None:
    """Draw weights, voices and prior."""
    _weights(drawing)
    _voices(drawing)
    _examples(drawing)
    _prior(drawing)
