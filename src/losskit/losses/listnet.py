"""ListNet, the ranking softmax: a list as one classification, whose target is spread over the items by their relevance."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.margin import soft_cross_entropy
from .lists import GRADES, LISTS, Found, Lists, no_zero, over_lists

__all__ = ["ListNetLoss", "listnet_loss"]

Target = Literal["normalize", "softmax", "raw"]


def normalized(lists: Lists) -> Tensor:
    """w y / sum(w y), (B, L) in float64; 0 in a list without relevance. The largest is taken out first: a sum may overflow."""
    gain = lists.relevance if lists.weight is None else lists.relevance * lists.weight
    gain = gain / no_zero(gain.amax(-1, keepdim=True))
    return gain / no_zero(gain.sum(-1, keepdim=True))


def seen_scores(lists: Lists, counts: Tensor) -> Tensor:
    """The scores as a softmax takes them: -inf where not valid, and 0 in a list that does not count, (B,) bool."""
    return torch.where(lists.valid, lists.scores, -torch.inf).masked_fill(~counts.unsqueeze(-1), 0)


def _softmax(lists: Lists, temperature: float) -> Tensor:
    """softmax(y / temperature) over the valid items times their weight; 0 where nothing is valid."""
    y = lists.relevance  # >= 0, and 0 where not valid
    share = torch.where(lists.valid, torch.exp((y - y.amax(-1, keepdim=True)) / temperature), 0)
    share = share / no_zero(share.sum(-1, keepdim=True))
    return share if lists.weight is None else share * lists.weight


def _raw(lists: Lists) -> Tensor:
    return lists.relevance if lists.weight is None else lists.relevance * lists.weight


def _target(lists: Lists, target: Target, temperature: float) -> Tensor:
    if target == "softmax":
        return _softmax(lists, temperature)
    return normalized(lists) if target == "normalize" else _raw(lists)


def _body(lists: Lists, target: Target, temperature: float) -> Found:
    if not lists.scores.shape[-1]:
        return Found(lists.scores.sum(-1), lists.scores.new_zeros(len(lists.scores)))
    wanted = _target(lists, target, temperature)
    counts = (lists.valid.sum(-1) > 1) & (wanted > 0).any(-1)
    wanted = torch.where(counts.unsqueeze(-1), wanted, 0).to(lists.scores.dtype)
    value = soft_cross_entropy(seen_scores(lists, counts), wanted)
    return Found(value + 0.0, counts)  # a sum of products with 0 may be -0.0


def _paper(scores: Tensor, relevance: Tensor, *, target: str = "normalize", temperature: float = 1.0) -> Tensor:
    """-sum_i t_i log softmax(s)_i; nothing if no t_i is above 0."""
    y = relevance.double()
    total = y.sum(-1, keepdim=True)
    share = {"softmax": (y / temperature).softmax(-1), "raw": y, "normalize": torch.where(total > 0, y / total, 0)}[target]
    return -(share * scores.double().log_softmax(-1)).sum(-1)


def _chance(list_size: int, target: str = "normalize", temperature: float = 1.0) -> float:
    """Every softmax is 1/L, and the targets sum to one; those of "raw" sum to anything."""
    return math.nan if target == "raw" or temperature <= 0 else math.log(list_size)


def _floor(relevance: Tensor, target: Target = "normalize", temperature: float = 1.0) -> float:
    """The entropy of the targets, in the mean over the lists that count."""
    y = torch.atleast_2d(relevance.double())
    share = _target(Lists(y, y, torch.ones_like(y, dtype=torch.bool), None), target, temperature)
    total = share.sum(-1)
    entropy = torch.special.xlogy(total, total) - torch.special.xlogy(share, share).sum(-1)
    return float(entropy.sum() / (total > 0).sum())


@loss(
    task="ranking",
    sample={**LISTS, "relevance": GRADES},
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    variants=({}, {"target": "softmax", "temperature": 0.5}, {"target": "raw"}),
    chance=_chance,
    floor=_floor,
)
def listnet_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    target: Target = "normalize",
    temperature: float = 1.0,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""Which item would be clicked: cross-entropy over the items of a list, the plainest listwise loss, in O(L).

    Formula:    \ell = -\sum_i t_i \log \frac{e^{s_i}}{\sum_j e^{s_j}}, t_i = \frac{w_i y_i}{\sum_j w_j y_j}
    Gradient:   \partial\ell/\partial s_i = p_i \sum_j t_j - t_i, p the softmax of the scores
    Use when:   few items of a list are relevant, and the top counts: search, retrieval, recommendation. A first choice.
    Avoid when: the order further down counts too (listmle_loss, pairwise_logistic_loss): an item below is told its share only.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        target: "normalize": each list counts the same, whatever its grades. "raw": t = w y, as much as its relevance sums
            to. "softmax": t = w softmax(y / temperature), the paper's, which wants irrelevant items too: grades 0 and 1 of
            ten items give the relevant one 0.23.
        temperature: > 0, of target="softmax": the smaller, the more the best items get.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, multiplies an item's gain. One of weight 0 is still somebody whom others must beat.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none". A list of fewer than two items, or whose t are all 0 ("normalize"
                and "raw": without relevance), is 0 and does not count. Equal grades above 0 do count: they ask for equal scores.
    Raises:     ShapeError; TypeError; ValueError for relevance below 0 (a constant may be added to that of "softmax"), an
                option out of range, or a temperature that would change nothing.
    Reference:  Cao et al. 2007, Learning to Rank: From Pairwise Approach to Listwise Approach
    Example:
        >>> losskit.listnet_loss(torch.zeros(1, 10), torch.eye(10)[:1])  # knows nothing: ln 10
        tensor(2.3026)
    """
    choice("target", target, ("normalize", "softmax", "raw"))
    at_least("temperature", temperature, 0, strict=True)
    if target != "softmax" and temperature != 1:
        raise ValueError(f'"temperature" is {temperature!r}, expected 1 with target={target!r}: only target="softmax" has one')
    return over_lists(
        lambda lists: _body(lists, target, temperature),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class ListNetLoss(Loss, function=listnet_loss):
    """Module of :func:`listnet_loss`."""

    target: Target = "normalize"
    temperature: float = 1.0
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
