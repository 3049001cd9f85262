"""A batch as its tensors by path: cleaned, cut to some of its samples, in another format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .origin_ops import Marks, marks

__all__ = ["Entry", "cleaned", "cut", "entries", "mapped", "only_sample", "samples_of"]

_TARGETS = ("labels", "label", "targets", "target", "y")


@dataclass(frozen=True)
class Entry:
    """One tensor of a batch."""

    name: str
    tensor: Tensor
    marks: Marks
    target: bool


def mapped(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same batch with each tensor changed."""
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        changed = {key: mapped(value, change) for key, value in batch.items()}
        try:
            make: Any = type(batch)  # a tokenizer's BatchEncoding takes a dict, so does dict
            return make(changed)
        except TypeError:
            return changed
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(mapped(value, change) for value in batch))
    return type(batch)(mapped(value, change) for value in batch) if isinstance(batch, (tuple, list)) else batch


def _walk(batch: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(batch, Tensor):
        yield path, batch
    elif isinstance(batch, Mapping):
        for key, value in batch.items():
            yield from _walk(value, f"{path}.{key}" if path else str(key))
    elif isinstance(batch, (tuple, list)):
        names = getattr(batch, "_fields", range(len(batch)))
        for key, value in zip(names, batch, strict=True):
            yield from _walk(value, f"{path}.{key}" if path else str(key))


def entries(batch: Any) -> list[Entry]:
    """Its tensors; the last of a tuple is the target, and what is called so in a mapping."""
    last = str(len(batch) - 1) if isinstance(batch, (tuple, list)) and len(batch) > 1 else None
    found = []
    for name, tensor in _walk(batch, ""):
        first, _, end = name.partition(".")[0], "", name.rpartition(".")[2]
        found.append(Entry(name, tensor, marks(tensor), first == last or end.lower() in _TARGETS))
    return found


def cleaned(batch: Any) -> Any:
    """NaN and infinities replaced by finite values of the same tensor, in turn, so that its scale stays."""
    return mapped(batch, lambda t: _clean(t) if marks(t) else t)


def _clean(tensor: Tensor) -> Tensor:
    bad = ~torch.isfinite(tensor)
    good = tensor[~bad]
    if not good.numel():
        good = tensor.new_zeros(1)
    fill = good[torch.arange(int(bad.sum()), device=tensor.device) % good.numel()]
    changed = tensor.detach().clone()
    changed[bad] = fill
    return changed


def samples_of(batch: Any) -> int | None:
    """The first dimension, if all tensors that have one share it."""
    sizes = {e.tensor.shape[0] for e in entries(batch) if e.tensor.dim()}
    return sizes.pop() if len(sizes) == 1 else None


def cut(batch: Any, first: int, last: int) -> Any:
    """Samples ``first`` up to ``last``, not included."""
    return mapped(batch, lambda t: t[first:last] if t.dim() else t)


def only_sample(batch: Any, bad: Callable[[Any], bool]) -> int | None:
    """The one sample that makes ``bad`` true, by bisection; None if there is more than one or it cannot be told."""
    count = samples_of(batch)
    if count is None or count < 2:
        return None
    first, last = 0, count
    try:
        while last - first > 1:
            middle = (first + last) // 2
            left, right = bad(cut(batch, first, middle)), bad(cut(batch, middle, last))
            if left == right:
                return None
            first, last = (first, middle) if left else (middle, last)
    except (RuntimeError, ValueError, TypeError, IndexError):  # a model may refuse a batch of another size
        return None
    return first
