"""The loss of one batch before training, beside that of guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .evidence.calls import LossCall
from .levels_ask import ask, cards
from .levels_own import known_of_call

__all__ = ["ERRORS", "Start", "start_of", "starts_high"]

ABOVE = 0.5  # of chance: fresh heads with scores of standard deviation 1 are 0.2 to 0.5 nats above it
ABOVE_UNSAID = 2.0  # of chance, where nobody said that the model is fresh: three times the loss of one that knows nothing
ERRORS = 6.0  # standard errors over the samples of the batch

# losses of scores that a fresh model gives no preference among
_GUESSES = frozenset(
    {"cross_entropy", "linear_cross_entropy", "focal_loss", "linear_focal_loss", "binary_cross_entropy_with_logits"}
)


@dataclass(frozen=True)
class Start:
    """Mean and standard error over the samples of a batch."""

    mean: float
    error: float
    chance: float
    samples: int
    scale: float
    """What the reduction makes of a mean: already taken out of mean and chance."""


def starts_high(start: Start, from_scratch: bool | None) -> bool:
    """Whether a model begins far above one that knows nothing: by half of it, or by twice where nobody said that it is fresh."""
    above = start.mean - start.chance
    share = ABOVE if from_scratch else ABOVE_UNSAID
    return math.isfinite(above) and above > max(share * start.chance, ERRORS * start.error)


def start_of(call: LossCall, *, values: bool = False) -> Start | None:
    """None for a loss without a chance level, for in-batch candidates, a part that is cut off, and a call that failed.

    ``values``: for a regression the loss of the best constant stands for chance.
    """
    if call.error or call.value is None or call.slope == 0:
        return None
    known = known_of_call(call)
    if known is None or known.candidates or not known.scale > 0:
        return None
    constant = values and cards()[known.card].task == "regression"
    if known.card not in _GUESSES and not constant:
        return None
    chance = ask(known, "constant" if constant else "chance")
    if not chance or chance <= 0:
        return None
    each = _each(call)
    value = call.value.detach().double()
    single = float(value) / known.scale if value.numel() == 1 else math.nan
    if each is None or not each.numel():
        return Start(single, math.inf, chance / known.scale, 1, known.scale) if math.isfinite(single) else None
    mean = float(each.mean())
    error = float(each.std()) / math.sqrt(each.numel()) if each.numel() > 1 else math.inf
    if math.isfinite(single) and mean > 0:  # class weights: the mean over weights is the call's own
        mean, error = single, error * single / mean
    return Start(mean, error, chance / known.scale, each.numel(), known.scale)


def _each(call: LossCall) -> Tensor | None:
    """The loss of each sample that counts."""
    each, target = call.per_sample, call.tensors.get("target")
    if each is None:
        value = call.value
        each = value.detach().double() if value is not None and value.dim() else None
    if each is None:
        return None
    if target is not None and target.shape == each.shape and not target.is_floating_point():
        each = each[target != call.options.get("ignore_index", -100)]
    return each[torch.isfinite(each)].flatten()
