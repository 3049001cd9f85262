"""ApproxNDCG: the metric itself, with the place of an item made smooth."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, wide
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.list_ranks import order
from ..ops.soft_ranks import soft_ranks, soft_top
from ..ops.swaps import discounts
from .gains import Gain, check_gain, gains
from .lists import GRADES, LISTS, Found, Lists, count_of_places, no_zero, over_lists

__all__ = ["ApproxNDCGLoss", "approx_ndcg_loss"]


class Shares(NamedTuple):
    """What a list can earn."""

    gain: Tensor
    """Of each item at place 1, over the best DCG@k of the list; (B, L), 0 in a list that has nothing to learn"""
    learns: Tensor
    """(B,) bool: whether any two gains differ, so that one order is better than another"""


def shares(lists: Lists, gain: Gain, k: int | None) -> Shares:
    """w (2^y - 1) or w y of each item over the ideal DCG@k, whose order is that of the weighted gains."""
    y = lists.relevance
    if not y.shape[-1]:
        return Shares(y, y.any(-1))
    earned = gains(y, gain, normalize=True)  # in proportion to the best one: the ratio does not notice
    earned = earned if lists.weight is None else earned * lists.weight
    most, least = earned.amax(-1), torch.where(lists.valid, earned, torch.inf).amin(-1)
    table, _ = discounts(y.shape[-1], k, y.device)
    ideal = (earned.gather(-1, order(earned, descending=True)) * table).sum(-1, keepdim=True)
    learns = most > least
    return Shares(torch.where(learns.unsqueeze(-1), earned / no_zero(ideal), 0), learns)


def check(temperature: float, k: int | None, gain: Gain) -> None:
    """Raise for an option out of range."""
    at_least("temperature", temperature, 0, strict=True)
    check_gain(gain)
    if k is not None:
        count_of_places("k", k)


def _body(lists: Lists, temperature: float, k: int | None, gain: Gain) -> Found:
    share, learns = shares(lists, gain, k)
    discount = math.log(2) / torch.log1p(wide(soft_ranks(lists.scores, lists.valid, temperature)))
    if k is not None:
        discount = discount * wide(soft_top(lists.scores, lists.valid, k, temperature))
    return Found(torch.where(learns, 1 - (share * discount).sum(-1), 0), learns)


def book_gain(y: float, gain: str) -> float:
    """2^y - 1 or y, as the papers have it."""
    return 2**y - 1 if gain == "exponential" else y


def _among_first(s: Tensor, k: int, temperature: float) -> Tensor:
    """sigmoid((s - t) / T) with the t that makes them add up to k, by a long search."""
    low, high = s.min() - 60 * temperature, s.max() + 60 * temperature
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if torch.sigmoid((s - middle) / temperature).sum() > k else (low, middle)
    return torch.sigmoid((s - low) / temperature)


def _qin(
    scores: Tensor, relevance: Tensor, *, temperature: float = 0.1, k: int | None = None, gain: str = "exponential"
) -> Tensor:
    """1 - DCG of the soft ranks over the best DCG, list by list."""
    found: list[Tensor] = []
    for s, y in zip(scores.double(), relevance.tolist(), strict=True):
        gains = s.new_tensor([book_gain(v, gain) for v in y])
        rank = torch.stack([0.5 + torch.sigmoid((s - own) / temperature).sum() for own in s]) if len(s) else s
        inside = torch.ones_like(s) if k is None or k >= len(s) else _among_first(s, k, temperature)
        best = sum(g / math.log2(2 + p) for p, g in enumerate(sorted(gains.tolist(), reverse=True)[:k]))
        found.append(1 - (gains * inside / torch.log2(1 + rank)).sum() / best if len(set(y)) > 1 else s.new_zeros(()))
    return torch.stack(found) if found else scores.new_zeros(0, dtype=torch.float64)


def of_equal_scores(relevance: Tensor, k: int | None, gain: Gain, discount: float) -> float:
    """The mean loss over the lists that count, if every item has this discount."""
    y = torch.atleast_2d(relevance.double())
    share, learns = shares(Lists(y, y, torch.ones_like(y, dtype=torch.bool), None), gain, k)
    return float(torch.where(learns, 1 - share.sum(-1) * discount, 0).sum() / learns.sum())


def _chance(relevance: Tensor, temperature: float = 0.1, k: int | None = None, gain: Gain = "exponential") -> float:
    """Everybody has the middle place, (n + 1) / 2, and is among the first k of n by k / n, at any temperature."""
    check(temperature, k, gain)
    size = relevance.shape[-1]
    return of_equal_scores(relevance, k, gain, min(1.0, (k or size) / size) / math.log2((size + 3) / 2))


@loss(
    task="ranking",
    sample={**LISTS, "relevance": GRADES},
    reference=_qin,
    laws=("nonnegative", "bounded_gradient"),
    variants=({}, {"temperature": 1.0, "gain": "linear"}, {"temperature": 0.5, "k": 2}),
    chance=_chance,
)
def approx_ndcg_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    temperature: float = 0.1,
    k: int | None = None,
    gain: Gain = "exponential",
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""NDCG itself, on smooth ranks: one minus what a list earns of the best it could, with a gradient.

    Formula:    \ell = 1 - \frac{1}{\mathrm{DCG}^*_k} \sum_i \frac{w_i (2^{y_i} - 1)\, h_i}{\log_2(1 + r_i)},
                r_i = 1 + \sum_{j \ne i} \sigma\left(\frac{s_j - s_i}{\tau}\right);
                h_i = 1 without k, else h_i = \sigma((s_i - t)/\tau) with the t for which \sum_i h_i = k
    Gradient:   \partial\ell/\partial s_k = \sum_i K_{ik} (g_i - g_k), K_{ik} = \sigma'((s_i - s_k)/\tau)/\tau,
                g_i = \partial\ell/\partial r_i; with k also through h: only items within some \tau of each other move
    Use when:   NDCG is what is reported and grades are many: the loss is 1 - NDCG up to the temperature.
    Avoid when: scores are far apart compared with the temperature (they are frozen: raise it, or begin with listnet_loss), or
                lists are very long: time is O(L^2), though memory is O(L), but for torch.compile, torch.func and second
                derivatives, which make a table of all pairs.
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        temperature: > 0, a number: scores that differ by much more have an order for good. Near 0 the value is 1 - NDCG@k.
        k: places that count; None for all. Being among the first k is as soft as the ranks are, so that a list far longer than
            k whose scores are still equal has a gradient; a cut at a soft rank of k would have none.
        gain: "exponential" for 2^y - 1, of any size without overflow; "linear" for y.
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, multiplies an item's gain, in the ideal too. An item of weight 0 still takes its place.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none": in [0, 1] up to rounding, with k as well, since soft ranks are a
                mean of orders and the discount is convex. TF-Ranking returns -NDCG. A list in which all gains are equal (no
                relevant item, one item) has nothing to learn: it is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for relevance below 0 or an option out of range.
    Reference:  Qin, Liu, Li 2010, A General Approximation Framework for Direct Optimization of Information Retrieval Measures;
                Bruch et al. 2019, Revisiting Approximate Metric Optimization; h: Amos et al. 2019, arXiv:1906.08707
    Example:
        >>> losskit.approx_ndcg_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([[1, 0]]))  # rank 1.5: 1 - 1 / log2 2.5
        tensor(0.2435)
        >>> losskit.approx_ndcg_loss(torch.tensor([[0.0, 9.0]]), torch.tensor([[1, 0]]))  # rank 2: 1 - 1 / log2 3
        tensor(0.3691)
    """
    check(temperature, k, gain)
    return over_lists(
        lambda lists: _body(lists, temperature, k, gain),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class ApproxNDCGLoss(Loss, function=approx_ndcg_loss):
    """Module of :func:`approx_ndcg_loss`."""

    temperature: float = 0.1
    k: int | None = None
    gain: Gain = "exponential"
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
