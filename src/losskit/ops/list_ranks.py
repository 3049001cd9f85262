"""Items of many lists in the order of their scores: a fast stable sort, places, and means over ties."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Places", "mean_over_ties", "order", "places", "runs"]

_WHOLE = {torch.float32: torch.int32, torch.float64: torch.int64}


def order(key: Tensor, *, descending: bool = False) -> Tensor:
    """A stable argsort along the last axis; -0.0 is 0.0, and NaN comes last.

    On a CPU a radix sort of the bits, which rise as the floats do, is eight times as fast as a sort of floats.

    Shape:      key (*, L), of any real dtype -> (*, L) int64
    """
    if key.dtype == torch.bool:
        key = key.to(torch.uint8)
    if not key.is_floating_point():
        return key.argsort(dim=-1, descending=descending, stable=True)
    key = key.detach() if key.dtype in _WHOLE else key.detach().float()
    key = 0.0 - key if descending else key + 0.0  # one zero
    key.masked_fill_(key != key, torch.nan)  # one NaN
    if key.device.type != "cpu" or torch.compiler.is_compiling():
        return key.argsort(dim=-1, stable=True)
    whole = torch.iinfo(_WHOLE[key.dtype])
    bits = key.view(_WHOLE[key.dtype])
    # below zero the bits fall as the number rises
    return bits.bitwise_xor_((bits >> (whole.bits - 1)).bitwise_and_(whole.max)).argsort(dim=-1, stable=True)


def runs(begins: Tensor) -> tuple[Tensor, Tensor]:
    """The first place of the run that each place is in, and the place after its last: runs start where ``begins``.

    Shape:      begins (*, L) bool, True at place 0 -> (*, L), (*, L) int64
    """
    size = begins.shape[-1]
    here = torch.arange(size, device=begins.device).expand(begins.shape)
    first = torch.where(begins, here, 0).cummax(-1).values if size else here
    ends = begins.roll(-1, -1)
    after = torch.where(ends, here + 1, size).flip(-1).cummin(-1).values.flip(-1) if size else here
    return first, after


class Places(NamedTuple):
    """Where each item of a list stands by its score, the highest first; (B, L) int64."""

    above: Tensor
    """Valid items that score strictly higher; at an item that is not valid, all valid ones."""
    tied: Tensor
    """Valid items of the same score, itself included; 1 at an item that is not valid."""


def places(scores: Tensor, valid: Tensor) -> Places:
    """The place of each item, ties sharing theirs: a tie takes the places above, above + 1, ..., above + tied - 1.

    Shape:      scores (B, L), valid (B, L) bool
    """
    scores = scores.detach()
    at = _valid_first(order(scores, descending=True), valid)
    s, there = scores.gather(-1, at), valid.gather(-1, at)
    here = torch.arange(s.shape[-1], device=s.device)
    begins = (s != s.roll(1, -1)) | ~there | (here == 0)
    first, after = runs(begins)
    above, tied = (torch.zeros_like(at).scatter(-1, at, value) for value in (first, after - first))
    count = valid.sum(-1, keepdim=True)
    return Places(torch.where(valid, above, count), torch.where(valid, tied, 1))


def _valid_first(at: Tensor, valid: Tensor) -> Tensor:
    """The same order with the items that are not valid at the end."""
    return at.gather(-1, order(~valid.gather(-1, at)))


def mean_over_ties(table: Tensor, at: Places) -> Tensor:
    """The mean of ``table`` over the places that an item's tie takes: its expectation if ties are broken at random.

    Shape:      table (L,) or (B, L), by place -> (B, L) in float64 where the device has it
    """
    table = (table if table.device.type == "mps" else table.double()).expand(at.above.shape)
    sums = torch.cat([table.new_zeros(*table.shape[:-1], 1), table.cumsum(-1)], -1)
    stop = (at.above + at.tied).clamp(max=table.shape[-1])
    mean = (sums.gather(-1, stop) - sums.gather(-1, torch.minimum(at.above, stop))) / at.tied
    # a difference of sums has lost digits that the place itself has
    alone = table.gather(-1, at.above.clamp(max=max(table.shape[-1] - 1, 0))) if table.shape[-1] else mean
    return torch.where(at.tied == 1, alone, mean)
