"""Evaluations beside the training loss of the same time."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..evidence.run import Run, Series
from .blocks import median

__all__ = ["Evaluations", "evaluations"]

LEAST = 3  # evaluations
CLOSE = 5  # points, whose median is what the training loss was at that time
NEAR = 20  # twice as many points of the training loss stand for the time of an evaluation


@dataclass(frozen=True)
class Evaluations:
    """The finite evaluations of a run."""

    steps: Tensor
    values: Tensor
    train: Tensor
    """The training loss at each: the median of up to 40 points before it; NaN where it is not known."""
    later: Tensor
    """That of up to 40 points after it: a loss that falls fast is lower there."""
    close: Tensor
    """The median of up to 5 points since the evaluation before it, for a person: the longer one lags where it falls fast."""


def evaluations(run: Run | None) -> Evaluations | None:
    """The main curve of evaluations; None for fewer than three."""
    series = None if run is None else run.main("eval_loss")
    if run is None or series is None:
        return None
    series = series.finite()
    if len(series) < LEAST:
        return None
    losses = run.main("train_loss")
    nothing = torch.full_like(series.values, torch.nan)
    before, after, close = (nothing,) * 3 if losses is None else _beside(series, losses.finite())
    return Evaluations(series.steps, series.values.double(), before, after, close)


def _beside(series: Series, losses: Series) -> tuple[Tensor, Tensor, Tensor]:
    """Evaluations counted in other units than steps (epochs) are laid along the training loss by their order."""
    count = len(losses)
    if not count:
        nothing = torch.full_like(series.values, torch.nan)
        return nothing, nothing, nothing
    first, last = int(losses.steps[0]), int(losses.steps[-1])
    places = torch.searchsorted(losses.steps, series.steps, right=True)
    if int(series.steps[-1]) < first + 0.1 * (last - first):
        places = ((torch.arange(len(series)) + 1) * count) // len(series)
    reach = max(1, min(NEAR, count // (2 * len(series))))
    before = [median(losses.values[max(0, at - 2 * reach) : max(at, 1)]) for at in places.tolist()]
    after = [median(losses.values[at : at + 2 * reach]) for at in places.tolist()]
    few = max(1, min(CLOSE, count // len(series)))  # a log of epochs has one point for each, and older ones are another time
    close = [median(losses.values[max(0, at - few) : max(at, 1)]) for at in places.tolist()]
    return (
        torch.tensor(before, dtype=torch.float64),
        torch.tensor(after, dtype=torch.float64),
        torch.tensor(close, dtype=torch.float64),
    )
