"""From a user's arguments to rows of a projection: options checked, leading axes flattened, ignored rows named."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.call import whole_number
from ..core.check import at_least
from .blocks import DEFAULT_MEMORY
from .linear_margin import Projected
from .margin import class_rows

__all__ = ["Rows", "budget", "linear_rows", "operand"]


class Rows(NamedTuple):
    """The rows of one call, and what each counts."""

    call: Projected
    counts: Tensor | None
    """(N,) 0 for an ignored row, 1 for the others; None if all count one."""
    shape: torch.Size
    """The leading axes, which the values of the rows go back to."""
    dtype: torch.dtype
    """Of the values: float32 at least."""

    def keep(self, counts: Tensor | None) -> Rows:
        """The same rows, of which those that count 0 are dropped."""
        return self if counts is None else self._replace(call=self.call._replace(kept=counts != 0))


def linear_rows(
    input: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    *,
    ignore_index: int,
    logit_scale: float,
    softcap: float | None,
    memory: int | None,
) -> Rows:
    """Rows of ``input`` (*, D) against ``linear_weight`` (C, D), with class indices ``target`` (*).

    Raises:     IndexError for a target outside of [0, C); TypeError for weights of another dtype; ValueError for an option.
    """
    at_least("logit_scale", logit_scale, 0, strict=True)
    if softcap is not None:
        at_least("softcap", softcap, 0, strict=True)
    rows = input.reshape(input.shape[:-1].numel(), input.shape[-1])  # -1 is ambiguous without features
    dtype = torch.promote_types(input.dtype, torch.float32)
    index, counts = class_rows(target.reshape(-1), len(linear_weight), ignore_index, dtype)
    weight = operand("linear_weight", linear_weight, "input", input).to(input.dtype)
    bias = None if linear_bias is None else operand("linear_bias", linear_bias, "input", input)
    call = Projected(rows, weight, bias, index, None, float(logit_scale), softcap, budget(memory, input.device))
    return Rows(call, counts, input.shape[:-1], dtype).keep(counts)


def budget(memory: int | None, device: torch.device) -> int:
    """Bytes of the workspace: on CUDA each block more reads all weights twice and their gradient once, so four times as many."""
    if memory is None:
        return DEFAULT_MEMORY if device.type == "cpu" else 4 * DEFAULT_MEMORY
    whole_number("memory", memory)
    at_least("memory", memory, 1)
    return memory


def operand(name: str, tensor: Tensor, like: str, input: Tensor) -> Tensor:
    """A parameter of the dtype of ``input``: float32 ones meet half-precision rows in mixed precision.

    Raises:     TypeError for any other dtype.
    """
    if tensor.dtype == input.dtype or (tensor.dtype == torch.float32 and input.dtype in (torch.float16, torch.bfloat16)):
        return tensor
    raise TypeError(
        f'"{name}" has dtype {tensor.dtype}, expected {input.dtype} like "{like}" (or float32 under half-precision rows): '
        f"use {name}.to({like}.dtype)"
    )
