"""What the losses of a batch with few positives share: its two sides, and which part of each a partial AUC looks at."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.check import at_least, wide, working
from ..core.domain import Binary, Domain, Mask, Real, Weight
from ..core.reduce import Reduction, reduce
from ..ops.area import standing
from ..parallel import gather_rows

__all__: list[str] = []  # for the losses next door, not for the user


SIDES: Mapping[str, Domain] = {
    "input": Real(meaning="one score for each sample"),
    "target": Binary(),
    "mask": Mask(meaning="True where a sample counts"),
    "weight": Weight(meaning="what each sample counts for"),
}
"""The arguments of a loss of a whole batch of positives and negatives."""


class Sides(NamedTuple):
    """The samples of all ranks; the weights are constants. All (n,) in float64, ``broken`` ()."""

    scores: Tensor
    """0 at what counts nothing"""
    positive: Tensor
    """The weight of a positive, 0 elsewhere"""
    negative: Tensor
    broken: Tensor
    """NaN if a sample that counts has a score that is not finite, or is of neither class; else 1"""


def sides(
    input: Tensor, target: Tensor, mask: Tensor | None, weight: Tensor | None, group: dist.ProcessGroup | None = None
) -> Sides:
    """Both sides of the batch, of all ranks of the group."""
    scores, label = wide(working(input)[0]).reshape(-1), target.reshape(-1)
    counts = torch.ones_like(scores.detach()) if weight is None else wide(weight.detach()).reshape(-1)
    counts = counts if mask is None else torch.where(mask.reshape(-1), counts, 0)
    seen = counts != 0
    scores, counts = torch.where(seen, scores, 0), torch.where(seen, counts, 0)
    # neither 0 nor 1 is NaN where nobody could look
    scores = torch.where(seen & (label != 0) & (label != 1), torch.nan, scores)
    # both classes travel as one number
    scores, signed = (gather_rows(t, group).rows for t in (scores, torch.where(label == 1, counts, -counts)))
    sound = scores.isfinite()
    broken = torch.where(sound.all(), 1.0, torch.nan).to(scores.dtype)
    return Sides(torch.where(sound, scores, 0), signed.clamp(min=0), (-signed).clamp(min=0), broken)


def hardest(at: Sides, max_fpr: float, min_tpr: float) -> Sides:
    """The highest ``max_fpr`` of the negatives and the lowest ``1 - min_tpr`` of the positives, by weight.

    Those that tie at the boundary share what is left of it, in proportion to their weights.
    """
    for name, share, whole in (("max_fpr", max_fpr, "(0, 1]"), ("min_tpr", min_tpr, "[0, 1)")):
        at_least(name, share, -math.inf, finite=False)  # a number
        if not (0 < share <= 1 if name == "max_fpr" else 0 <= share < 1):
            raise ValueError(f'"{name}" must be in {whole}, got {share!r}: something has to be left of both classes')
    positive, negative = at.positive, at.negative
    if max_fpr < 1:
        above = standing(at.scores, negative)
        negative = negative * _share(max_fpr * negative.sum() - above.above, above.since - above.above)
    if min_tpr > 0:
        below = standing(at.scores, positive)
        positive = positive * _share((1 - min_tpr) * positive.sum() - below.below, below.upto - below.below)
    return at._replace(positive=positive, negative=negative)


def _share(left: Tensor, tied: Tensor) -> Tensor:
    return (left / torch.where(tied == 0, 1, tied)).clamp(0, 1)


def one_value(value: Tensor, at: Sides, like: Tensor, reduction: Reduction, normalizer: Tensor | float | None) -> Tensor:
    """The value of the batch, reduced: it counts one if both classes are there, else nothing; in the dtype for ``like``."""
    learns = (at.positive.sum() != 0) & (at.negative.sum() != 0) | (at.broken != at.broken)
    (like,) = working(like)
    value = (value * at.broken).to(like.dtype)
    return reduce(value, learns.to(value.dtype), reduction, normalizer)


def over_pairs(
    sums: Callable[[Tensor, Tensor, Tensor], Tensor],
    batch: Sides,
    shares: tuple[float, float],
    like: Tensor,
    reduction: Reduction,
    normalizer: Tensor | float | None,
) -> Tensor:
    """The mean over the pairs that a partial AUC looks at, of which ``sums(scores, positive, negative)`` is the sum."""
    at = hardest(batch, *shares)
    pairs = at.positive.sum() * at.negative.sum()
    return one_value(
        sums(at.scores, at.positive, at.negative) / torch.where(pairs == 0, 1, pairs), at, like, reduction, normalizer
    )
