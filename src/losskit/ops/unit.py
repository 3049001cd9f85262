"""Rows of length one: what cosine similarity is made of."""

from __future__ import annotations

import torch
from torch import Tensor

from .first_order import Found, first_order

__all__ = ["SHORTEST", "unit"]

SHORTEST = 1e-12  # rows no longer than this have no direction (F.normalize's eps)


def unit(rows: Tensor) -> Tensor:
    """Each row divided by its length; a row without a direction becomes 0, and has no gradient.

    Lengths neither overflow nor underflow: a row is divided by its largest entry first.

    Shape:      (*, D) -> (*, D), of the same dtype
    """
    return first_order(_formula, _kernel, rows)


def _parts(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The unit rows, and one over the length of each; both 0 for a row without a direction."""
    largest = rows.detach().abs().amax(-1, keepdim=True) if rows.shape[-1] else rows.new_zeros(*rows.shape[:-1], 1)
    long = ~(largest <= SHORTEST)  # a NaN stays to be seen
    within = rows / torch.where(long, largest, 1)
    length = torch.where(long, within, 1).square().sum(-1, keepdim=True).sqrt()
    return torch.where(long, within / length, 0), torch.where(long, 1 / (length.detach() * largest), 0)


def _formula(rows: Tensor) -> Tensor:
    return _parts(rows)[0]


def _kernel(rows: Tensor) -> Found:
    directions, inverse = _parts(rows)
    return directions, (directions, inverse), _pull


def _pull(grad: Tensor, directions: Tensor, inverse: Tensor) -> Tensor:
    along = (grad * directions).sum(-1, keepdim=True)
    return torch.addcmul(grad, directions, along, value=-1).mul_(inverse)
