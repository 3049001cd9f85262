"""What one operation did with its values: how it is called, what is not finite in them, and the known ways to get there."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..step import tensors_in

__all__ = [
    "WRITERS",
    "Marks",
    "dense",
    "empty_count",
    "extremes",
    "finite_when_wider",
    "marks",
    "masked_row",
    "readable",
]

# operations that write a constant: an infinity that they put there is meant, it masks
WRITERS = frozenset({
    "constant_pad_nd", "copy", "empty", "fill", "full", "full_like", "index_fill", "index_put", "lift_fresh", "masked_fill",
    "masked_scatter", "new_empty", "new_full", "scalar_tensor", "scatter", "select_scatter", "slice_scatter", "tensor", "tril",
    "triu", "where",
})  # fmt: skip
_CLEANED = re.compile(
    r"^(?:_?foreach|_?fused|_?native|_?cudnn|_?miopen|_?mkldnn|_?efficient|_?safe)_|^_+|_(?:forward|backward)$|_$"
)
_CALLED = {
    "addmm": "matmul", "mm": "matmul", "bmm": "matmul", "baddbmm": "matmul", "addmv": "matmul", "mv": "matmul", "dot": "matmul",
    "convolution": "conv", "to_copy": "to", "linalg_vector_norm": "norm", "true_divide": "div",
}  # fmt: skip
_NEAR_ZERO = frozenset({"div", "reciprocal", "rsqrt", "atan2"})


class Marks(enum.Flag):
    """Which values that are not finite a tensor holds."""

    CLEAN = 0
    NAN = 1
    POSITIVE = 2
    NEGATIVE = 4

    @property
    def value_of(self) -> float:
        """The worst of them."""
        return math.nan if Marks.NAN in self else math.inf if Marks.POSITIVE in self else -math.inf


def readable(name: str) -> str:
    """ "aten::_log_softmax.int" as "log_softmax"."""
    name = name.rpartition("::")[2].partition(".")[0]
    if "scaled_dot_product" in name:
        return "scaled_dot_product_attention"
    while (shorter := _CLEANED.sub("", name)) != name:
        name = shorter
    return _CALLED.get(name, name)


def dense(tensor: Tensor) -> Tensor:
    """Its values, detached; of a sparse one in full."""
    return tensor.detach() if tensor.layout == torch.strided else tensor.detach().to_dense()


def marks(tensor: Tensor) -> Marks:
    """What is not finite in it; CLEAN for what cannot be looked at."""
    if not (tensor.is_floating_point() or tensor.is_complex()) or tensor.is_meta:
        return Marks.CLEAN
    try:
        values = dense(tensor)
        # a sum is one pass and finite only if all of it is; isfinite makes four
        if bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all()):
            return Marks.CLEAN
        if tensor.is_complex():
            return Marks.NAN
        found = [bool(f(values).any()) for f in (torch.isnan, torch.isposinf, torch.isneginf)]
    except (RuntimeError, NotImplementedError):  # e.g. float8, which has no isfinite
        return Marks.CLEAN
    kinds = (Marks.NAN, Marks.POSITIVE, Marks.NEGATIVE)
    return Marks(sum(kind.value for kind, there in zip(kinds, found, strict=True) if there))


@dataclass(frozen=True)
class Spots:
    """Where a tensor is not finite."""

    bad: int
    numel: int
    value: float
    index: tuple[int, ...]
    """The first place."""
    rows: tuple[int, ...]
    """Places in its first dimension."""
    dtype: str


def spots(tensor: Tensor) -> Spots:
    """Without a list of all places: a row of logits that is NaN may have 10^8 of them."""
    values = dense(tensor)
    bad = ~torch.isfinite(values)
    count = int(bad.sum())
    index: list[int] = []
    if count and bad.dim():
        at = int(bad.flatten().to(torch.uint8).argmax())
        for size in reversed(bad.shape):
            index.insert(0, at % size)
            at //= size
    rows = bad.flatten(1).any(1).nonzero()[:, 0].tolist() if bad.dim() > 1 else bad.nonzero()[:, 0].tolist() if bad.dim() else []
    value = marks(values).value_of if count else math.nan
    return Spots(count, bad.numel(), value, tuple(index), tuple(rows), str(values.dtype).removeprefix("torch."))


def extremes(name: str, args: Sequence[Any]) -> tuple[float | None, float | None]:
    """Of what went in: the largest magnitude and the lowest value, of a divisor that nearest to 0."""
    floats = [t.detach() for t in tensors_in(args) if t.is_floating_point() and t.numel() and t.layout == torch.strided]
    largest = max((float(torch.where(torch.isfinite(t), t, 0).abs().amax()) for t in floats), default=None)
    if name in _NEAR_ZERO:
        divisor = args[-1] if name == "div" and len(args) > 1 else args[0]
        if isinstance(divisor, Tensor):
            return largest, float(divisor.detach().abs().amin()) if divisor.numel() else None
        return largest, float(divisor)
    lowest = min((float(torch.where(torch.isfinite(t), t, math.inf).amin()) for t in floats), default=math.inf)
    return largest, lowest if math.isfinite(lowest) else None


def masked_row(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> bool:
    """Whether a softmax saw a row in which everything is masked."""
    if name in ("softmax", "log_softmax"):
        return bool((args[0].detach() == -math.inf).all(args[1]).any())
    if name != "scaled_dot_product_attention":
        return False
    for mask in tensors_in([*args[3:], kwargs]):
        if mask.dim() >= 2 and mask.numel():
            away = ~mask if mask.dtype == torch.bool else mask.detach() == -math.inf
            if bool(away.all(-1).any()):
                return True
    return False


def empty_count(name: str, args: Sequence[Any], output: Any, made_by: Sequence[str]) -> bool:
    """Whether a NaN is a mean, a variance or a quotient over nothing. ``made_by`` are the operations that made each tensor."""
    if name in ("mean", "nanmean"):
        return bool(args[0].numel() == 0)
    if name in ("var", "std", "var_mean", "std_mean"):
        return bool(torch.isfinite(args[0]).all())
    if name in ("nll_loss", "nll_loss2d"):
        return isinstance(output, tuple) and bool((output[1] == 0).all())
    if name != "div" or len(args) < 2:
        return False
    above, below = (v if isinstance(v, Tensor) else torch.tensor(float(v)) for v in args[:2])
    if below.numel() != 1 or bool(below != 0):
        return False
    counted = not below.is_floating_point() or not isinstance(args[1], Tensor) or made_by[-1:] in (["sum"], ["to"])
    return above.numel() == 1 or counted


def finite_when_wider(func: Any, args: Any, kwargs: Mapping[str, Any], dtype: torch.dtype) -> bool:
    """Whether the same operation on the same numbers stays finite in a wider format."""
    formats = [t.dtype for t in tensors_in([args, kwargs])] + [v for v in kwargs.values() if isinstance(v, torch.dtype)]
    if not any(one.is_floating_point and one.itemsize < dtype.itemsize for one in formats):
        return False
    try:
        output = func(*_wider(args, dtype), **{k: _wider(v, dtype) for k, v in kwargs.items()})
    except (RuntimeError, TypeError, NotImplementedError):  # not every operation has every format
        return False
    return all(not marks(t) for t in tensors_in(output))


def _wider(value: Any, dtype: torch.dtype) -> Any:
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, torch.dtype):
        return dtype if value.is_floating_point else value
    if isinstance(value, (tuple, list)):
        return type(value)(_wider(v, dtype) for v in value)
    return value
