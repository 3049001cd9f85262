"""p-ListMLE: ListMLE in which the choices near the top count more."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import ShapeError, choice, peek
from ..core.module import Loss
from ..core.reduce import Reduction
from .listmle import Discount, Ties, best, choices, plain
from .lists import LISTS, over_lists

__all__ = ["PListMLELoss", "plistmle_loss"]


def _dcg(rank: Tensor, count: Tensor) -> Tensor:
    """1 / log2(1 + k)."""
    return math.log(2) / torch.log1p(rank)


def _exponential(rank: Tensor, count: Tensor) -> Tensor:
    """(2^(n - k) - 1) / (2^(n - 1) - 1) = (2^(1 - k) - 2^(1 - n)) / (1 - 2^(1 - n)): no power above 1."""
    least = torch.exp2(1 - count)
    return (torch.exp2(1 - rank) - least) / torch.where(count > 1, 1 - least, 1)


def _refuse_other(weights: object) -> None:
    if not isinstance(weights, Tensor):
        raise TypeError(f'"discount" returned {type(weights).__name__}, expected a Tensor: one weight for each rank')


def _given(discount: Callable[[Tensor], Tensor], rank: Tensor, count: Tensor) -> Tensor:
    """What a function of the ranks 1, 2, ... says, (L,) for all lists."""
    ranks = torch.arange(1, rank.shape[-1] + 1, device=rank.device, dtype=rank.dtype)
    weights = discount(ranks)
    _refuse_other(weights)
    if weights.shape != ranks.shape:
        raise ShapeError(
            f'"discount" returned shape {tuple(weights.shape)}, expected {tuple(ranks.shape)}: one weight for each rank'
        )
    if peek(~((weights >= 0) & weights.isfinite()).all()):
        bad = weights[~((weights >= 0) & weights.isfinite())][0]
        raise ValueError(f'"discount" returned {float(bad)!r}, expected finite weights >= 0')
    return weights.to(rank.dtype).expand_as(rank)


def _weights(count: int, discount: str = "dcg") -> list[float]:
    if discount == "dcg":
        return [1 / math.log2(1 + k) for k in range(1, count + 1)]
    return [(2.0 ** (count - k) - 1) / (2.0 ** (count - 1) - 1 or 1) for k in range(1, count + 1)]


def _paper(scores: Tensor, relevance: Tensor, *, discount: str = "dcg", ties: str = "efron") -> Tensor:
    return plain(scores, relevance, ties, functools.partial(_weights, discount=discount))


def _chance(list_size: int, discount: object = "dcg", ties: str = "efron") -> float:
    if discount not in ("dcg", "exponential") or ties not in ("efron", "random"):
        return math.nan
    left: Sequence[int] = range(list_size, 0, -1)
    return sum(w * math.log(n) for w, n in zip(_weights(list_size, str(discount)), left, strict=True))


def _floor(relevance: Tensor, discount: object = "dcg", ties: str = "efron") -> float:
    if discount not in ("dcg", "exponential") or ties not in ("efron", "breslow"):
        return math.nan
    return best(relevance, ties, functools.partial(_weights, discount=str(discount)))


@loss(
    task="ranking",
    sample=LISTS,
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({}, {"discount": "exponential", "ties": "breslow"}),
    chance=_chance,
    floor=_floor,
)
def plistmle_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    discount: Literal["dcg", "exponential"] | Callable[[Tensor], Tensor] = "dcg",
    ties: Ties = "efron",
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""ListMLE with its eyes on the top: the first choices count more than the last ones.

    Formula:    \ell = \sum_k d_k w_k \left(\log \sum_{t \ge k} e^{s_t} - s_k\right), items in falling order of relevance,
                d_k = 1 / \log_2(1 + k)
    Gradient:   \partial\ell/\partial s_j = \sum_{k \le j} d_k w_k \frac{e^{s_j}}{\sum_{t \ge k} e^{s_t}} - d_j w_j
    Use when:   the order counts, and its top most: what NDCG is measured by.
    Avoid when: the number of the loss is to be a log-likelihood (listmle_loss), or grades are few (listnet_loss).
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        discount: what the choice at rank k counts for; not normalised, so that rank 1 counts 1. "dcg": 1 / log2(1 + k).
            "exponential": the paper's 2^(n-k) - 1 of a list of n items, divided by that of rank 1, finite for any n.
            Or a function of the ranks 1, 2, ... (a float tensor) -> as many weights >= 0. Equals share their ranks' mean.
        ties: "efron", "breslow", "random" or "stable", as in listmle_loss.
        generator: of ties="random".
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, w: what choosing an item counts for. One of weight 0 is still somebody whom others must beat.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list without two grades, or in which no item above the lowest
                grade has weight, is 0 and does not count.
    Raises:     ShapeError, also for what a discount returns; TypeError; ValueError for an option out of range.
    Reference:  Lan et al. 2014, Position-Aware ListMLE; ties: Efron 1977, Breslow 1974
    Example:
        >>> losskit.plistmle_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # one choice of two, at rank 1: ln 2
        tensor(0.6931)
    """
    if not callable(discount):
        choice("discount", discount, ("dcg", "exponential"))
    steps: Discount = functools.partial(_given, discount) if callable(discount) else _dcg if discount == "dcg" else _exponential
    return over_lists(
        lambda lists: choices(lists, ties, generator, steps),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class PListMLELoss(Loss, function=plistmle_loss):
    """Module of :func:`plistmle_loss`."""

    discount: Literal["dcg", "exponential"] | Callable[[Tensor], Tensor] = "dcg"
    ties: Ties = "efron"
    generator: torch.Generator | None = None
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
