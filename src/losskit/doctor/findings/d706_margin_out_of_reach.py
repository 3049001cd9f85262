"""D706: a margin that no distance can reach."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["margin_out_of_reach"]

UNIT = 1e-2  # how far a length may be from 1: rows normalised in bfloat16 are up to 4e-3 off
FARTHEST = {"cosine": 2.0, "euclidean": 2.0, "squared_euclidean": 4.0}  # of two vectors of length one
ROWS = {
    "triplet_margin_loss": ("anchor", "positive", "negative"),
    "batch_triplet_loss": ("input",),
    "contrastive_loss": ("query", "key"),
}


@finding("D706", severity="warning", phases=("before", "during"))
def margin_out_of_reach(evidence: Evidence) -> Iterator[Hit]:
    """The margin is larger than any distance can be: the loss cannot become 0, and no pair is ever done.

    Cause:       Vectors of length one are at most 2 apart (4, squared), and so are cosines. With a margin of 5, the default of
                 some libraries for vectors of any length, a triplet loss of such vectors cannot come below 3: it looks like a
                 run that is stuck, and pairs that are as far apart as they can be are still pushed.
    Rule:        The margin of triplet_margin_loss, batch_triplet_loss or contrastive_loss is above 2 for cosine distances, and
                 for rows whose lengths are all within 1 % of 1 above 2 (4 for squared distances).
    Silent when: the margin is "soft"; some row has another length, so that distances may grow; torch's triplet_margin_loss is
                 given another norm than 2, or a distance of the user's own.
    Fix:         A margin between 0.1 and 0.5, or distances of vectors that are not normalised.
    Confirm:     The share of triplets or pairs that cost nothing rises from 0.
    Reference:   Schroff et al. 2015, arXiv:1503.03832: unit vectors, margin 0.2.
    Example:
        losskit.triplet_margin_loss(a, p, n, margin=5.0, distance="cosine")  # sick: never below 3
        losskit.triplet_margin_loss(a, p, n, margin=0.3, distance="cosine")  # healthy
    """
    for call in evidence.calls:
        reach = _reach(call)
        margin = call.options.get("margin")
        if reach is None or not isinstance(margin, (int, float)) or not margin > reach:
            continue
        floor = (margin - reach) ** 2 / 2 if call.name == "contrastive_loss" else margin - reach
        what = "a pair that differs" if call.name == "contrastive_loss" else "a triplet"
        said = f"the margin of {call.name} is {margin:g} and no distance is above {reach:g}: {what} costs at least {floor:g}"
        yield Hit(said, {"margin": margin, "reach": reach, "floor": floor}, where=call.where)


def _reach(call: LossCall) -> float | None:
    """The largest distance there can be; None if there is none."""
    names = ROWS.get(call.name)
    if names is None or call.options.get("p", 2) != 2:
        return None
    rows = [call.tensors[name] for name in names if name in call.tensors]
    distance = call.options.get("distance", "euclidean")
    of_length_one = distance == "cosine" or call.options.get("normalize") is True or all(map(_unit, rows))
    return FARTHEST.get(str(distance)) if of_length_one and rows else None


def _unit(rows: Tensor) -> bool:
    return rows.numel() > 0 and bool(((rows.double().norm(dim=-1) - 1).abs() < UNIT).all())
