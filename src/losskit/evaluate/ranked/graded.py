"""Metrics of graded relevance: DCG, NDCG and the average relevance position."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from ...core.check import choice
from .given import GRADES, Cuts, Empty, K, Reduction, Values, check, cuts, lists_of, real, settle
from .standing import Standing, Ties, by_standing, grades

__all__ = ["Gain", "arp", "arp_of", "dcg", "dcg_of", "ndcg", "ndcg_of"]

Gain = Literal["exponential", "linear"]


@torch.no_grad()
def ndcg(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    gain: Gain = "exponential",
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""How much of the best order's discounted gain the order by scores has: 1 where the most relevant items come first.

    Formula:    \mathrm{NDCG}@k = \mathrm{DCG}@k / \max \mathrm{DCG}@k, \quad \mathrm{DCG}@k = \sum_{r \le k} g_r / \log_2(1 + r)
    Use when:   relevance has grades, and the first places matter most.
    Avoid when: relevance is yes or no and one answer is enough: see mrr.
    Shape:      scores (*, L), relevance (*, L), mask (*, L), query_weight (*) -> () or (*); with (K,) after it for several k
    Args:
        k: the first places that count; several at once give a last axis. None: all.
        gain: "exponential" 2^y - 1, of any size, since gains are divided by the list's largest 2^y; "linear" y.
        ties: of equal scores. "average": the mean over all orders of them, so that the order of the rows never matters;
            "stable": in the order of the rows; "random": one order, drawn with ``generator``.
        empty: what a list without a relevant item is. "skip": NaN, not part of the mean; "zero", "one", "nan" count.
        mask: (*, L) bool, True where an item counts. What is masked may be NaN.
        query_weight: what each list counts for in the mean.
        offsets: (B + 1,) where each list of scores (T,) begins, and T; values are then (B,).
        reduction: "mean" over lists, or "none".
    Returns:    float64, without gradient. A list with a NaN that counts is NaN; so is the mean of no list.
    Raises:     ShapeError; TypeError; ValueError for a negative relevance, k < 1 or an option that is none.
    Reference:  Jarvelin and Kekalainen 2002; ties: McSherry and Najork 2008
    Example:
        >>> ndcg(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0, 1, 0]))  # 1 / log2(3)
        tensor(0.6309, dtype=torch.float64)
    """
    at = cuts(k)
    choice("gain", gain, ("exponential", "linear"))
    check(empty, reduction)
    lists = lists_of(scores, relevance, mask, query_weight, offsets, domain=GRADES)
    found = by_standing(lists, lambda standing: ndcg_of(standing, at, gain), ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def dcg(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    gain: Gain = "exponential",
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The discounted gain of the order by scores, not divided by the best one's.

    Formula:    \mathrm{DCG}@k = \sum_{r \le k} g_r / \log_2(1 + r)
    Use when:   lists of one query are compared and the amount of relevant items itself matters.
    Avoid when: lists are averaged: one with many relevant items weighs more. See ndcg.
    Shape:      as ``ndcg``
    Args:
        gain: as in ``ndcg``, but not divided by anything: "exponential" is inf from a relevance of 1024 on.
        k, ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``ndcg``.
    Raises:     as ``ndcg``.
    Reference:  Jarvelin and Kekalainen 2002
    Example:
        >>> dcg(torch.tensor([3.0, 2.0]), torch.tensor([2, 3]))  # 3 / log2(2) + 7 / log2(3)
        tensor(7.4165, dtype=torch.float64)
    """
    at = cuts(k)
    choice("gain", gain, ("exponential", "linear"))
    check(empty, reduction)
    lists = lists_of(scores, relevance, mask, query_weight, offsets, domain=GRADES)
    found = by_standing(lists, lambda standing: dcg_of(standing, at, gain), ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def arp(
    scores: Tensor,
    relevance: Tensor,
    *,
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The average place of relevant items, the first being 1: the lower, the better.

    Formula:    \mathrm{ARP} = \sum_i y_i r_i / \sum_i y_i
    Use when:   every relevant item has to be found, and a place costs what it costs to read down to it.
    Avoid when: only the first places are looked at, or lists are of different lengths.
    Shape:      as ``ndcg``
    Args:
        ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``ndcg``.
    Raises:     as ``ndcg``.
    Reference:  Wang et al. 2018, The LambdaLoss framework for ranking metric optimization
    Example:
        >>> arp(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, 1.0]))  # (1 + 3) / 2
        tensor(2., dtype=torch.float64)
    """
    check(empty, reduction)
    at = cuts(None)
    lists = lists_of(scores, relevance, mask, query_weight, offsets, domain=GRADES)
    return settle(lists, by_standing(lists, arp_of, ties, generator), at, empty, reduction)


def ndcg_of(standing: Standing, at: Cuts, gain: Gain) -> Values:
    """NDCG of each list."""
    gains, table = Gains(standing, gain, scaled=True), _discounts(standing, at)
    ideal = _dcg(standing, gains.best(), at, table)
    return Values((_dcg(standing, gains.by_place(), at, table) / ideal).clamp_(max=1), ideal[:, 0] > 0)


def dcg_of(standing: Standing, at: Cuts, gain: Gain) -> Values:
    """DCG of each list."""
    gains = Gains(standing, gain, scaled=False).by_place()
    return Values(_dcg(standing, gains, at, _discounts(standing, at)), standing.per_list(gains) > 0)


def arp_of(standing: Standing) -> Values:
    """ARP of each list."""
    relevance = standing.tie_means(real(standing.lists.relevance.index_select(0, standing.item)))
    total = standing.per_list(relevance)
    places = torch.arange(1, standing.longest + 1, device=relevance.device, dtype=relevance.dtype)
    return Values((standing.dot(relevance, places) / total).unsqueeze(1), total > 0)


class Gains:
    """What each item is worth; ``scaled`` by 2^-(the largest relevance of its list) where 2^y might leave the floats."""

    def __init__(self, standing: Standing, gain: Gain, *, scaled: bool) -> None:
        lists = standing.lists
        self.standing, self.small = standing, grades(lists.relevance)
        y = real(lists.relevance if self.small is None else torch.arange(256, device=lists.scores.device))
        if gain == "exponential":
            share = -torch.expm1(-math.log(2) * y)  # 2^y - 1 = 2^y (1 - 2^-y)
            y = torch.exp2(y - _largest(standing, y) if scaled and self.small is None else y) * share
        self.table = y
        """Of each item, or of each grade if these are small whole numbers: then nothing is computed for a million items."""

    def by_place(self) -> Tensor:
        """The gain at each place in the order of the scores, on average over the orders of ties."""
        return self.standing.tie_means(self._of(self.standing.item))

    def best(self) -> Tensor:
        """The gains of each list from the highest down: counted, where there are fewer counts than items, else sorted."""
        lists, small = self.standing.lists, self.small
        count, size = len(lists.length), len(lists.scores)
        levels = int(small.max()) + 1 if small is not None and size else size + 1
        if small is None or count * levels > size:
            return self._of(Standing(lists, lists.relevance if small is None else small, "stable").item)
        grade = small.int().add_(self.standing.of_item, alpha=levels) if self.standing.many else small
        times = torch.bincount(grade, minlength=count * levels).view(count, levels).flip(1).flatten()
        return self.table[:levels].flip(0).repeat(count).repeat_interleave(times, output_size=size)

    def _of(self, item: Tensor) -> Tensor:
        return self.table.index_select(0, item if self.small is None else self.small.index_select(0, item).int())


def _largest(standing: Standing, y: Tensor) -> Tensor:
    """The largest relevance of each item's list."""
    if not standing.many:
        return y.max() if len(y) else y
    of = standing.of_item.long()
    return y.new_zeros(len(standing.lists.length)).scatter_reduce_(0, of, y, "amax").index_select(0, of)


def _discounts(standing: Standing, at: Cuts) -> Tensor:
    """1 / log2(1 + r) of the places r = 1, 2, ... that count for any k."""
    reach = standing.longest
    size = reach if None in at.k else min(reach, max(k for k in at.k if k is not None))
    return real(torch.arange(2, size + 2, device=standing.item.device)).log2_().reciprocal_()


def _dcg(standing: Standing, gains: Tensor, at: Cuts, table: Tensor) -> Tensor:
    """(B, K), each gain times the discount of its place, which is 0 beyond k."""
    return torch.stack([standing.dot(gains, table[:k]) for k in at.k], 1)
