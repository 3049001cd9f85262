"""What a model says of itself, and which one it is: sha256 over configuration, weights and buffers."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fingerprint", "name_of", "number", "takes", "text_part"]

_SAMPLE = 1024  # numbers of each tensor
_PIECE = 1 << 18
# where it was read from, by what, and in which precision: the last is in the weights
_UNSAID = {"_name_or_path", "transformers_version", "torch_dtype", "dtype"}


def fingerprint(model: Any, head: Any, config: Any) -> str | None:
    """The same for models that give the same scores; None for a callable without a head, which cannot be looked into."""
    if not isinstance(model, nn.Module) and head is None:
        return None
    found = hashlib.sha256(type(model).__name__.encode())
    if hasattr(config, "to_dict"):
        told = {key: value for key, value in config.to_dict().items() if key not in _UNSAID}
        found.update(json.dumps(told, sort_keys=True, default=str).encode())
    for name, tensor in _tensors(model, head):
        found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}{_bits(tensor)}".encode())
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // _SAMPLE)][:_SAMPLE].cpu()
        found.update(repr((some.double() if some.dtype.is_floating_point else some).tolist()).encode())
    if head is not None:
        found.update(repr((head.scale, head.softcap)).encode())
    return found.hexdigest()


def _bits(tensor: Tensor) -> int:
    """The sum of all numbers' bits as integers: exact, in whatever order it is taken."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}.get(tensor.dtype.itemsize)
    if whole is None:
        return 0
    # in pieces: the sum of a whole tensor makes a copy of it in 64 bits first
    return sum(int(piece.sum(dtype=torch.int64)) for piece in tensor.detach().view(whole).flatten().split(_PIECE))


def _tensors(model: Any, head: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model, nn.Module):
        yield from sorted([*model.named_parameters(), *model.named_buffers()], key=lambda pair: pair[0])
    if head is not None:
        yield "head.weight", head.weight
        if head.bias is not None:
            yield "head.bias", head.bias


def number(config: Any, name: str) -> float:
    """A factor of the configuration; 1 where it names none."""
    value = getattr(config, name, None)
    return float(value) if isinstance(value, int | float) and value else 1.0  # a word is for the model to know


def takes(model: Any, name: str) -> bool:
    """Whether the model's forward has such an argument."""
    known = inspect.signature(model.forward).parameters
    return name in known or any(one.kind is one.VAR_KEYWORD for one in known.values())


def name_of(model: Any) -> str:
    """Of a callable."""
    return str(getattr(model, "__name__", type(model).__name__))


def text_part(config: Any) -> Any:
    """The configuration of the part that reads text, of a model that also sees or hears."""
    return config.get_text_config() if hasattr(config, "get_text_config") else config
