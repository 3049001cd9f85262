"""Metrics of relevant items and others: precision, recall, hit rate, reciprocal rank, average precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from ...core.check import at_least, choice
from .given import Empty, Flat, K, Reduction, Values, check, cuts, lists_of, settle
from .hits import Hits, first_hit_of, precision_of, precisions_of, recall_of
from .standing import Ties, by_standing

__all__ = ["average_precision", "hit_rate", "mrr", "precision", "recall"]


@torch.no_grad()
def precision(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    threshold: float = 1.0,
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The share of relevant items among the first k.

    Formula:    \mathrm{P}@k = \frac{1}{k} \#\{i: r_i \le k, y_i \ge \mathrm{threshold}\}
    Use when:   so many places are shown and each costs attention.
    Avoid when: lists have fewer relevant items than k: 1 is then out of reach. See recall, average_precision.
    Shape:      scores (*, L), relevance (*, L), mask (*, L), query_weight (*) -> () or (*); with (K,) after it for several k
    Args:
        k: the first places; several at once give a last axis. A list that is shorter is divided by k all the same. None: all
            items, divided by their number.
        threshold: an item is relevant from this relevance on, in all metrics of relevant items and others.
        ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    float64, without gradient. A list with a NaN that counts is NaN; so is the mean of no list.
    Raises:     ShapeError; TypeError; ValueError for k < 1 or an option that is none.
    Reference:  Manning, Raghavan and Schuetze 2008, Introduction to information retrieval, chapter 8
    Example:
        >>> precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1, 0, 1]), k=(1, 2))
        tensor([1.0000, 0.5000], dtype=torch.float64)
    """
    at = cuts(k)
    lists = _lists(scores, relevance, threshold, empty, mask, query_weight, offsets, reduction)
    found = _by_hits(lists, lambda hits: precision_of(hits, at), threshold, ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def recall(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    threshold: float = 1.0,
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The share of the relevant items that is among the first k.

    Formula:    \mathrm{R}@k = \#\{i: r_i \le k, y_i \ge \mathrm{threshold}\} / \#\{i: y_i \ge \mathrm{threshold}\}
    Use when:   the first k go on to a second stage, which cannot find what is not among them.
    Avoid when: the order among the first k matters.
    Shape:      as ``precision``
    Args:
        k: the first places; several at once give a last axis. None: all, of which the recall is 1.
        threshold: as in ``precision``.
        ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``precision``.
    Raises:     as ``precision``.
    Reference:  Manning, Raghavan and Schuetze 2008, Introduction to information retrieval, chapter 8
    Example:
        >>> recall(torch.tensor([3.0, 3.0, 1.0]), torch.tensor([1, 0, 1]), k=1)  # first in one of two orders: 1/2 of 1/2
        tensor(0.2500, dtype=torch.float64)
    """
    at = cuts(k)
    lists = _lists(scores, relevance, threshold, empty, mask, query_weight, offsets, reduction)
    found = _by_hits(lists, lambda hits: recall_of(hits, at), threshold, ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def hit_rate(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    threshold: float = 1.0,
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Whether a relevant item is among the first k; with ties the probability of it.

    Formula:    \mathrm{H}@k = 1\ \mathrm{if}\ \min_{y_i \ge \mathrm{threshold}} r_i \le k, \mathrm{else}\ 0
    Use when:   one good answer among the first k is enough.
    Avoid when: it matters where among them it stands: see mrr.
    Shape:      as ``precision``
    Args:
        k: the first places; several at once give a last axis. None: all, of which it is 1.
        threshold: as in ``precision``.
        ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``precision``.
    Raises:     as ``precision``.
    Reference:  Deshpande and Karypis 2004, Item-based top-N recommendation algorithms
    Example:
        >>> hit_rate(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([0, 1, 0]), k=(1, 2))
        tensor([0., 1.], dtype=torch.float64)
    """
    at = cuts(k)
    lists = _lists(scores, relevance, threshold, empty, mask, query_weight, offsets, reduction)
    found = _by_hits(lists, lambda hits: first_hit_of(hits, at, "hit_rate"), threshold, ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def mrr(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    threshold: float = 1.0,
    ties: Ties = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""One over the place of the first relevant item, on average over lists: the mean reciprocal rank.

    Formula:    \mathrm{MRR}@k = 1 / \min_{y_i \ge \mathrm{threshold}} r_i, \mathrm{or}\ 0\ \mathrm{beyond}\ k
    Use when:   one right answer is looked for, and the second place is half as good as the first.
    Avoid when: there are several relevant items or grades: see average_precision, ndcg.
    Shape:      as ``precision``
    Args:
        k: the first places; a first relevant item beyond them is 0. Several at once give a last axis. None: all.
        threshold: as in ``precision``: the first item with this relevance, not the one with the list's largest.
        ties, generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``precision``.
    Raises:     as ``precision``.
    Reference:  Voorhees 1999, The TREC-8 question answering track report; ties: McSherry and Najork 2008
    Example:
        >>> mrr(torch.tensor([[3.0, 2.0], [2.0, 3.0]]), torch.tensor([[1, 0], [1, 0]]))  # (1 + 1/2) / 2
        tensor(0.7500, dtype=torch.float64)
    """
    at = cuts(k)
    lists = _lists(scores, relevance, threshold, empty, mask, query_weight, offsets, reduction)
    found = _by_hits(lists, lambda hits: first_hit_of(hits, at, "mrr"), threshold, ties, generator)
    return settle(lists, found, at, empty, reduction)


@torch.no_grad()
def average_precision(
    scores: Tensor,
    relevance: Tensor,
    *,
    k: K = None,
    threshold: float = 1.0,
    ties: Ties | Literal["threshold"] = "average",
    generator: torch.Generator | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The precision at each relevant item, averaged: the area under precision and recall. Over lists its mean is MAP.

    Formula:    \mathrm{AP}@k = \frac{1}{\min(k, n)} \sum_{i: y_i \ge \mathrm{threshold}, r_i \le k} \mathrm{P}@r_i
    Use when:   lists have several relevant items and all of them should come first; one long list of rare positives.
    Avoid when: relevance has grades: see ndcg.
    Shape:      as ``precision``
    Args:
        k: the first places; divided by what they can hold, so that a list with its relevant items first has 1. None: all.
        threshold: as in ``precision``.
        ties: as in ``ndcg``, or "threshold": a tie is one threshold, whose items all have its last place's precision.
            That is what scikit-learn computes, and for all orders of a tie too high a number; without k only.
        generator, empty, mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``precision``.
    Raises:     as ``precision``.
    Reference:  Manning, Raghavan and Schuetze 2008, Introduction to information retrieval, chapter 8
    Example:
        >>> average_precision(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1, 0, 1]))  # (1/1 + 2/3) / 2
        tensor(0.8333, dtype=torch.float64)
    """
    at = cuts(k)
    choice("ties", ties, ("average", "stable", "random", "threshold"))
    if ties == "threshold" and at.k != (None,):
        raise ValueError('"k" is given with ties="threshold", expected None: a threshold takes all items of a tie or none')
    runs: Ties = "average" if ties == "threshold" else ties
    lists = _lists(scores, relevance, threshold, empty, mask, query_weight, offsets, reduction)
    found = _by_hits(lists, lambda hits: precisions_of(hits, at, as_threshold=ties == "threshold"), threshold, runs, generator)
    return settle(lists, found, at, empty, reduction)


def _lists(
    scores: Tensor,
    relevance: Tensor,
    threshold: float,
    empty: Empty,
    mask: Tensor | None,
    query_weight: Tensor | None,
    offsets: Tensor | None,
    reduction: Reduction,
) -> Flat:
    check(empty, reduction)
    at_least("threshold", threshold, -torch.inf, finite=False)
    return lists_of(scores, relevance, mask, query_weight, offsets)


def _by_hits(
    lists: Flat, body: Callable[[Hits], Values], threshold: float, ties: Ties, generator: torch.Generator | None
) -> Values:
    return by_standing(lists, lambda standing: body(Hits(standing, standing.lists.relevance >= threshold)), ties, generator)
