"""Triplet margin loss: an anchor is nearer to its positive than to its negative, by a margin."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice, visible
from ..core.domain import Embeddings, Mask, Weight
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.distances import DISTANCES, Distance, pair_distance
from ..ops.mining import Form, triplet_value
from ..ops.unit import unit

__all__ = ["TripletMarginLoss", "triplet_margin_loss"]

Margin = float | Literal["soft"]


def form_of(margin: Margin) -> Form:
    """What a triplet costs, as the ops take it."""
    if isinstance(margin, str):
        if margin != "soft":
            raise ValueError(f"\"margin\" must be a number >= 0 or 'soft', got {margin!r}")
        return Form("all", 0.0, True)
    at_least("margin", margin, 0)
    return Form("all", float(margin), False)


def triplet_chance(margin: Margin) -> float:
    """Of embeddings that are all the same."""
    return math.log(2) if isinstance(margin, str) else float(margin)


def _chance(margin: Margin = 1.0, distance: str = "euclidean", swap: bool = False) -> float:
    return triplet_chance(margin)


def _paper(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: Margin = 1.0,
    distance: Distance = "euclidean",
    swap: bool = False,
) -> Tensor:
    """max(0, d(a, p) - d(a, n) + m) or ln(1 + exp(d(a, p) - d(a, n)))."""

    def d(x: Tensor, y: Tensor) -> Tensor:
        x, y = x.double(), y.double()
        if distance == "cosine":
            return 1 - F.cosine_similarity(x, y, dim=-1)
        square = (x - y).square().sum(-1)
        return square.sqrt() if distance == "euclidean" else square

    far = torch.minimum(d(anchor, negative), d(positive, negative)) if swap else d(anchor, negative)
    gap = d(anchor, positive) - far
    return gap.exp().log1p() if margin == "soft" else (gap + margin).clamp(min=0)


_ROWS = Embeddings(meaning="one vector for each triplet, features last")


@loss(
    task="embedding",
    sample={
        "anchor": _ROWS,
        "positive": _ROWS,
        "negative": _ROWS,
        "weight": Weight(meaning="one weight for each triplet"),
        "mask": Mask(),
    },
    reference=_paper,
    laws=("nonnegative",),
    variants=(
        {},
        {"margin": "soft"},
        {"margin": 0.2, "distance": "squared_euclidean", "swap": True},
        {"margin": "soft", "distance": "cosine", "swap": True},
    ),
    chance=_chance,
)
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    margin: float | Literal["soft"] = 1.0,
    distance: Distance = "euclidean",
    swap: bool = False,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""An anchor shall be nearer to its positive than to its negative, by a margin; the triplets are given.

    Formula:    \ell = \max(0, d(a, p) - d(a, n) + m),\; or \ln(1 + e^{d(a, p) - d(a, n)}) for margin="soft"
    Gradient:   \partial\ell/\partial a = \frac{a - p}{d(a, p)} - \frac{a - n}{d(a, n)} for Euclidean distances where the loss
        is not 0; a distance of 0 has gradient 0
    Use when:   triplets come from elsewhere: clicks, human judgements, a miner.
    Avoid when: rows have labels: batch_triplet_loss finds the triplets of a batch.
    Shape:      anchor (*, D), positive (*, D), negative (*, D) -> () or (*)
    Args:
        margin: >= 0; or "soft", which never stops to pull (Hermans et al. 2017).
        distance: "euclidean", "squared_euclidean", or "cosine": one less the cosine; a row of zeros has cosine 0 and no gradient.
        swap: takes d(p, n) for d(a, n) where it is the smaller (Balntas et al. 2016).
        weight: (*) what each triplet counts for; the mean divides by the sum.
        mask: (*) bool, True where a triplet counts; what is masked may be NaN.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or (*) for reduction="none". Distances are exact: torch adds 1e-6 to each difference (its ``eps``), so that
        its d(x, x) is not 0. Another norm (its ``p``) is not offered.
    Raises:     ShapeError; TypeError; ValueError for margin < 0, or an unknown margin or distance.
    Reference:  Schroff et al. 2015, arXiv:1503.03832; Weinberger & Saul 2009
    Example:
        >>> losskit.triplet_margin_loss(torch.zeros(1, 2), torch.ones(1, 2), 2 * torch.ones(1, 2), margin=2.0)  # 2 - 2^(1/2)
        tensor(0.5858)
    """
    form = form_of(margin)
    choice("distance", distance, DISTANCES)
    weight = valid_weight(weight, mask, anchor.dtype)
    rows = visible(None if weight is None else weight.unsqueeze(-1), anchor, positive, negative)
    a, p, n = map(unit, rows) if distance == "cosine" else rows
    far = pair_distance(a, n, distance)
    far = torch.minimum(far, pair_distance(p, n, distance)) if swap else far
    return reduce(triplet_value(pair_distance(a, p, distance) - far, form), weight, reduction, normalizer)


class TripletMarginLoss(Loss, function=triplet_margin_loss):
    """Module of :func:`triplet_margin_loss`."""

    margin: float | Literal["soft"] = 1.0
    distance: Distance = "euclidean"
    swap: bool = False
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
