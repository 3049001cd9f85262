"""D7: a pair, a triplet and a row of a batch, with the two conventions that people trip over."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ...core.card import reference
from ...losses.contrastive import contrastive_loss
from ...losses.info_nce import info_nce_loss
from ...losses.triplet import triplet_margin_loss
from . import figure
from .computed import column
from .drawing import EDGE, WIDTH, Drawing, Formula, Number, Part

__all__ = ["contrastive"]

PAIRS = (("same", 1, 0.3), ("different", 0, 0.3), ("different", 0, 1.2))
TRIPLETS = ((0.4, 0.5), (0.2, 0.9))
COSINES = (0.8, 0.3, 0.1, -0.2)
TEMPERATURES = (1.0, 0.5, 0.1)
SIZES = (8, 256, 4096)
MARGIN = 0.2
FIRST, SECOND, THIRD = EDGE, 262, 492


def _on_a_line(distance: float) -> torch.Tensor:
    return column(distance)[None]


def _pair(drawing: Drawing) -> None:
    x, y, unit = FIRST + 92, 196, 66
    drawing.heading(112, "Pair", x=FIRST)
    drawing.circle(x, y, unit, "ring rule dash")
    drawing.text(x, y - unit + 18, "margin ", Number("margin", 1.0), size=13, anchor="middle", style="muted")
    drawing.circle(x, y, 6, "ink")
    for (_, same, d), turn in zip(PAIRS, (-1.0, 1.0, 1.0), strict=True):
        style = "right" if same else "wrong" if d < 1 else "dull"
        drawing.circle(x + turn * d * unit, y, 6, style)
        if style == "wrong":
            drawing.arrow((x + d * unit + 9, y), (x + d * unit + 32, y), style=style)
    drawing.text(FIRST, 300, Formula("½ d²   or   ½ max(0, m − d)²"), size=13)
    for i, (name, same, d) in enumerate(PAIRS):
        value = float(contrastive_loss(_on_a_line(0.0), _on_a_line(d), column(same), margin=1.0, distance="euclidean"))
        style = "right" if same else "wrong" if value else "muted"
        drawing.text(FIRST, 330 + 26 * i, f"{name}, d = ", Number(f"d {i}", d, ".1f"))
        drawing.text(FIRST + 200, 330 + 26 * i, Number(f"pair {i}", value, ".3f", f"bold {style}"), size=15, anchor="end")


def _triplet(drawing: Drawing) -> None:
    drawing.heading(112, "Triplet", x=SECOND)
    unit, x = 180, SECOND + 8
    for i, (near, far) in enumerate(TRIPLETS):
        y = 158 + 66 * i
        drawing.line(x, y, x + unit, y, "rule")
        drawing.rect(x + near * unit, y - 4, MARGIN * unit, 8, "pale-right" if far > near + MARGIN else "pale-wrong")
        drawing.circle(x, y, 6, "ink")
        drawing.circle(x + near * unit, y, 6, "right")
        drawing.circle(x + far * unit, y, 6, "wrong" if far < near + MARGIN else "dull")
        for place, name in ((0.0, "a"), (near, "p"), (far, "n")):
            drawing.text(x + place * unit, y + 25, name, size=13, anchor="middle", style="muted")
    drawing.text(SECOND, 300, Formula("max(0, d(a, p) − d(a, n) + m)"), size=13)
    for i, (near, far) in enumerate(TRIPLETS):
        value = float(triplet_margin_loss(_on_a_line(0.0), _on_a_line(near), _on_a_line(far), margin=MARGIN))
        drawing.text(SECOND, 330 + 26 * i, "p at ", Number(f"near {i}", near), ", n at ", Number(f"far {i}", far))
        style = "wrong" if value > 1e-9 else "muted"
        drawing.text(SECOND + 196, 330 + 26 * i, Number(f"triplet {i}", value, ".1f", f"bold {style}"), size=15, anchor="end")
    drawing.text(SECOND, 382, "with a margin m of ", Number("triplet margin", MARGIN), style="muted")


def _infonce(drawing: Drawing) -> None:
    drawing.heading(112, "InfoNCE", x=THIRD)
    similar = column(*COSINES)
    query, key = torch.eye(2, dtype=torch.float64)[:1], torch.stack([similar, (1 - similar.square()).sqrt()], dim=-1)
    cosines = [[Number(f"cosine {j}", cosine, ".1f") for j, cosine in enumerate(COSINES)]]
    drawing.matrix(THIRD, 174, 49, cosines, [["pale-right", "box", "box", "box"]])
    drawing.text(THIRD + 23, 242, "own", size=13, anchor="middle", style="right")
    drawing.text(THIRD + 121, 242, "others’", size=13, anchor="middle", style="muted")
    drawing.text(THIRD, 158, "cosines of a query and keys", size=13, style="muted")
    drawing.text(THIRD, 300, Formula("−ln softmax(cosine / τ)"), size=13)
    for i, temperature in enumerate(TEMPERATURES):
        value = float(info_nce_loss(query, key[:1], negatives=key[1:], temperature=temperature))
        drawing.text(THIRD, 330 + 26 * i, "τ = ", Number(f"temperature {i}", temperature))
        drawing.text(THIRD + 196, 330 + 26 * i, Number(f"infonce {i}", value, ".4f", "bold"), size=15, anchor="end")


@figure(
    title="Contrastive losses",
    lead="Alike things together, others apart: how much apart is where the three differ.",
    description="Three columns: a pair with its margin as a circle, two triplets on a line with their margin as a band, and a "
    "query with the cosines of its own and of others' keys. Below each its formula and worked values, then two conventions.",
    height=520,
)
def contrastive(drawing: Drawing) -> None:
    """Draw the three losses and what to watch."""
    _pair(drawing)
    _triplet(drawing)
    _infonce(drawing)
    drawing.line(EDGE, 406, WIDTH - EDGE, 406)
    paper = " different; in the paper of Hadsell, Chopra, LeCun it is the reverse"
    rows: tuple[tuple[Part, tuple[Part, ...]], ...] = (
        ("y", (Number("same", 1), " is the same, ", Number("different", 0), paper)),
        (Formula("½"), ("is in their paper too; a library without it shows values twice as large",)),
        ("chance", ("InfoNCE of keys that are all alike, ln N: ", *_chances())),
    )
    for i, (name, said) in enumerate(rows):
        drawing.text(EDGE, 436 + 28 * i, name, style="bold")
        drawing.text(EDGE + 66, 436 + 28 * i, *said, size=13)


def _chances() -> Iterator[Part]:
    for i, size in enumerate(SIZES):
        chance = reference("info_nce_loss", batch_size=size).chance
        assert chance is not None
        yield from (
            ",  " if i else "",
            Number(f"size {size}", size, ",.0f"),
            " keys ",
            Number(f"chance {size}", chance, ".3f", "bold"),
        )
