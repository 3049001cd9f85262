"""What every module puts out in one pass: magnitude, zeros, dead and saturated units, without waiting for the device."""

from __future__ import annotations

import weakref
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..evidence.precision import Module
from ..step import output_tensor
from .entries import NORMS

__all__ = ["Watched", "watch_modules"]

_BOUNDED = {"Tanh": (-1.0, 1.0), "Sigmoid": (0.0, 1.0), "Hardtanh": (-1.0, 1.0), "Hardsigmoid": (0.0, 1.0)}
_NEAR = 0.01  # of the bound: tanh beyond 0.99
_CHANNELS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, *NORMS)


class Watched:
    """The modules of one pass in the order of their calls; numbers stay on the device until they are asked for."""

    def __init__(self) -> None:
        self._seen: list[tuple[Module, Tensor]] = []
        self._feeds = set[int]()
        self._last: weakref.ref[Tensor] | None = None
        self._channels_first = False

    def modules(self) -> tuple[Module, ...]:
        """One for each call of a module without children."""
        return tuple(_with(one, i in self._feeds, numbers.tolist()) for i, (one, numbers) in enumerate(self._seen))

    def look(self, name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        """Take down one call."""
        tensor = output_tensor(output)
        if isinstance(module, _CHANNELS):
            self._channels_first = True
        elif isinstance(module, (nn.Linear, nn.LayerNorm, nn.Embedding)):
            self._channels_first = False
        before = None if self._last is None else self._last()
        if before is not None and any(one is before for one in inputs) and next(module.parameters(), None) is not None:
            self._feeds.add(len(self._seen) - 1)
        self._last = None
        if tensor is None or not tensor.numel() or not tensor.dim() or not _plain(tensor):
            return
        with torch.no_grad():
            rows, units, numbers = _numbers(module, inputs, tensor.detach(), self._channels_first)
        dtype = str(tensor.dtype).removeprefix("torch.")
        what = Module(name, type(module).__name__, dtype, 0.0, True, True, 0.0, 0.0, 0.0, rows, units=units)
        self._seen.append((what, numbers))
        self._last = weakref.ref(tensor)


@contextmanager
def watch_modules(model: nn.Module) -> Generator[Watched, None, None]:
    """Look at the output of every module without children while the block runs."""
    seen = Watched()
    handles = []
    for name, module in model.named_modules():
        if next(module.children(), None) is None:
            handles.append(module.register_forward_hook(partial(seen.look, name)))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _plain(tensor: Tensor) -> bool:
    """Whether torch has maxima of it: not of sparse tensors, nor of 8 bits."""
    return tensor.layout == torch.strided and (tensor.dtype.itemsize > 1 or not tensor.is_floating_point())


def _numbers(module: nn.Module, inputs: tuple[Any, ...], x: Tensor, channels_first: bool) -> tuple[int, int, Tensor]:
    """How many rows and units, and largest, finite, inputs finite, zeros, dead, saturated, silent as one tensor."""
    units = 1 if x.dim() > 1 and channels_first else x.dim() - 1
    others = [d for d in range(x.dim()) if d != units]
    size = x if x.dtype == torch.bool else x.abs()
    whole = torch.ones((), dtype=torch.bool, device=x.device)
    for one in inputs:
        if isinstance(one, Tensor) and one.is_floating_point() and one.numel() and _plain(one):
            whole = whole & torch.stack(torch.aminmax(one.detach())).isfinite().all()
    saturated = torch.zeros((), device=x.device)
    if bounds := _BOUNDED.get(type(module).__name__):
        margin = _NEAR * (bounds[1] - bounds[0]) / 2 if bounds[0] else _NEAR
        saturated = ((x <= bounds[0] + margin) | (x >= bounds[1] - margin)).float().mean()
    by_unit = size.amax(dim=others) if others else size
    largest = by_unit.max()
    finite = largest.isfinite()  # a maximum hands NaN on
    if x.device.type != "cpu" or not bool(finite):  # a device is not waited for
        largest = torch.where(size.isfinite(), size, 0).max()
    zeros = 1 - torch.count_nonzero(size).double() / x.numel()
    dead, silent = by_unit == 0, size.amax(dim=units) == 0
    numbers = (largest, finite, whole, zeros, dead.float().mean(), saturated, silent.float().mean())
    width = x.shape[units] if x.dim() > 1 else 1  # (N,) has one number a sample
    return x.numel() // x.shape[units], width, torch.stack([number.double() for number in numbers])


def _with(module: Module, feeds: bool, numbers: list[float]) -> Module:
    largest, finite, inputs_finite, zeros, dead, saturated, silent = numbers
    seen = replace(module, largest=largest, finite=bool(finite), inputs_finite=bool(inputs_finite), feeds=feeds)
    return replace(seen, zeros=zeros, dead=dead, saturated=saturated, silent=silent)
