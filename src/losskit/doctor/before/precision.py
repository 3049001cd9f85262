"""What the number formats of model, activations and optimizer can hold, in one pass and one more in full precision."""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ..evidence.precision import Module, Precision
from ..step import Step
from .entries import changed, loss_of, modes_kept, same_randomness, without_graph
from .masked import MaskedRows
from .modules import Watched, watch_modules

__all__ = ["Watched", "look_at_precision", "watch_modules"]

_HALF = ("float16", "bfloat16")


def look_at_precision(
    step: Step,
    batch: Any,
    optimizer: Optimizer | None = None,
    scaler: Any = None,
    *,
    seed: int = 0,
) -> Precision:
    """One pass as it is; if anything in it is half precision, or not finite, one more in a wider format."""

    def call() -> tuple[float, tuple[Module, ...], MaskedRows]:
        rows = MaskedRows()
        with modes_kept(step.model), watch_modules(step.model) as watched, rows, same_randomness(seed):
            return float(step(batch).detach()), watched.modules(), rows

    loss, modules, rows = without_graph(call)
    half = any(module.dtype in _HALF for module in modules)
    wide = _wide_loss(step, batch, modules, seed) if half or not math.isfinite(loss) else None
    epsilons = sorted(_epsilons(optimizer)) if optimizer is not None else ()
    scale = float(scaler.get_scale()) if hasattr(scaler, "get_scale") else None
    return Precision(modules, loss, wide, tuple(epsilons), rows.count, rows.where, scale)


def _wide_loss(step: Step, batch: Any, modules: tuple[Module, ...], seed: int) -> float | None:
    """The loss on a copy in float32; in float64, which autocast leaves alone, where it is autocast that made half precision.

    None where the model cannot be copied or insists on its format.
    """
    weights_half = any(str(p.dtype).removeprefix("torch.") in _HALF for p in step.model.parameters())
    dtype = torch.float32 if weights_half or not any(m.dtype in _HALF for m in modules) else torch.float64
    try:
        model = copy.deepcopy(step.model).to(dtype)
        loss_fn = step.loss_fn
        if isinstance(loss_fn, nn.Module):
            loss_fn = copy.deepcopy(loss_fn).to(dtype)
        return loss_of(Step(model, loss_fn, step.step), changed(batch, lambda _, t: _as(t, dtype)), seed)
    except (RuntimeError, ValueError, TypeError, NotImplementedError, MemoryError):
        return None


def _as(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor


def _epsilons(optimizer: Optimizer) -> set[tuple[float, str]]:
    """The eps of each group, in the format of its weights: there it is added to the root of the second moment."""
    return {
        (float(group["eps"]), str(p.dtype).removeprefix("torch."))
        for group in optimizer.param_groups
        if isinstance(group.get("eps"), (int, float))
        for p in group["params"]
    }
