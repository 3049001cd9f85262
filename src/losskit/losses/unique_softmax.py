"""Unique softmax: each item against what is less relevant only, and the more relevant it is, the more that counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import choice, wide
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.stages import stage_costs, stages
from .gains import gains
from .lists import GRADES, LISTS, Found, Lists, over_lists

__all__ = ["UniqueSoftmaxLoss", "unique_softmax_loss"]


def _body(lists: Lists, normalize: bool) -> Found:
    if not lists.scores.shape[-1]:
        return Found(lists.scores.sum(-1), lists.scores.new_zeros(len(lists.scores)))
    at = stages(lists.relevance, lists.valid)
    earned = (gains(lists.relevance, normalize=normalize) * wide(lists.counts)).gather(-1, at.place)
    learns = ((earned > 0) & (at.after < at.length)).any(-1)
    return Found(stage_costs(lists.scores, at, earned), learns)


def _paper(scores: Tensor, relevance: Tensor, *, normalize: bool = True) -> Tensor:
    """-sum_i (2^y_i - 1) log(e^s_i / (e^s_i + sum_{y_j < y_i} e^s_j))."""
    values: list[float] = []
    for s, y in zip(scores.double().tolist(), relevance.tolist(), strict=True):
        total = 0.0
        for own, grade in zip(s, y, strict=True):
            lower = sum(math.exp(other) for other, below in zip(s, y, strict=True) if below < grade)
            total -= (2**grade - 1) * (own - math.log(math.exp(own) + lower))
        largest = 2 ** max(y, default=0) - 1
        values.append(total / largest if normalize and largest else total)
    return torch.tensor(values, dtype=torch.float64)


def _chance(relevance: Tensor, normalize: bool = True) -> float:
    """An item is one of those below it and itself, in the mean over the lists with a grade above another."""
    lists = torch.atleast_2d(relevance).double()
    lists = lists[lists.amax(-1) > lists.amin(-1)]
    lower = (lists.unsqueeze(-2) < lists.unsqueeze(-1)).sum(-1)
    return float((gains(lists, normalize=normalize) * torch.log1p(lower.double())).sum() / len(lists))


@loss(
    task="ranking",
    sample={**LISTS, "relevance": GRADES},
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({}, {"normalize": False}),
    chance=_chance,
    floor=lambda: 0.0,
)
def unique_softmax_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    normalize: bool = True,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""A softmax for graded relevance: no item has to beat its equals, or what is better than itself.

    Formula:    \ell = \sum_i w_i g_i \log\left(1 + \sum_{j: y_j < y_i} e^{s_j - s_i}\right),
                g_i = \frac{2^{y_i} - 1}{\max_j 2^{y_j} - 1}
    Gradient:   \partial\ell/\partial s_i = -w_i g_i (1 - p_i) + \sum_{k: y_k > y_i} w_k g_k \frac{e^{s_i}}{e^{s_k} +
                \sum_{j: y_j < y_k} e^{s_j}}, p_i the probability of i among itself and what is less relevant
    Use when:   grades are few (0 to 4), ties are many, and the best items count most. O(L log L), where a table needs L^2.
    Avoid when: one item of a list is relevant (listnet_loss is the same then), or grades have no scale, which 2^y needs.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        normalize: 2^y - 1 is divided by that of the best item of the list, so that every list has an item that counts 1, and no
            grade is too large. False: 2^y - 1 as it is, as in TF-Ranking and Rax, the same for grades 0 and 1: a list whose best
            grade is 4 counts like fifteen whose best is 1, and a grade above 127 is inf in float32.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, multiplies an item's gain. One of weight 0 is still somebody whom others must beat.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list in which no item with weight is above another is 0 and does
                not count.
    Raises:     ShapeError; TypeError; ValueError for relevance below 0, or an option out of range.
    Reference:  Zhu, Klabjan 2020, Listwise Learning to Rank by Exploring Unique Ratings, arXiv:2001.01828
    Example:
        >>> losskit.unique_softmax_loss(torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]]))  # ln(1 + e^0.2)
        tensor(0.7981)
    """
    choice("normalize", normalize, (True, False))
    return over_lists(
        lambda lists: _body(lists, normalize),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class UniqueSoftmaxLoss(Loss, function=unique_softmax_loss):
    """Module of :func:`unique_softmax_loss`."""

    normalize: bool = True
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
