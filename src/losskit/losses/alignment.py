"""Alignment: how far the two halves of a positive pair are apart."""

from __future__ import annotations

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.domain import Embeddings
from ..core.module import Loss
from ..core.reduce import Reduction, reduce, valid_weight
from ..ops.unit import unit
from .contrastive import PAIR_WEIGHT, visible_pairs

__all__ = ["AlignmentLoss", "alignment_loss"]


def _wang(query: Tensor, key: Tensor, *, alpha: float = 2.0, normalize: bool = True) -> Tensor:
    """|x - y|^alpha of unit rows."""
    x, y = query.double(), key.double()
    if normalize:
        x, y = x / x.square().sum(-1, keepdim=True).sqrt(), y / y.square().sum(-1, keepdim=True).sqrt()
    return (x - y).square().sum(-1).sqrt() ** alpha


@loss(
    task="embedding",
    sample={"query": Embeddings(), "key": Embeddings(), **PAIR_WEIGHT},
    reference=_wang,
    laws=("nonnegative",),
    variants=({}, {"alpha": 1.0}, {"alpha": 1.5}, {"alpha": 3.0, "normalize": False}),
    floor=lambda: 0.0,
)
def alignment_loss(
    query: Tensor,
    key: Tensor,
    *,
    alpha: float = 2.0,
    normalize: bool = True,
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""How near the two halves of a positive pair are: one half of what a contrastive loss does, the other is uniformity.

    Formula:    \ell = |x - y|^\alpha, x = q / |q|, y = k / |k|
    Gradient:   \partial\ell/\partial x = \alpha |x - y|^{\alpha - 2} (x - y), 0 where the rows are equal
    Use when:   with uniformity_loss as a sum in place of info_nce_loss, or alone to watch a training: it falls as pairs meet.
    Avoid when: it would be alone in training: all rows in one point cost nothing.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        alpha: >= 1; 2 is the paper's, 2 - 2 cos of each pair.
        normalize: False takes the rows as they are.
        weight: (*) what each pair counts for; the mean divides by the sum.
        mask: (*) bool, True where a pair counts; what is masked may be NaN.
    Returns:    0-d, or (*) for reduction="none". A row of zeros stays 0 and has no gradient.
    Raises:     ShapeError; TypeError; ValueError for alpha < 1, whose gradient has no bound at 0.
    Reference:  Wang, Isola 2020, arXiv:2005.10242
    Example:
        >>> losskit.alignment_loss(torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 3.0]]))  # at right angles: |x - y|^2
        tensor(2.)
    """
    at_least("alpha", alpha, 1)
    weight = valid_weight(weight, mask, query.dtype)
    query, key = visible_pairs(weight, query, key)
    if normalize:
        query, key = unit(query), unit(key)
    return reduce(_power((query - key).square().sum(-1), alpha / 2), weight, reduction, normalizer)


def _power(square: Tensor, half: float) -> Tensor:
    """square^half, whose slope at 0 is 0."""
    if half == 1:
        return square
    zero = square == 0
    return torch.where(zero, 0, torch.where(zero, 1, square) ** half)


class AlignmentLoss(Loss, function=alignment_loss):
    """Module of :func:`alignment_loss`."""

    alpha: float = 2.0
    normalize: bool = True
    weight: Tensor | None = None
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
