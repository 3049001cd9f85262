"""Whatever happens in between, everything is as it was: weights, buffers, optimizer, random numbers, modes, hooks, gradients."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .traverse import HOOKS, is_array, reached, rebuild, same_things, state_of_random, things_in

__all__ = ["Kept", "state_hash", "untouched"]


class Kept:
    """A snapshot of everything that can be reached from some objects, and of all random numbers, to return to as often as needed.

    Reached are modules, optimizers, schedulers, scalers, tensors with their gradients and hooks, and lists, sets and dictionaries
    of these, plain attributes included. A queue or a counter that a module keeps as an attribute is therefore restored; what it
    keeps inside objects of classes of its own is not.
    """

    def __init__(self, *roots: object) -> None:
        self._back: list[Callable[[], None]] = [_restorer(one) for one in reached(roots)]
        self._random = state_of_random()

    def restore(self) -> None:
        """Return to the snapshot."""
        with torch.no_grad():
            for back in self._back:
                back()
        rebuild(self._random)


@contextmanager
def untouched(
    model: nn.Module,
    optimizer: object = None,
    scheduler: object = None,
    scaler: object = None,
    extra_modules: Iterable[object] = (),
    *,
    batch: object = None,
) -> Generator[Kept, None, None]:
    """Restore everything at the end of the block, also after an exception; ``kept.restore()`` does it in between."""
    kept = Kept(model, optimizer, scheduler, scaler, *extra_modules, batch)
    try:
        yield kept
    finally:
        kept.restore()


def state_hash(*roots: object) -> str:
    """One number for all that :class:`Kept` restores: equal if nothing has changed."""
    from .fingerprint import fingerprint

    return fingerprint(roots)


def _restorer(one: Any) -> Callable[[], None]:
    """What brings one thing back to what it is now; the things in it have restorers of their own."""
    if isinstance(one, Tensor):
        return _tensor_restorer(one)
    if isinstance(one, torch.Generator):
        state = one.get_state()
        return lambda: rebuild((one, state))
    if is_array(one):
        values = one.copy()
        return lambda: one.__setitem__(..., values)
    if isinstance(one, dict):
        items = list(one.items())
        return lambda: _refill(one, items, same_things([x for pair in one.items() for x in pair], [x for p in items for x in p]))
    things = things_in(one)
    return lambda: _refill(one, things, same_things(things_in(one), things))


def _refill(container: Any, things: list[Any], same: bool) -> None:
    """Only where something changed: attributes of a living module are not emptied without need."""
    if same:
        return
    container.clear()
    container.update(things) if hasattr(container, "update") else container.extend(things)


def _tensor_restorer(tensor: Tensor) -> Callable[[], None]:
    """Values into the same memory, then the tensor back to that memory: a cast or a resize in between leaves no trace."""
    memory = None if tensor.is_inference() else tensor.data
    values = None if memory is None else _copy(memory)
    requires, leaf = tensor.requires_grad, tensor.is_leaf
    grad = tensor.grad if leaf else None
    hooks = {name: getattr(tensor, name, None) for name in HOOKS}

    def back() -> None:
        if memory is not None and values is not None:
            memory.copy_(values)
            if not _same_memory(tensor, memory):
                tensor.data = memory
        if leaf:
            if tensor.requires_grad != requires:
                tensor.requires_grad_(requires)
            if tensor.grad is not grad:
                tensor.grad = grad
        for name, hung in hooks.items():
            if getattr(tensor, name, None) is not hung:
                setattr(tensor, name, hung)

    return back


def _copy(memory: Tensor) -> Tensor:
    try:
        return memory.clone()
    except torch.OutOfMemoryError:  # a model that fills the device: its twin waits on the host
        return memory.cpu()


def _same_memory(tensor: Tensor, memory: Tensor) -> bool:
    if tensor.dtype != memory.dtype or tensor.shape != memory.shape or tensor.device != memory.device:
        return False
    try:
        return tensor.data_ptr() == memory.data_ptr() and tensor.stride() == memory.stride()
    except (RuntimeError, NotImplementedError):  # sparse and wrapper tensors have no address: their values are back
        return True
