"""(own, rest) on CPU from a tile of classes at a time for many rows, so that the weights are read once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import row_blocks, slabs

__all__ = ["Tiled", "tiled", "tiles_fit"]

_CLASSES = 1024  # of a tile
_CACHED = 1 << 20  # bytes of a tile worked on at a time
_LEAST = 64  # rows: the weights are read anew for every block of them


class Tiled(NamedTuple):
    """Of each row, (N,): the log-sum-exp of the others' scores in float64, the largest of these and its class."""

    rest: Tensor
    peak: Tensor
    top: Tensor


def tiles_fit(x: Tensor, classes: int) -> bool:
    """Whether the pass serves: on CPU, where the products come in the dtype of the scores, and more than one tile of them."""
    return x.device.type == "cpu" and x.dtype != torch.bfloat16 and classes > 2 * _CLASSES


def tiled(x: Tensor, w: Tensor, bias: Tensor | None, index: Tensor, scale: float, softcap: float | None, memory: int) -> Tiled:
    """The statistics of softcap * tanh(scale * (x @ w.T + bias) / softcap), the target of each row left out.

    ``memory`` is bytes for a tile of scores and, in half precision, the float32 copy of its weights.
    """
    dtype = torch.promote_types(x.dtype, torch.float32)
    beside = _CLASSES * x.shape[1] * dtype.itemsize * (x.dtype != dtype)
    memory = max((memory - beside) // 2, _LEAST * _CLASSES * dtype.itemsize)
    rest = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    peak = torch.full_like(rest, -torch.inf)
    top = torch.zeros_like(index)
    for rows in row_blocks(len(x), _CLASSES * dtype.itemsize, memory):
        part = x[rows].to(dtype)
        tile = part.new_empty(len(part), min(_CLASSES, len(w)))
        for classes in slabs(len(w), _CLASSES):
            weights = w[classes].to(dtype)
            scores = torch.mm(part, weights.T, out=tile[:, : len(weights)])
            offset = None if bias is None else bias[classes].to(dtype)
            _fold(scores, offset, scale, softcap, index[rows] - classes.start, classes.start, rest[rows], peak[rows], top[rows])
    return Tiled(rest, peak, top)


def _fold(
    scores: Tensor, bias: Tensor | None, scale: float, softcap: float | None, place: Tensor, start: int,
    rest: Tensor, peak: Tensor, top: Tensor,
) -> None:  # fmt: skip
    """Add a tile to the statistics of its rows, a run of rows that fits the cache at a time."""
    count = max(1, _CACHED // (scores.shape[1] * scores.itemsize))
    own = place.clamp(0, scores.shape[1] - 1).unsqueeze(1)
    outside = (place != own.squeeze(1)).unsqueeze(1)
    for at in slabs(len(scores), count):
        run = scores[at]
        if bias is not None:
            run.add_(bias)
        if scale != 1:
            run.mul_(scale)
        if softcap is not None:
            run.div_(softcap).tanh_().mul_(softcap)
        run.scatter_(1, own[at], torch.where(outside[at], run.gather(1, own[at]), torch.finfo(run.dtype).min))
        highest, where = run.max(1)
        # a tile of classes that are all ruled out (-inf) has no largest, and adds nothing
        mass = run.sub_(highest.clamp(min=torch.finfo(run.dtype).min).unsqueeze(1)).exp_().sum(1)
        highest = highest.double()
        rest[at] = torch.logaddexp(rest[at], highest + mass.double().log())
        top[at] = torch.where(highest > peak[at], where + start, top[at])
        peak[at] = torch.maximum(peak[at], highest)
