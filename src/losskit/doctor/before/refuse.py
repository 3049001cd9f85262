"""What a CUDA kernel answers with a device-side assert, said before it is asked: an assert ends the whole process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

__all__ = ["refuse"]


def refuse(name: str, tensors: Mapping[str, Tensor], options: Mapping[str, Any]) -> None:
    """Raise what torch raises on CPU, in its words, where the values of a CUDA tensor are out of range.

    Raises:     IndexError for a class, RuntimeError for a probability.
    """
    input, target = tensors.get("input"), tensors.get("target")
    if input is None or target is None or not input.is_cuda or input.dim() == 0:
        return
    if name in ("cross_entropy", "nll_loss") and not target.is_floating_point():
        classes = input.shape[1 if input.dim() > 1 else 0]
        bad = ((target < 0) | (target >= classes)) & (target != options.get("ignore_index", -100))
        if bool(bad.any()):
            raise IndexError(f"Target {int(target[bad][0])} is out of bounds.")
    if name == "binary_cross_entropy" and bool(((input < 0) | (input > 1)).any()):
        raise RuntimeError("all elements of input should be between 0 and 1")
