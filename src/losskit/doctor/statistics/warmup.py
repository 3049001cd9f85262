"""Where a run gets into its stride: after the warm-up of its learning rate and its first steps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..evidence.run import Run

__all__ = ["steady_from", "warming"]

FIRST = 50  # steps in which a fresh model may do anything
SHARE = 0.1  # of a log that counts epochs, 50 steps would be all
RISEN = 0.5  # of the largest learning rate


def steady_from(run: Run) -> int:
    """The first step after the warm-up and the first 50 steps (at most a tenth of the run); past the end while it warms up."""
    losses = run.main("train_loss") or run.main("eval_loss")
    if losses is None or not len(losses):
        return 0
    first, last = int(losses.steps[0]), int(losses.steps[-1])
    start = first + min(FIRST, int(SHARE * (last - first)))
    rates = run.main("lr")
    if rates is None or not len(rates):
        return start
    if warming(rates.values):
        return last + 1
    values = rates.values
    top = values[torch.isfinite(values)].max() if bool(torch.isfinite(values).any()) else values.new_tensor(0.0)
    risen = (values >= RISEN * top).nonzero()
    # a rate that begins high and falls has no warm-up; one that begins low is warm when half of its top is reached
    return max(start, int(rates.steps[int(risen[0])])) if risen.numel() and float(top) > 0 else start


def warming(rates: Tensor) -> bool:
    """Whether a learning rate has done nothing but rise, up to now."""
    rates = rates[torch.isfinite(rates)]
    if rates.numel() < 3:
        return False
    tail = max(1, rates.numel() // 10)
    return bool((rates.diff() >= 0).all()) and float(rates[-1]) > float(rates[-1 - tail])
