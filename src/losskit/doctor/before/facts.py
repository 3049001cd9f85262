"""What went into the model, as named tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from ..evidence.calls import Batch

__all__ = ["look_at_batch"]

_DEEP = 6  # levels of nesting; a batch that holds itself ends there
_SPECIAL = ("pad_token_id", "eos_token_id", "bos_token_id", "vocab_size")


def look_at_batch(batch: Any, tokenizer: Any = None) -> Batch:
    """The tensors of a batch by their paths, how many samples they share, and the tokenizer's special ids."""
    tensors = dict(_tensors(batch, "", _DEEP))
    firsts = Counter(t.shape[0] for t in tensors.values() if t.dim() > 0)
    samples = max(firsts, key=lambda n: (firsts[n], n), default=0)
    return Batch(tensors=tensors, samples=samples, tokenizer=_special(tokenizer))


def _tensors(value: Any, path: str, deep: int) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path or "batch", value.detach()
        return
    if deep == 0 or isinstance(value, (str, bytes)) or value is None:
        return
    for name, inner in _inside(value):
        yield from _tensors(inner, f"{path}.{name}" if path else name, deep - 1)


def _inside(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        yield from ((str(k), v) for k, v in value.items())
    elif isinstance(value, tuple) and (names := getattr(value, "_fields", ())):
        yield from zip(names, value, strict=True)
    elif isinstance(value, Sequence):
        yield from ((str(i), v) for i, v in enumerate(value))
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((f.name, getattr(value, f.name)) for f in fields(value))
    elif type(value).__module__ not in ("builtins", "torch") and hasattr(value, "__dict__"):
        yield from ((k, v) for k, v in vars(value).items() if not k.startswith("__"))


def _special(tokenizer: Any) -> dict[str, int | None]:
    """Special ids of a tokenizer of transformers, of anything with these attributes, or of a mapping."""
    if tokenizer is None:
        return {}
    named: dict[str, Any] = {
        n: tokenizer.get(n) if isinstance(tokenizer, Mapping) else getattr(tokenizer, n, None) for n in _SPECIAL
    }
    return {name: int(v) if isinstance(v, int) else None for name, v in named.items()}
