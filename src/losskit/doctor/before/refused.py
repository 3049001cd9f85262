"""What cannot be checked, and why; said before anything runs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.parameter import is_lazy

from ..step import Step
from .facts import look_at_batch

__all__ = ["plain", "refused"]


def plain(model: nn.Module) -> nn.Module:
    """The model itself, out of torch.compile and of data parallelism: one rank alone must not wait for the others."""
    while True:
        inner = getattr(model, "_orig_mod", None)
        if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            inner = model.module
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def refused(step: Step, batch: Any) -> str:
    """One sentence that says what is wrong with the arguments and what to do; empty if nothing is."""
    if isinstance(batch, torch.utils.data.DataLoader):
        return '"batch" is a DataLoader, expected one batch of it: give next(iter(loader))'
    lazy = [n for n, t in [*step.model.named_parameters(), *step.model.named_buffers()] if is_lazy(t)]
    if lazy:
        return f'"model" has weights that get their shape at the first call ({lazy[0]}): call it once with the batch, then check'
    empty = [n for n, t in [*step.model.named_parameters(), *step.model.named_buffers()] if t.is_meta]
    if empty and not hasattr(step.model, "hf_device_map"):
        return f'"model" is on the device "meta", which holds no values ({empty[0]}): build it on "cpu", or load its weights'
    return "" if step.step is not None else _elsewhere(step.model, batch)


def _elsewhere(model: nn.Module, batch: Any) -> str:
    """A model that lies on one device must find its batch there; step() may move the batch, and nothing else does."""
    homes = {p.device for p in model.parameters()}
    if len(homes) != 1 or hasattr(model, "hf_device_map"):
        return ""
    home = homes.pop()
    for path, tensor in look_at_batch(batch).tensors.items():
        if tensor.device != home and tensor.dim() > 0:
            return f'"batch" has {path!r} on {tensor.device}, expected {home}, where the model is: move it with .to("{home}")'
    return ""
