"""Triton's kernels, loaded by the first call on CUDA that has a use for them."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

__all__ = ["Ends", "ends"]


class Ends(NamedTuple):
    """What comes before and after a pass."""

    row_dots: Callable[[Tensor, Tensor, Tensor], Tensor]
    scale: Callable[[Tensor, Tensor, Tensor], None]


def ends(tensor: Tensor) -> Ends | None:
    """For a CUDA tensor with memory of its own (not a fake one); None where there is no Triton: torch does it too, slower."""
    return _ends() if tensor.device.type == "cuda" and type(tensor) in (Tensor, nn.Parameter) else None


@functools.cache
def _ends() -> Ends | None:
    try:
        from .triton import ends as found
    except ImportError:
        return None
    return Ends(found.row_dots, found.scale)
