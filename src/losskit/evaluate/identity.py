"""Which model it is: sha256 over its configuration, the shapes of its weights and a sample of each."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fingerprint"]

_SAMPLE = 1024  # numbers of each tensor
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
        found.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        flat = tensor.detach().flatten()
        some = flat[:: max(1, flat.numel() // _SAMPLE)][:_SAMPLE].cpu()
        found.update(repr((some.double() if some.dtype.is_floating_point else some).tolist()).encode())
    if head is not None:
        found.update(repr((head.scale, head.softcap)).encode())
    return found.hexdigest()


def _tensors(model: Any, head: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(model, nn.Module):
        for name, value in sorted(model.state_dict().items()):
            if isinstance(value, torch.Tensor):
                yield name, value
    if head is not None:
        yield "head.weight", head.weight
        if head.bias is not None:
            yield "head.bias", head.bias
