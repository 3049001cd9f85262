"""Masks of padded lists and offsets of ragged ones, from their lengths or from the label that stands for padding."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from ..core.call import verify, whole_number
from ..core.check import at_least, peek
from ..core.domain import Domain, Interval

__all__ = ["mask_from_lengths", "mask_from_sentinel", "offsets_from_lengths"]

_LENGTHS = {"lengths": Interval(kind="integer", low=0.0, open_high=True, meaning="how many items each list has")}
_RELEVANCE = {"relevance": Domain(kind="number", meaning="the relevance of each item")}


def mask_from_lengths(lengths: Tensor, *, size: int | None = None) -> Tensor:
    """The ``mask`` of lists whose items come first and whose padding comes last.

    Shape:      lengths (*) integers -> (*, L) bool
    Args:
        size: L, the padded length; by default the longest list's, which on CUDA waits for the device.
    Raises:     ShapeError; TypeError; ValueError for a length that is negative, or greater than ``size`` (on CPU).
    Example:
        >>> losskit.mask_from_lengths(torch.tensor([1, 3]))
        tensor([[ True, False, False],
                [ True,  True,  True]])
    """
    verify(_LENGTHS, {"lengths": lengths}, None, -1)
    if size is None:
        size = int(lengths.max()) if lengths.numel() else 0
    whole_number("size", size)
    at_least("size", size, 0)
    if lengths.numel() and peek((lengths > size).any()):
        raise ValueError(f'"lengths" holds {int(lengths.max())}, expected at most "size", {size}')
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(-1)


def offsets_from_lengths(lengths: Tensor) -> Tensor:
    """The ``offsets`` of lists that lie one behind the other, from how many items each has: LightGBM's ``group``.

    Shape:      lengths (B,) integers -> (B + 1,) int64
    Raises:     ShapeError; TypeError; ValueError for a length that is negative (on CPU).
    Example:
        >>> losskit.offsets_from_lengths(torch.tensor([3, 0, 2]))
        tensor([0, 3, 3, 5])
    """
    verify({"lengths": dataclasses.replace(_LENGTHS["lengths"], shape="B")}, {"lengths": lengths}, None, -1)
    return torch.nn.functional.pad(lengths.long().cumsum(0), (1, 0))


def mask_from_sentinel(relevance: Tensor, *, sentinel: float = -1.0) -> Tensor:
    """The ``mask`` of lists in which a label stands for padding, as -1 does in TF-Ranking, keras-rs and allRank.

    Shape:      relevance (*, L) -> (*, L) bool
    Args:
        sentinel: the label of padding; NaN is one too.
    Raises:     TypeError.
    Example:
        >>> losskit.mask_from_sentinel(torch.tensor([[2.0, 0.0, -1.0]]))
        tensor([[ True,  True, False]])
    """
    verify(_RELEVANCE, {"relevance": relevance}, None, -1)
    if not _is_number(sentinel):
        raise TypeError(f'"sentinel" must be a number, got {type(sentinel).__name__}')
    return relevance == relevance if sentinel != sentinel else relevance != sentinel


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
