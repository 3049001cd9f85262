"""The level of the best constant answer in a live run, where the cost of that answer is known batch by batch."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from .evidence.calls import Level
from .evidence.run import Run, Series
from .levels_words import sentence

__all__ = ["KNOWN", "best_constant_of", "constant_of_run", "less_the_targets", "quieter"]

_SAME = 0.98  # of chance; a constant above is chance by another name
_SERIES = "best constant of "
_WORDS = {
    "mse_loss": ("Var(target)", "the mean of the targets, whatever the input", ""),
    "cross_entropy": ("H(classes)", "the frequencies of the classes, whatever the input", "D606"),
    "binary_cross_entropy_with_logits": ("H(answers)", "the frequencies of the answers, whatever the input", "D606"),
}
KNOWN = tuple(_WORDS)
"""The losses whose best constant is followed."""


def best_constant_of(loss: str) -> str:
    """What the curve of these costs is called."""
    return f"{_SERIES}{loss}"


def constant_of_run(run: Run) -> Series | None:
    """What the best constant so far would have cost each batch of a live run."""
    names = {best_constant_of(loss) for loss in KNOWN} if run.reading.format == "live" else set[str]()
    return next((one for one in run.series if one.name in names), None)


def less_the_targets(run: Run, steps: Tensor, values: Tensor) -> tuple[Level, Tensor] | None:
    """The level of the best constant, and the losses less what the targets of their batches make them differ from it.

    A batch with twice as many rare labels costs a model that knows nothing twice as much, and the best constant as well: their
    difference tells within some hundred steps what the loss alone tells in thousands.
    """
    cost = constant_of_run(run)
    if cost is None:
        return None
    places = torch.searchsorted(cost.steps, steps).clamp_max(len(cost) - 1)
    there = torch.where(cost.steps[places] == steps, cost.values[places], torch.nan)
    known = there[torch.isfinite(there)]
    formula, meaning, code = _WORDS[cost.name.removeprefix(_SERIES)]
    chance = [level.value for level in run.levels if level.kind == "chance"]
    if not known.numel() or not float(known.mean()) > 0 or float(known.mean()) >= _SAME * min(chance, default=float("inf")):
        return None
    value = float(known.mean())
    return Level(sentence(formula, value, meaning), value, "constant", code), values - there + value


def quieter(run: Run | None) -> Run | None:
    """The run with its loss less what the targets of its batches make of it, where that is known."""
    loss = None if run is None else run.main("train_loss")
    found = None if run is None or loss is None else less_the_targets(run, loss.steps, loss.values)
    if run is None or loss is None or found is None:
        return run
    calm = replace(loss, values=found[1])
    return replace(run, series=tuple(calm if one is loss else one for one in run.series))
