"""Recorded calls as evidence: detached, with their share in the total, their value sample by sample, and their levels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from ...core.card import CATALOGUE
from ..evidence.calls import LossCall
from ..levels import levels_of_call

if TYPE_CHECKING:
    from .spy import Recorded

__all__ = ["as_loss_calls"]

_LARGEST = 1 << 26  # elements: a float64 copy of half a gigabyte; larger arguments keep their own format
_TOO_LARGE = 1 << 28  # elements that are not gone through a second time at all


def as_loss_calls(recorded: Sequence[Recorded], total: Tensor | None = None, *, per_sample: bool = True) -> tuple[LossCall, ...]:
    """The calls as the rules see them."""
    slopes = _slopes(recorded, total)
    return tuple(_call(one, slope, per_sample) for one, slope in zip(recorded, slopes, strict=True))


def _call(one: Recorded, slope: float | None, per_sample: bool) -> LossCall:
    call = LossCall(
        name=one.name,
        home=one.home,
        tensors=one.tensors,
        options=one.options,
        value=None if one.value is None else one.value.detach(),
        error=one.error,
        upstream=one.upstream,
        needs_grad=one.needs_grad,
        dims=one.dims,
        where=one.where,
        slope=slope,
        per_sample=_each(one) if per_sample and one.value is not None else None,
    )
    if one.home == "written":
        return call
    try:
        return replace(call, levels=tuple(levels_of_call(call)))
    except Exception:  # a loss without levels is still a call
        return call


def _slopes(recorded: Sequence[Recorded], total: Tensor | None) -> list[float | None]:
    """By how much the total rises if every element of a value rises by one.

    None where autograd cannot say: a total without a graph, or one whose graph is gone.
    """
    if total is None or not total.requires_grad or total.numel() != 1:
        return [None] * len(recorded)
    asked = [one.value for one in recorded if one.value is not None and one.value.requires_grad]
    try:
        grads = torch.autograd.grad(total.sum(), asked, retain_graph=True, allow_unused=True) if asked else ()
    except RuntimeError:  # the user's step has called backward itself
        return [None] * len(recorded)
    known = {id(v): _sum(g) for v, g in zip(asked, grads, strict=True)}
    return [None if one.value is None else known.get(id(one.value), 0.0) for one in recorded]


def _sum(grad: Tensor | None) -> float:
    """Autograd says None for what the total does not hang on."""
    return 0.0 if grad is None else float(grad.double().sum())


def _each(one: Recorded) -> Tensor | None:
    """The same call with reduction="none"; random numbers are left as they were."""
    function = CATALOGUE[one.name].function if one.home == "losskit" and one.name in CATALOGUE else getattr(F, one.name, None)
    largest = max((t.numel() for t in one.tensors.values()), default=0)
    if one.home == "written" or function is None or "reduction" not in one.options or largest > _TOO_LARGE:
        return None
    tensors = {k: v.double() if v.is_floating_point() and v.numel() <= _LARGEST else v for k, v in one.tensors.items()}
    options = {k: v for k, v in one.options.items() if k != "normalizer"}
    tensors.pop("normalizer", None)
    devices = sorted({t.device.index for t in tensors.values() if t.is_cuda})
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=devices):
            value: Tensor = function(**tensors, **{**options, "reduction": "none"})
    except Exception:  # e.g. a kernel without float64
        return None
    return value.detach().double()
