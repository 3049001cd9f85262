"""D905: from one step to the next the loss is a whole multiple of what it was."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Series
from ..finding import Hit, finding
from ..statistics.noise import noise, spread

__all__ = ["unit_of_the_loss_changes"]

WINDOW = 20  # points on each side of the change
CLOSE = 0.02  # of the whole number
MOST = 64
_NONE = 1e-12  # curves without any noise
LONG = 100  # points on each side that the noise is taken from
ERRORS = 2.0  # standard errors of the ratio that CLOSE must be larger than: a ratio that is less certain is no whole number


@finding("D905", severity="warning", phases=("after",), explains=("D501", "D502", "D503", "D507", "D601"))
def unit_of_the_loss_changes(evidence: Evidence) -> Iterator[Hit]:
    """Where the run was resumed or its config changed, the loss becomes k times what it was, and its noise too: another unit.

    Cause:       The batch's losses are summed where they were averaged, or gradient accumulation, the number of processes or the
                 logged mean has changed with the config. The model is the same, the number is not comparable.
    Rule:        At a restart of the log, or at a step of ``events``, the median of the 20 points after is k or 1/k times (k = 2
                 to 64, within 2 %) that of the 20 points before, and the noise of 100 points (sigma of neighbours) has grown by
                 at least sqrt(k), or shrunk likewise.
    Silent when: the loss changes at any other step; the medians are too noisy to tell the factor within 2 %; both sides are near
                 0.
    Fix:         Divide by what changed (micro-batches, processes, tokens) before logging; do not compare the loss before with
                 that after.
    Confirm:     After the division the medians of 20 points on both sides are within 2 % of each other.
    Reference:   huggingface/transformers issue 35203 (the logged loss grows with gradient accumulation).
    Example:
        step 999: 2.10, step 1000 (resumed with accumulate=4): 8.40   # sick
        step 999: 2.10, step 1000 (resumed with accumulate=4): 2.09   # healthy
    """
    run = evidence.run
    series = run.main("train_loss") if run is not None else None
    if run is None or series is None:
        return
    series = series.finite()
    for step in sorted({*run.reading.restarts, *(at for at, _ in run.events)}):
        hit = _change(series, step)
        if hit is not None:
            yield hit
            return


def _change(series: Series, step: int) -> Hit | None:
    at = int(torch.searchsorted(series.steps, step))
    before, after = series.values[max(0, at - WINDOW) : at], series.values[at : at + WINDOW]
    if len(before) < WINDOW or len(after) < WINDOW:
        return None
    low, high = float(before.median()), float(after.median())
    if low <= 0 or high <= 0:
        return None
    ratio = high / low
    whole = round(max(ratio, 1 / ratio))
    factor = whole if ratio > 1 else 1 / whole if whole else math.inf
    unsure = math.hypot(_error(before) / low, _error(after) / high)
    grown = (noise(series.values[at : at + LONG]) + _NONE) / (noise(series.values[max(0, at - LONG) : at]) + _NONE)
    if not 2 <= whole <= MOST or abs(ratio / factor - 1) > CLOSE or ERRORS * unsure > CLOSE:
        return None
    if max(grown, 1 / grown) < math.sqrt(whole) or (grown > 1) != (ratio > 1):
        return None
    said = (
        f"{series.name} has a median of {low:.4f} over the {WINDOW} points before step {step} and of {high:.4f} over the "
        f"{WINDOW} after it, {ratio:.2f} times as much: it is counted in another unit"
    )
    return Hit(said, {"before": low, "after": high, "ratio": ratio, "whole": whole}, where=series.name, step=step)


def _error(values: Tensor) -> float:
    """Standard error of a median."""
    return 1.2533 * spread(values) / math.sqrt(values.numel())
