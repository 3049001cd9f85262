"""One number for all state of a training."""

from __future__ import annotations

import ctypes
import hashlib
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .traverse import is_array, reached, state_of_random, things_in

__all__ = ["fingerprint"]


def fingerprint(roots: Iterable[object]) -> str:
    """A SHA-256 of values, types, order and identity of everything reached, and of all random states."""
    every = list(roots)
    things = reached(every)
    numbers = {id(one): str(i) for i, one in enumerate(things)}
    digest = hashlib.sha256()
    for one in things:
        digest.update(_described(one, numbers))
    for source, state in state_of_random():
        digest.update(type(source).__name__.encode() + (_bytes(state) if isinstance(state, Tensor) else repr(state).encode()))
    return digest.hexdigest()


def _described(one: Any, numbers: dict[int, str]) -> bytes:
    if isinstance(one, Tensor):
        grad = one.grad if one.is_leaf else None
        head = f"{type(one).__name__} {one.dtype} {one.device} {tuple(one.shape)} {one.requires_grad} {numbers.get(id(grad))}"
        return head.encode() + _bytes(one)
    if isinstance(one, torch.Generator):
        return _bytes(one.get_state())
    if is_array(one):
        return repr(one.shape).encode() + bytes(one.tobytes())
    entries = [numbers.get(id(x)) or _plain(x) for x in things_in(one)]
    return f"{type(one).__name__} {sorted(entries) if isinstance(one, set) else entries}".encode()


def _plain(one: object) -> str:
    """Values by what they are, all else by its class: an address says nothing."""
    if isinstance(one, tuple):
        return f"({','.join(map(_plain, one))})"
    if one is None or isinstance(one, (str, bytes, int, float, complex, torch.dtype, torch.device)):
        return f"{type(one).__name__}:{one!r}"
    return f"{type(one).__qualname__}.{getattr(one, '__qualname__', '')}"


def _bytes(tensor: Tensor) -> bytes:
    values = tensor.detach()
    if values.is_meta:
        return b""
    values = (values.to_dense() if values.layout != torch.strided else values).cpu().contiguous()
    return ctypes.string_at(values.data_ptr(), values.numel() * values.element_size()) if values.numel() else b""
