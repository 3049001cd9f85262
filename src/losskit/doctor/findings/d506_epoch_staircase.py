"""D506: the loss falls at the ends of epochs and is flat within them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..statistics.blocks import median
from ..statistics.curve import Curve, curve_of
from ..statistics.noise import mad

__all__ = ["epoch_staircase"]

LEAST = 2  # ends of epochs
POINTS = 5  # in an epoch
DROP = 0.03  # of the level
INSIDE = 0.3  # of the drop: what the loss does within an epoch


@finding("D506", severity="info", phases=("during", "after"))
def epoch_staircase(evidence: Evidence) -> Iterator[Hit]:
    """The loss falls at the ends of epochs and is flat within them.

    Cause:       The model remembers examples from the epoch before: the first batches of a new epoch are ones it has
                 already learned from. Large pre-trained models do this at usual learning rates; it is no fault of the data
                 loader.
    Rule:        The log counts epochs; of the ends of at least 2 epochs with 5 or more points each, the median drop (10
                 points before against 10 after) is above 3 % of the level and 3 standard errors, all drops are downward,
                 and the median change within an epoch is below 30 % of the drop.
    Silent when: the loss falls within epochs as well, or the log has no epochs.
    Fix:         None is needed. Judge the run by its evaluation loss: if that rises, train for fewer epochs or at a lower
                 learning rate.
    Confirm:     The loss on examples of the epoch before is lower than on new ones; the evaluation loss shows no stairs.
    Reference:   Howard and Whitaker 2023, Can LLMs learn from a single example? (fast.ai); huggingface/transformers issue
                 18730.
    Example:
        Trainer(num_train_epochs=3), a 7B model, 10,000 examples   # the usual place
    """
    curve, ends = curve_of(evidence.run), _ends(evidence.run)
    if curve is None or len(ends) < LEAST:
        return
    found = _stairs(curve, ends)
    if found is None:
        return
    drop, inside, count = found
    said = f"at {count} ends of epochs the loss drops by {drop:.3g} (median), within epochs it changes by {inside:.3g}"
    yield Hit(said, {"drop": drop, "inside": inside, "epochs": float(count + 1)}, step=ends[0])


def _ends(run: Run | None) -> list[int]:
    """The steps at which a new epoch begins."""
    epochs = None if run is None else run.main("epoch")
    if epochs is None:
        return []
    epochs = epochs.finite()
    whole = epochs.values.floor()
    return epochs.steps[1:][whole.diff() > 0].tolist()


def _stairs(curve: Curve, ends: list[int]) -> tuple[float, float, int] | None:
    places = torch.searchsorted(curve.steps, torch.tensor(ends)).tolist()
    edges = sorted({0, *places, len(curve)})
    parts: list[Tensor] = [curve.values[a:b] for a, b in pairwise(edges)]
    parts = [part for part in parts if part.numel() >= POINTS]
    if len(parts) <= LEAST:
        return None
    drops = torch.tensor([median(old[-10:]) - median(new[:10]) for old, new in pairwise(parts)])
    inside = torch.tensor(
        [median(part[: part.numel() // 3 + 1]) - median(part[-(part.numel() // 3) - 1 :]) for part in parts[1:]]
    )
    drop, within = median(drops), median(inside)
    error = median(torch.tensor([mad(part.diff()) for part in parts])) / math.sqrt(2) * 1.2533 * math.sqrt(2 / 10)
    level = abs(median(parts[0]))
    if drop <= max(DROP * level, 3 * error) or bool((drops <= 0).any()) or abs(within) > INSIDE * drop:
        return None
    return drop, within, drops.numel()
