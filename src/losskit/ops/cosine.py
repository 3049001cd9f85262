"""The cosine of each pair of rows, in float64 with a gradient of one pass: what rankings by similarity are made of."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.check import wide
from .autograd import batched
from .first_order import Found, first_order
from .unit import SHORTEST, unit

__all__ = ["cosine"]

_BLOCK = 2**15  # features of a block of rows: 512 KB of pairs in float64, which stay in a core's cache


def cosine(query: Tensor, key: Tensor) -> Tensor:
    """cos of each pair of rows, in float64: an error of 1e-7 is one of 1e-5 in every gradient at a temperature of 0.01."""
    pairs = torch.stack([query, key])
    if wide(pairs[:0]).dtype == pairs.dtype or not pairs.numel():
        return _by_unit_rows(pairs)  # squares could overflow
    return first_order(_by_unit_rows, _by_dots, pairs)


def _by_unit_rows(pairs: Tensor) -> Tensor:
    return wide(unit(pairs).prod(0).sum(-1))


def _blocks(pairs: Tensor) -> tuple[Tensor, ...]:
    found: tuple[Tensor, ...] = pairs.split(max(1, _BLOCK // pairs.shape[-1]), 1)
    return found


def _by_dots(pairs: Tensor) -> Found:
    """From dot products in float64, a block of rows at a time."""
    products, squares = [], []
    for rows in _blocks(pairs):
        double = wide(rows)
        products.append(double.prod(0).sum(-1))
        short = rows.abs().amax(-1) <= SHORTEST  # False for NaN
        squares.append(torch.where(short, torch.inf, double.square().sum(-1)))
    inverse = torch.cat(squares, 1).rsqrt()
    cosine = torch.cat(products) * inverse.prod(0)
    return cosine, (pairs, cosine, inverse), _pull


def _pull(grad: Tensor, pairs: Tensor, cosine: Tensor, inverse: Tensor) -> Tensor:
    """d cos / dq = (k / |k| - cos q / |q|) / |q|."""
    across, along = (grad * inverse.prod(0))[:, None], (grad * cosine * inverse.square())[..., None]
    if batched(grad):
        return _slopes(wide(pairs), across, along).to(pairs.dtype)
    found, start = torch.empty_like(pairs), 0
    for rows, out in zip(_blocks(pairs), _blocks(found), strict=True):
        here = slice(start, start := start + rows.shape[1])
        out.copy_(_slopes(wide(rows), across[here], along[:, here]))
    return found


def _slopes(pairs: Tensor, across: Tensor, along: Tensor) -> Tensor:
    return (pairs.flip(0) * across).addcmul_(pairs, along, value=-1)
