"""What the segmentation losses share: probabilities and targets of pixels, and the mean over images and classes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..core.check import ShapeError, peek, visible
from ..core.domain import Mask
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.margin import class_last, class_rows

__all__: list[str] = []  # for the losses next door, not for the user

PIXEL_MASK = Mask(meaning="True where a pixel counts")


class Pixels(NamedTuple):
    """Probabilities of every pixel and class, and their targets, with what does not count set to 0."""

    inside: Tensor
    """p times what the pixel counts."""
    outside: Tensor
    """1 - p likewise, without the rounding of 1 - p."""
    target: Tensor
    counts: Tensor
    """(N, *, 1) what a pixel counts: 1 or 0, NaN where its class index is out of range and nobody could look."""


def over_pixels(value: Tensor) -> Tensor:
    """(N, *, C) -> (N, C), the sum over pixels; without pixel axes every sample is one pixel."""
    return value.unsqueeze(1).sum(tuple(range(1, value.ndim)))


def probabilities(input: Tensor, activation: str) -> tuple[Tensor, Tensor]:
    """p and 1 - p of every class, each with all its digits, in value and in slope."""
    if activation == "sigmoid":
        p, q = input.sigmoid(), (-input).sigmoid()
        # torch's slope is p (1 - p), which is 0 as soon as p rounds to 1: the smaller of the two leads
        return torch.where(input < 0, p, 1 - q), torch.where(input < 0, 1 - p, q)
    p = input.softmax(-1)
    top = p.detach().argmax(-1, keepdim=True)
    others = p.scatter(-1, top, 0).sum(-1, keepdim=True)
    # only the largest p can be near 1, where 1 - p would cancel
    own = torch.where(others < 0.5, 1 - others, p.gather(-1, top))
    return p.scatter(-1, top, own), (1 - p).scatter(-1, top, others)


def pixels(input: Tensor, target: Tensor, mask: Tensor | None, activation: str, ignore_index: int, class_dim: int) -> Pixels:
    """The probabilities and targets of all pixels, classes last.

    Raises:     ShapeError without a sample axis; TypeError for class indices under a sigmoid; ValueError for a
                softmax over one class; ValueError or IndexError for a target out of range.
    """
    if input.ndim < 2:
        raise ShapeError(f'"input" has shape {tuple(input.shape)}, expected (N, *, C): use input.unsqueeze(0) for one sample')
    scores, counts, soft = class_last(input, class_dim), None, target.is_floating_point()
    if activation == "softmax" and scores.shape[-1] == 1:
        raise ValueError('"input" has 1 class, expected 2 or more: the softmax of one class is always 1, use a sigmoid instead')
    dtype = torch.promote_types(scores.dtype, torch.float32)
    if soft or target.dtype == torch.bool:
        target = class_last(target, class_dim)
    elif activation == "sigmoid":
        raise TypeError(
            f'"target" has dtype {target.dtype}, expected floats or bools of the shape of "input" for activation="sigmoid": '
            "use target.bool(), or torch.nn.functional.one_hot(target, C).bool() for class indices"
        )
    else:
        index, counts = class_rows(_shown(target, mask, ignore_index), scores.shape[-1], ignore_index, dtype)
        target = index.unsqueeze(-1) == torch.arange(scores.shape[-1], device=index.device)
    seen = valid_weight(counts, mask, dtype)
    seen = None if seen is None else seen.unsqueeze(-1)
    scores, target = visible(seen, scores, target)
    if soft:
        _refuse_outside(target)
    inside, outside = probabilities(scores, activation)
    if seen is None:
        return Pixels(inside, outside, target, torch.ones_like(scores[..., :1]))
    return Pixels(inside * seen, outside * seen, target, seen)


def _shown(target: Tensor, mask: Tensor | None, ignore_index: int) -> Tensor:
    """Class indices, ``ignore_index`` where the mask hides what may be anything."""
    return target if mask is None else torch.where(mask, target.long(), ignore_index)


def _refuse_outside(target: Tensor) -> None:
    """Raise at a target outside of [0, 1], where values can be seen; a NaN is shown by the value."""
    if not target.numel():
        return
    low, high = torch.aminmax(target)
    if peek((low < 0) | (high > 1)):
        bad = float(low if low < 0 else high)
        raise ValueError(f'"target" holds {bad:g}, expected numbers in [0, 1]: divide a mask of 0 and 255 by 255')


def class_mean(
    value: Tensor, shown: Tensor, weight: Tensor | None, reduction: Reduction, normalizer: Tensor | float | None
) -> Tensor:
    """Reduce (N, C) values over those that are shown, with class weights."""
    counts = shown.to(value.dtype)
    return reduce(value, counts if weight is None else counts * weight.to(value.dtype), reduction, normalizer)
