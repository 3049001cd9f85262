"""The one way to say "expected ..., got ..."; ShapeError; debug()."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = [
    "ShapeError",
    "at_least",
    "between",
    "choice",
    "class_error",
    "debug",
    "debugging",
    "drawn_by",
    "first_place",
    "peek",
    "shape_text",
    "visible",
    "wide",
    "working",
]

_debug_depth = 0


class ShapeError(ValueError):
    """Two tensors whose shapes do not fit each other; the message names both and the remedy."""


@contextmanager
def debug() -> Generator[None, None, None]:
    """Look at every value of every argument, on every device, and raise at the first that is NaN or out of range.

    Outside of ``debug`` a loss checks shapes, dtypes and devices always, and values only where that costs
    no synchronisation: on CUDA, inside ``torch.compile`` and under ``vmap`` a target that is out of range makes its
    row NaN. Inside ``debug`` the same target raises, and so does a NaN in a value that counts.
    Not thread-safe: it is a switch for the whole process.

    Example:
        >>> with losskit.debug():
        ...     losskit.mse_loss(torch.tensor([math.nan]), torch.tensor([1.0]))
        Traceback (most recent call last):
        ValueError: "input" is nan at index 0, expected a number: mask it, or find what made it
    """
    global _debug_depth
    _debug_depth += 1
    try:
        yield
    finally:
        _debug_depth -= 1


def debugging() -> bool:
    """Whether a debug() block is open."""
    return _debug_depth > 0


def shape_text(shape: torch.Size | tuple[int, ...]) -> str:
    """A shape as a person writes it: (4, 7), (4,), ()."""
    return str(tuple(shape))


def peek(condition: Tensor) -> bool | None:
    """The truth of a 0-d condition, or None where looking is impossible (compiling, vmap) or would synchronise (CUDA)."""
    if torch.compiler.is_compiling() or not (condition.device.type == "cpu" or _debug_depth):
        return None
    try:
        return bool(condition)
    except RuntimeError:  # vmap and fake tensors have no value to look at
        return None


def _number(name: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f'"{name}" must be a number, got {type(value).__name__}')
    return value


def at_least(name: str, value: float, low: float, *, strict: bool = False, finite: bool = True) -> None:
    """Raise unless ``value`` is a number >= low (> low if strict), not NaN, and not inf unless ``finite`` is False."""
    value = _number(name, value)
    if not (value > low if strict else value >= low):
        raise ValueError(f'"{name}" must be {">" if strict else ">="} {low:g}, got {value!r}')
    largest = sys.float_info.max
    if finite and not -largest <= value <= largest:  # math.isinf takes no symbolic number of torch.compile(dynamic=True)
        raise ValueError(f'"{name}" must be finite, got {value if isinstance(value, float) else "an int beyond all floats"!r}')


def between(name: str, value: float, low: float, high: float, *, strict: bool = False) -> None:
    """Raise unless ``value`` is a number in [low, high], or in (low, high) if strict."""
    value = _number(name, value)
    if not (low < value < high if strict else low <= value <= high):
        bounds = f"({low:g}, {high:g})" if strict else f"[{low:g}, {high:g}]"
        raise ValueError(f'"{name}" must be in {bounds}, got {value!r}')


def choice(name: str, value: object, options: tuple[object, ...]) -> None:
    """Raise unless ``value`` is one of the options."""
    if value not in options:
        raise ValueError(f'"{name}" must be {" or ".join(map(repr, options))}, got {value!r}')


def drawn_by(name: str, value: object) -> None:
    """Raise unless ``value`` is a torch.Generator, or None for torch's own."""
    if value is not None and not isinstance(value, torch.Generator):
        raise TypeError(f'"{name}" must be a torch.Generator or None, got {type(value).__name__}')


def working(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype a loss computes in: float32 at least, float64 if any of them is float64."""
    dtype = torch.float64 if any(t.dtype == torch.float64 for t in tensors) else torch.float32
    return tuple(t if t.dtype == dtype else t.to(dtype) for t in tensors)


def first_place(wrong: Tensor) -> tuple[tuple[int, ...], str]:
    """Where the first True stands: as an index, and in words (" at index 3"; nothing for a 0-d tensor)."""
    at = tuple(int(i) for i in wrong.nonzero()[0])
    return at, f" at index {at[0] if len(at) == 1 else at}" if at else ""


def class_error(name: str, index: Tensor, wrong: Tensor, classes: int, ignore_index: int | None) -> IndexError:
    """The error of a class out of range: the first one, and its place."""
    at, place = first_place(wrong)
    return IndexError(f'"{name}" is {int(index[at])}{place}, expected a class in [0, {classes}) or ignore_index={ignore_index}')


def wide(value: Tensor) -> Tensor:
    """In float64, where the device has it."""
    return value if value.device.type == "mps" else value.double()


def visible(weight: Tensor | None, *tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in the dtype a loss computes in, and 1 (which every domain holds) wherever ``weight`` is 0."""
    tensors = working(*tensors)
    return tensors if weight is None else tuple(torch.where(weight != 0, t, 1) for t in tensors)
