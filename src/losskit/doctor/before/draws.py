"""Whether a loss hangs on random numbers and the model's outputs do not: labels shuffled in the loss, masks drawn there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch

from ..levels import constant_of_call
from ..step import Step
from .entries import loss_of, outputs_of
from .spy import Spy

__all__ = ["other_draw"]

_SAME = 1e-4  # of the outputs: kernels that add in another order each time differ by less
_OTHER = 1e-3  # of the loss


@dataclass(frozen=True)
class Draw:
    """The loss with other random numbers."""

    loss: float
    constant: float | None
    """The loss of the best constant, where one known loss is all of it."""


def other_draw(step: Step, batch: Any, seed: int, first: float) -> Draw | None:
    """The loss with the next seed; None if it is that of this seed, or if the outputs are others as well."""
    with Spy() as spy:
        other = loss_of(step, batch, seed + 1)
    calls = spy.finish(per_sample=False)
    if not math.isfinite(first + other) or abs(other - first) <= _OTHER * abs(first):
        return None
    one, two = outputs_of(step, batch, seed), outputs_of(step, batch, seed + 1)
    if not one.outputs or len(one.outputs) != len(two.outputs):
        return None
    pairs = list(zip((*one.outputs, *one.inputs), (*two.outputs, *two.inputs), strict=False))
    if any(a.shape != b.shape or not torch.allclose(a.double(), b.double(), rtol=_SAME, atol=_SAME) for a, b in pairs):
        return None
    value = calls[0].value if len(calls) == 1 else None
    whole = value is not None and value.numel() == 1 and math.isclose(float(value), other, rel_tol=_OTHER)
    return Draw(other, constant_of_call(calls[0]) if whole else None)
