"""Numbers of a set of rows that a person looks at: which are copies, how far they spread, how many directions they use."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Shape", "content_hash", "effective_rank", "joined_hash", "row_shape"]

_ODD = (-7046029254386353131, -4658895280553007687)  # 64-bit multipliers, of splitmix64
_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def content_hash(rows: Tensor) -> Tensor:
    """(N, D) floats -> (N,) int64: equal for rows that are equal bit by bit, and hardly ever for others."""
    bits = (rows.detach() + 0.0).contiguous().view(_INTEGERS[rows.element_size()]).long()  # -0.0 is 0.0
    place = torch.arange(1, rows.shape[-1] + 1, device=rows.device)
    return _mixed(bits + place * _ODD[1]).sum(-1)


def joined_hash(first: Tensor, second: Tensor) -> Tensor:
    """Of pairs of integers."""
    return _mixed(first + _mixed(second + _ODD[1]))


def _mixed(values: Tensor) -> Tensor:
    values = (values ^ (values >> 30)) * _ODD[0]
    return values ^ (values >> 27)


class Shape(NamedTuple):
    """How a set of rows lies."""

    gram: Tensor
    """(D, D) products of features or (N, N) of rows, whichever are fewer; float64"""
    spread: Tensor
    """0-d float64: the mean standard deviation of a feature, times D^(1/2): 1 for unit rows that lie evenly"""


def row_shape(rows: Tensor, valid: Tensor) -> Shape:
    """Of (N, D) rows, 0 where they are not ``valid`` (N,)."""
    rows, there = rows.double(), valid[:, None]
    count = there.sum().clamp(min=1)
    mean = rows.sum(0) / count
    deviation = (torch.where(there, rows - mean, 0).square().sum(0) / count).sqrt()
    gram = rows.T @ rows if rows.shape[1] <= len(rows) else rows @ rows.T
    return Shape(gram, deviation.mean() * rows.shape[1] ** 0.5)


def effective_rank(gram: Tensor) -> float:
    """exp of the entropy of the singular values of which ``gram`` holds the products; 0 where all are 0. On the host."""
    if not gram.numel() or not bool(gram.isfinite().all()):
        return math.nan
    power = torch.linalg.eigvalsh(gram)
    noise = len(gram) * torch.finfo(gram.dtype).eps * power.amax()
    values = torch.where(power > noise, power, 0).sqrt()
    if not float(values.sum()):
        return 0.0
    share = values / values.sum()
    return math.exp(-float(torch.special.xlogy(share, share).sum()))
