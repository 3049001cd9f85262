"""A batch of any make in pieces: tensors, arrays, lists of texts, and tuples, lists and dicts of them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from .check import ShapeError

__all__ = ["count_rows", "leaves", "pieces"]


def _has_axes(batch: Any) -> bool:
    return getattr(batch, "ndim", 0) > 0  # tensors, and arrays of any make


def leaves(batch: Any, name: str) -> list[tuple[str, Any]]:
    """What has rows, and where: tensors, arrays, and lists of anything else (texts, examples)."""
    if _has_axes(batch):
        return [(name, batch)]
    if isinstance(batch, Mapping):
        return [leaf for key, value in batch.items() for leaf in leaves(value, f"{name}[{key!r}]")]
    if not isinstance(batch, (list, tuple)):
        return []
    inside = [leaf for i, value in enumerate(batch) for leaf in leaves(value, f"{name}[{i}]")]
    is_column = isinstance(batch, list) and batch and not any(_has_axes(leaf) for _, leaf in inside)
    return [(name, batch)] if is_column else inside


def count_rows(batch: Any, name: str) -> int:
    """The rows of a batch."""
    found = leaves(batch, name)
    if not found:
        raise TypeError(f'"{name}" is a {type(batch).__name__} without a tensor, expected rows to cut into chunks')
    first, rows = found[0][0], len(found[0][1])
    for path, leaf in found:
        if len(leaf) != rows:
            raise ShapeError(
                f'"{path}" has {len(leaf)} rows, expected {rows} like "{first}": what has no rows belongs in the encoder'
            )
    if not rows:
        raise ValueError(f'"{name}" has no rows, expected at least one: skip the step')
    return rows


def pieces(batch: Any, chunks: Sequence[slice | list[int]]) -> list[Any]:
    """The batch in pieces of its own make, fresh ones: an encoder may take things out of a dict. A chunk may name its rows."""
    if any(leaf is batch for _, leaf in leaves(batch, "")):
        named = isinstance(batch, list)  # a list of texts knows slices alone
        return [[batch[i] for i in rows] if named and isinstance(rows, list) else batch[rows] for rows in chunks]
    if isinstance(batch, Mapping):
        values = {key: pieces(value, chunks) for key, value in batch.items()}
        parts = [{key: value[i] for key, value in values.items()} for i in range(len(chunks))]
        return [_like(batch, piece) for piece in parts]
    if isinstance(batch, (list, tuple)):
        columns = [pieces(value, chunks) for value in batch]
        rows = [[column[i] for column in columns] for i in range(len(chunks))]
        return [type(batch)(*row) if hasattr(batch, "_fields") else type(batch)(row) for row in rows]
    return [batch] * len(chunks)


def _like(batch: Mapping[Any, Any], piece: dict[Any, Any]) -> Mapping[Any, Any]:
    """A BatchEncoding has attributes that a dict has not."""
    if type(batch) is dict or not isinstance(batch, MutableMapping):
        return piece
    other = copy.copy(batch)
    other.update(piece)
    return other
