"""The loss of one batch before training, beside that of guessing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .evidence.calls import LossCall
from .levels_ask import ask
from .levels_own import known_of_call

__all__ = ["Start", "start_of"]

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


def start_of(call: LossCall) -> Start | None:
    """None for a loss without a chance level, for in-batch candidates, a part that is cut off, and a call that failed."""
    if call.error or call.value is None or call.slope == 0:
        return None
    known = known_of_call(call)
    if known is None or known.card not in _GUESSES or known.candidates or not known.scale > 0:
        return None
    chance = ask(known, "chance")
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
