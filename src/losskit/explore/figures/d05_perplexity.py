"""D5: perplexity as a number of choices, one text to the end, and the means that are not it."""

from __future__ import annotations

import math

import torch

from ...core.reduce import parts
from ...losses.cross_entropy import cross_entropy
from . import figure
from .computed import column, floats
from .drawing import EDGE, WIDTH, Axes, Drawing, Number

__all__ = ["perplexity"]

CHOICES = (1, 2, 10, 50257)
NATS = (1.0, 2.0, 3.0, 4.0)
GIVEN = (1 / 4, 1 / 2, 1 / 8, 1 / 2)
BATCHES = ((10, 0.1), (100, 3.0))


def _choices(drawing: Drawing) -> None:
    even = [float(cross_entropy(torch.zeros(1, k, dtype=torch.float64), torch.tensor([0]))) for k in CHOICES]
    pairs = sorted([*((nats, "even") for nats in even), *((nats, "nats") for nats in NATS)])
    drawing.text(EDGE, 116, "mean loss, nats", style="muted")
    drawing.text(EDGE, 146, "perplexity", style="bold")
    for j, (nats, kind) in enumerate(pairs):
        x, style = 216.2 + 67.4 * j, "right" if kind == "even" else ""
        choices = math.exp(nats)
        drawing.text(x, 116, Number(f"nats {j}", nats, ".3f" if nats % 1 else "g"), anchor="end", style="muted")
        format = ",.0f" if kind == "even" else ".2f" if choices < 10 else ".1f"
        drawing.text(x, 146, Number(f"choices {j}", choices, format), anchor="end", style=f"bold {style}")
    says = "Blue: as many equally likely tokens. It begins at ", Number("least", 1.0), " and ends at the size of the vocabulary."
    drawing.text(EDGE, 174, *says, size=13, style="muted")


def _worked(drawing: Drawing) -> None:
    p = column(*GIVEN)
    scores = torch.stack([p.log(), (1 - p).log()], dim=-1)
    total, tokens = parts(cross_entropy, scores, torch.zeros(len(p), dtype=torch.long))
    nats = float(total / tokens)
    drawing.heading(222, "Four tokens")
    for i, share in enumerate(floats(p)):
        x = EDGE + 86 * i
        drawing.rect(x, 240, 74, 22, "box", radius=3)
        drawing.bar(x, 240, 74 * share, 22, "right", "share", share)
        drawing.text(x, 282, "p = ", Number(f"p {i}", share), size=13, style="muted")
    for x, name, value, format, style in (
        (466, "nats", nats, ".4f", ""),
        (570, "bits", nats / math.log(2), ".2f", ""),
        (WIDTH - EDGE, "perplexity", math.exp(nats), ".3f", "right"),
    ):
        drawing.text(x, 258, Number(f"worked {name}", value, format, f"bold {style}"), size=19, anchor="end")
        drawing.text(x, 282, name, size=13, anchor="end", style="muted")


def _trap(drawing: Drawing) -> None:
    """Two batches of unlike size: one right way to join them, two that are seen."""
    drawing.line(EDGE, 306, WIDTH - EDGE, 306)
    drawing.heading(338, "The trap: batches of different sizes")
    axes = Axes(EDGE, 362, 286, 120, 0, 110, 0, 3.4)
    start = 0.0
    for tokens, nats in BATCHES:
        (left, top), (right, base) = axes.at(start, nats), axes.at(start + tokens, 0)
        drawing.column(left, base, base - top, right - left - 2, "dull", "batch", nats)
        start += tokens
    drawing.line(EDGE, 482, 318, 482)
    drawing.text(EDGE, 504, Number("tokens 0", 10), " tokens at ", Number("loss 0", 0.1), size=13)
    drawing.text(318, 504, Number("tokens 1", 100), " tokens at ", Number("loss 1", 3.0, ".1f"), size=13, anchor="end")
    total, count = sum(n * nats for n, nats in BATCHES), sum(n for n, _ in BATCHES)
    answers = (
        ("sum of losses / sum of tokens, then exp", "right", math.exp(total / count)),
        ("mean of the batches’ perplexities", "wrong", sum(math.exp(nats) for _, nats in BATCHES) / 2),
        ("mean of the batches’ losses, then exp", "wrong", math.exp(sum(nats for _, nats in BATCHES) / 2)),
    )
    for i, (how, style, value) in enumerate(answers):
        y = 372 + 46 * i
        drawing.text(352, y, how, size=13, style="muted")
        drawing.bar(352, y + 8, value * 16, 16, style, "answer", value)
        drawing.text(360 + value * 16, y + 21, Number(f"answer {i}", value, ".2f"), size=15, style=f"bold {style}")


@figure(
    title="Perplexity",
    lead="Among how many equally likely tokens a model is undecided: exp of its mean loss.",
    description="A table from mean loss to perplexity, four tokens worked out, and a trap: two batches of unlike size joined in "
    "one right way, by sums, and in two wrong ways that are often seen, by means of means.",
    height=534,
)
def perplexity(drawing: Drawing) -> None:
    """Draw the table, the example and the trap."""
    _choices(drawing)
    _worked(drawing)
    _trap(drawing)
