"""-log p of each token in float64, from scores of all classes or from what the last layer makes them of; no gradient."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.check import wide
from ..ops.linear_call import linear_rows
from ..ops.linear_margin import linear_margin
from ..ops.margin import class_rows

__all__ = ["of_hidden", "of_logits"]

_BLOCK = 8 << 20  # bytes of scores at a time on CPU: best of 2 to 256 MiB, which takes twice as long


@torch.no_grad()
def of_logits(logits: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """-log p of each target, 0 where it is ``ignore_index``; beside the scores one block of them is held.

    Shape:      logits (*, V), target (*) -> (*)
    """
    classes = logits.shape[-1]
    dtype = torch.promote_types(logits.dtype, torch.float32)
    index, counts = class_rows(target, classes, ignore_index, dtype)
    column = index.reshape(-1, 1)
    parts: list[Tensor] = []
    start = 0
    for rows in _blocks(logits, max(1, _block_bytes(logits.device) // (classes * dtype.itemsize))):
        parts.append(_block(rows, column[start : start + len(rows)], dtype))
        start += len(rows)
    return _counted(torch.cat(parts), counts).reshape(target.shape)


@torch.no_grad()
def of_hidden(
    hidden: Tensor,
    linear_weight: Tensor,
    target: Tensor,
    linear_bias: Tensor | None,
    *,
    ignore_index: int,
    logit_scale: float,
    softcap: float | None,
    memory: int | None,
) -> Tensor:
    """-log p of each target, 0 where it is ``ignore_index``, under scores that are never held.

    Shape:      hidden (*, D), linear_weight (V, D), target (*) -> (*)
    """
    rows = linear_rows(
        hidden, linear_weight, target, linear_bias,
        ignore_index=ignore_index, logit_scale=logit_scale, softcap=softcap, memory=memory,
    )  # fmt: skip
    own, rest, *_ = linear_margin(rows.call)
    return _counted(-F.logsigmoid(_finite_or_less(own) - rest), rows.counts).reshape(target.shape)


def _block(rows: Tensor, column: Tensor, dtype: torch.dtype) -> Tensor:
    """-logsigmoid(own - rest), (n,) of (n, V): the arithmetic of ``ops.margin`` in a single copy of the scores.

    NaN where there is no softmax, as in torch: a score of +inf, or nothing but -inf.
    """
    own = wide(rows.gather(-1, column).squeeze(-1))
    # the lowest float, not -inf: inf - inf would be NaN where every other class is ruled out
    lowest = torch.finfo(dtype).min
    others = rows.to(dtype, copy=True).scatter_(-1, column, lowest)
    top = others.amax(-1, keepdim=True)
    total, top = others.sub_(top).exp_().sum(-1), top.squeeze(-1)
    # the logarithm in float64: a uniform model has V choices to the last digit
    rest = wide(top) + wide(total).log()
    # a total of 1 at the lowest float is the target's place alone
    rest = rest.masked_fill((top == lowest) & (total == 1), -torch.inf)
    return -F.logsigmoid(_finite_or_less(own) - rest)


def _finite_or_less(own: Tensor) -> Tensor:
    """NaN for a target's score of +inf: an overflow, which would look like a perfect model."""
    return own.masked_fill(own == torch.inf, torch.nan)


def _blocks(logits: Tensor, size: int) -> Iterator[Tensor]:
    """(*, V) as matrices of at most ``size`` rows, one after the other, without a copy."""
    try:
        yield from logits.view(logits.shape[:-1].numel(), logits.shape[-1]).split(size)
    except RuntimeError:  # the classes are not last in memory
        for entry in logits:
            yield from _blocks(entry, size)


def _block_bytes(device: torch.device) -> int:
    return _BLOCK if device.type == "cpu" else 16 * _BLOCK


def _counted(nll: Tensor, counts: Tensor | None) -> Tensor:
    """0 where a row counts nothing, NaN where its target is no class and nobody could look."""
    if counts is None:
        return nll
    counts = counts.reshape(nll.shape)
    return torch.where(counts != 0, nll * counts, 0)
