"""Items of many lists in the order of their scores: a fast stable sort, runs of equal keys, and places."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Places", "begins", "order", "places", "runs", "valid_first"]

_RADIX = 1 << 15  # a vector of so many integers, but no row of a matrix, torch sorts by radix where it rises: five times as fast
_WHOLE = {torch.float32: torch.int32, torch.float64: torch.int64}


def order(key: Tensor, *, descending: bool = False) -> Tensor:
    """A stable argsort along the last axis; -0.0 is 0.0, and NaN comes last.

    On a CPU a radix sort of the bits, which rise as the floats do, is eight times as fast as a sort of floats.

    Shape:      key (*, L), of any real dtype -> (*, L) int64
    """
    if key.dtype == torch.bool:
        key = key.to(torch.uint8)
    if not key.is_floating_point():
        return _rising(~key if descending else key)
    key = key.detach() if key.dtype in _WHOLE else key.detach().float()
    key = 0.0 - key if descending else key + 0.0  # one zero
    key.masked_fill_(key != key, torch.nan)  # one NaN
    if key.device.type != "cpu" or torch.compiler.is_compiling():
        return key.argsort(dim=-1, stable=True)
    whole = torch.iinfo(_WHOLE[key.dtype])
    bits = key.view(_WHOLE[key.dtype])
    # below zero the bits fall as the number rises
    return _rising(bits.bitwise_xor_((bits >> (whole.bits - 1)).bitwise_and_(whole.max)))


def _rising(key: Tensor) -> Tensor:
    """The order of integers."""
    plain = key.dim() == 1 or key.shape[-1] < _RADIX or not key.numel()
    if plain or key.device.type != "cpu" or torch.compiler.is_compiling():
        return key.argsort(dim=-1, stable=True)
    return torch.stack([row.argsort(stable=True) for row in key.flatten(0, -2)]).view(key.shape)


def begins(*keys: Tensor) -> Tensor:
    """Where a run of equal keys begins, or of equal pairs of keys and so on: NaN equals nothing.

    Shape:      keys (*, L), in order -> (*, L) bool, True at place 0
    """
    one = torch.ones_like(keys[0][..., :1], dtype=torch.bool)
    differs = [key[..., 1:] != key[..., :-1] for key in keys]
    return torch.cat([one, functools.reduce(torch.logical_or, differs)], -1)


def runs(begin: Tensor) -> tuple[Tensor, Tensor]:
    """The first place of the run that each place is in, and the place after its last: runs start where ``begin``.

    Shape:      begin (*, L) bool, True at place 0 -> (*, L), (*, L) int64
    """
    size = begin.shape[-1]
    here = torch.arange(size, device=begin.device).expand(begin.shape)
    first = torch.where(begin, here, 0).cummax(-1).values if size else here
    ends = begin.roll(-1, -1)
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
    at = valid_first(order(scores, descending=True), valid)
    first, after = runs(begins(scores.gather(-1, at)) | ~valid.gather(-1, at))
    above, tied = (torch.zeros_like(at).scatter(-1, at, value) for value in (first, after - first))
    count = valid.sum(-1, keepdim=True)
    return Places(torch.where(valid, above, count), torch.where(valid, tied, 1))


def valid_first(at: Tensor, valid: Tensor) -> Tensor:
    """The same order with the items that are not valid at the end."""
    return at.gather(-1, order(~valid.gather(-1, at)))
