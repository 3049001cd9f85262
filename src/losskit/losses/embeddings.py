"""What the losses of embeddings share: rows and labels without leading axes, and the mean over anchors of all ranks."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.check import at_least, choice, peek, working
from ..core.domain import Interval
from ..core.reduce import Reduction, reduce, reduce_total
from ..ops.unit import unit
from ..parallel import sum_over_ranks

__all__ = ["ROUNDING", "TEMPERATURE", "Rows", "positive_number", "reduce_rows", "rows_of", "towers"]


TEMPERATURE = Interval("", "float", meaning="a number > 0", low=0, open_low=True, open_high=True, optional=True, scalar=True)


ROUNDING = 16  # eps: how far two sums of the same products, of up to some thousand features, may be apart


class Rows(NamedTuple):
    """The rows of a batch, without leading axes."""

    values: Tensor
    """(N, D), float32 at least; 0 where a row is masked"""
    valid: Tensor
    """(N,) bool: the rows that are there"""
    lead: torch.Size
    """The leading axes, for reduction="none"."""
    narrow: str
    """The dtype of what was given, if that is half precision: products may take their operands in it."""


def rows_of(input: Tensor, mask: Tensor | None = None, *, normalize: bool = True) -> Rows:
    """(*, D) as (N, D) in the dtype a loss computes in, of length one if ``normalize``; what is masked becomes 0."""
    (values,) = working(input.flatten(0, -2) if input.ndim != 1 else input[None])
    lead = input.shape[:-1]
    if mask is None:
        valid = torch.ones(len(values), dtype=torch.bool, device=input.device)
    else:
        valid = mask.reshape(-1)
        values = torch.where(valid[:, None], values, 0)
    return Rows(unit(values) if normalize else values, valid, lead, _narrow(input))


def towers(query: Tensor, key: Tensor, mask: Tensor | None = None, *, normalize: bool = True) -> tuple[Rows, Rows]:
    """The rows of two towers in one dtype: float64 if one of them is."""
    left, right = (rows_of(t, mask, normalize=normalize) for t in working(query, key))
    narrow = _narrow(query) if query.dtype == key.dtype else ""
    return left._replace(narrow=narrow), right._replace(narrow=narrow)


def _narrow(input: Tensor) -> str:
    return str(input.dtype).removeprefix("torch.") if input.dtype.itemsize == 2 else ""


def positive_number(name: str, value: Tensor | float) -> None:
    """Raise unless a temperature or scale is a number > 0; that of a tensor on CUDA is not looked at."""
    if not isinstance(value, Tensor):
        at_least(name, value, 0, strict=True)
    elif peek((value <= 0).any()):
        raise ValueError(f'"{name}" is {float(value.detach()):g}, expected a number > 0')


def reduce_rows(
    value: Tensor,
    counts: Tensor,
    lead: torch.Size,
    reduction: Reduction,
    normalizer: Tensor | float | None,
    group: dist.ProcessGroup | None,
) -> Tensor:
    """The mean over the anchors that count, of all ranks.

    Shape:      value (N,), counts (N,): bool, or what each anchor counts for -> () or ``lead``
    """
    choice("reduction", reduction, ("none", "mean", "sum"))
    weight = counts.to(value.dtype)
    if reduction == "none":
        return reduce(value, weight, reduction).reshape(lead)
    total = torch.where(weight != 0, value, 0) * weight
    return reduce_total(sum_over_ranks(total.sum(), group), sum_over_ranks(weight.sum(), group), reduction, normalizer)
