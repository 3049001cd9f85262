"""Poly-1 softmax: ListNet with one more dial, how hard to push the items that are nearly sure."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.margin import margin, soft_cross_entropy
from .listnet import normalized, seen_scores
from .lists import GRADES, LISTS, Found, Lists, over_lists

__all__ = ["Poly1SoftmaxLoss", "poly1_softmax_loss"]


def _missing(scores: Tensor) -> Tensor:
    """1 - softmax(scores), whose digits are kept: of the top item it is what all the others have."""
    top = scores.detach().argmax(-1)
    own, rest = margin(scores, top)
    others = torch.sigmoid(rest - own).to(scores.dtype).unsqueeze(-1)
    return (1 - scores.softmax(-1)).scatter(-1, top.unsqueeze(-1), others)


def _body(lists: Lists, epsilon: float) -> Found:
    if not lists.scores.shape[-1]:
        return Found(lists.scores.sum(-1), lists.scores.new_zeros(len(lists.scores)))
    wanted = normalized(lists)
    counts = (lists.valid.sum(-1) > 1) & (wanted > 0).any(-1)
    wanted = torch.where(counts.unsqueeze(-1), wanted, 0).to(lists.scores.dtype)
    scores = seen_scores(lists, counts)
    return Found(soft_cross_entropy(scores, wanted) + epsilon * (wanted * _missing(scores)).sum(-1), counts)


def _paper(scores: Tensor, relevance: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """-sum_i t_i log p_i + epsilon (1 - sum_i t_i p_i), t = y / sum y."""
    total = relevance.double().sum(-1, keepdim=True)
    share = torch.where(total > 0, relevance.double() / total, 0)
    p = scores.double().softmax(-1)
    value = -(share * p.log()).sum(-1) + epsilon * (1 - (share * p).sum(-1))
    return torch.where(total.squeeze(-1) > 0, value, 0)


def _chance(list_size: int, epsilon: float = 1.0) -> float:
    return math.log(list_size) + epsilon * (1 - 1 / list_size)


@loss(
    task="ranking",
    sample={**LISTS, "relevance": GRADES},
    reference=_paper,
    laws=("bounded_gradient",),
    variants=({}, {"epsilon": -1.0}),
    chance=_chance,
)
def poly1_softmax_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    epsilon: float = 1.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""ListNet with one more dial: how hard to push the lists that are nearly right.

    Formula:    \ell = -\sum_i t_i \log p_i + \epsilon \sum_i t_i (1 - p_i), p = \mathrm{softmax}(s),
                t_i = \frac{w_i y_i}{\sum_j w_j y_j}
    Gradient:   \partial\ell/\partial s_i = p_i - t_i - \epsilon p_i \left(t_i - \sum_j t_j p_j\right)
    Use when:   listnet_loss works and a last tenth is wanted: an epsilon of 1 or 2 pushes on, -1 lets confident lists rest.
    Avoid when: grades differ: with epsilon above 0 the best item is given more than its share of the target.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        epsilon: >= -1, so that with one relevant item a better answer never costs more; 0 is listnet_loss.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, multiplies an item's gain. One of weight 0 is still somebody whom others must beat.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list of fewer than two items, or without relevance, is 0 and does
                not count.
    Raises:     ShapeError; TypeError; ValueError for relevance below 0, or epsilon < -1.
    Reference:  Leng et al. 2022, arXiv:2204.12511; for lists: Rax, Jagerman et al. 2022
    Example:
        >>> losskit.poly1_softmax_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))  # ln 2 + 1/2
        tensor(1.1931)
    """
    at_least("epsilon", epsilon, -1)
    return over_lists(
        lambda lists: _body(lists, epsilon),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class Poly1SoftmaxLoss(Loss, function=poly1_softmax_loss):
    """Module of :func:`poly1_softmax_loss`."""

    epsilon: float = 1.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
