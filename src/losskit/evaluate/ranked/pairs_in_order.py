"""Shares of pairs in order: concordance, Kendall's tau and the area under the ROC curve, in O(n log n)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...core.check import at_least, between
from ...ops.list_ranks import order
from .given import YES_OR_NO, Empty, Reduction, Values, check, cuts, lists_of, real, settle
from .hits import Hits, Runs
from .standing import Standing, begins, by_standing, grades

__all__ = ["area", "auc", "check_fpr", "concordance", "concordance_of", "kendall_tau", "kendall_tau_of", "standardised"]


class Pairs(NamedTuple):
    """Pairs of different relevance of each list, (B,) float64."""

    ordered: Tensor
    """In the order of the scores, ties half."""
    all: Tensor


@torch.no_grad()
def concordance(
    scores: Tensor,
    relevance: Tensor,
    *,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The share of pairs of different relevance that the scores put in order; equal scores are half in order.

    Formula:    \frac{\#\{y_i > y_j, s_i > s_j\} + \frac12 \#\{y_i > y_j, s_i = s_j\}}{\#\{y_i > y_j\}}
    Use when:   all places matter alike and relevance has any number of grades; survival without censoring. It is the AUC of
                binary relevance, and the share that a pairwise loss works on.
    Avoid when: the first places matter most: see ndcg.
    Shape:      scores (*, L), relevance (*, L), mask (*, L), query_weight (*) -> () or (*)
    Args:
        empty: what a list without such a pair is, as in ``ndcg``.
        mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    float64, without gradient. A list with a NaN that counts is NaN; so is the mean of no list.
    Raises:     ShapeError; TypeError; ValueError for an option that is none.
    Reference:  Harrell et al. 1982, Evaluating the yield of medical tests
    Example:
        >>> concordance(torch.tensor([3.0, 2.0, 2.0]), torch.tensor([2, 1, 0]))  # two of three pairs, and half of one
        tensor(0.8333, dtype=torch.float64)
    """
    check(empty, reduction)
    lists = lists_of(scores, relevance, mask, query_weight, offsets)
    return settle(lists, by_standing(lists, concordance_of), cuts(None), empty, reduction)


@torch.no_grad()
def kendall_tau(
    scores: Tensor,
    relevance: Tensor,
    *,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""Kendall's tau-b: pairs in order less pairs in reverse, 1 for the same order and -1 for the opposite one.

    Formula:    \tau_b = (C - D) / \sqrt{\#\{i < j: y_i \ne y_j\} \#\{i < j: s_i \ne s_j\}}
    Use when:   two orders are compared and neither is the truth.
    Avoid when: ties of the scores should count half: see concordance.
    Shape:      as ``concordance``
    Args:
        empty: what a list is whose scores or relevances are all equal, as in ``ndcg``.
        mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    as ``concordance``.
    Raises:     as ``concordance``.
    Reference:  Kendall 1945, The treatment of ties in ranking problems
    Example:
        >>> kendall_tau(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([2, 0, 1]))  # (2 - 1) / 3
        tensor(0.3333, dtype=torch.float64)
    """
    check(empty, reduction)
    lists = lists_of(scores, relevance, mask, query_weight, offsets)
    return settle(lists, by_standing(lists, kendall_tau_of), cuts(None), empty, reduction)


@torch.no_grad()
def auc(
    scores: Tensor,
    target: Tensor,
    *,
    max_fpr: float | None = None,
    empty: Empty = "skip",
    mask: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    r"""The area under the ROC curve: how likely a positive scores higher than a negative; equal scores count half.

    Formula:    \mathrm{AUC} = \frac{1}{PN} \sum_{i: y_i = 1} \sum_{j: y_j = 0} [s_i > s_j] + \tfrac12 [s_i = s_j]
    Use when:   one long list of yes and no (scores (N,)), whatever the share of yes; or group by group: the mean over lists.
    Avoid when: positives are rare and the first places matter: see average_precision.
    Shape:      scores (*, L), target (*, L), mask (*, L), query_weight (*) -> () or (*)
    Args:
        target: 0 or 1, or bool.
        max_fpr: in (0, 1]: the area up to this false positive rate only, standardised so that chance is 1/2 and the best is 1.
        empty: what a list without a positive or without a negative is, as in ``ndcg``.
        mask, query_weight, offsets, reduction: as in ``ndcg``.
    Returns:    float64, without gradient. A list with a NaN that counts is NaN; so is the mean of no list.
    Raises:     ShapeError; TypeError; ValueError for a target other than 0 and 1, or an option that is none.
    Reference:  Hanley and McNeil 1982; partial: McClish 1989, Analyzing a portion of the ROC curve
    Example:
        >>> auc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([1, 1, 0, 0]))  # three of four pairs, and half of one
        tensor(0.8750, dtype=torch.float64)
    """
    check(empty, reduction)
    check_fpr(max_fpr)
    lists = lists_of(scores, target, mask, query_weight, offsets, domain=YES_OR_NO, name="target")
    return settle(lists, by_standing(lists, lambda standing: _auc_of(standing, max_fpr)), cuts(None), empty, reduction)


def _auc_of(standing: Standing, max_fpr: float | None) -> Values:
    """AUC of each list."""
    hits = Hits(standing, standing.lists.relevance == 1)
    positives, negatives = hits.total, real(standing.lists.length) - hits.total
    limit = negatives if max_fpr is None else negatives * max_fpr
    value = hits.per_list(area(hits.runs, limit.index_select(0, standing.of(hits.place)))) / (positives * negatives)
    return Values(standardised(value, max_fpr).unsqueeze(1), (positives > 0) & (negatives > 0))


def area(runs: Runs, limit: Tensor | float) -> Tensor:
    """The pairs in order of each run's positives with the first ``limit`` negatives of its list, whole or not: (H,).

    Negatives below a positive are in order with it, those of its tie half: a tie is a straight line of the curve.
    """
    yes, before, above, tied = runs
    no, behind = tied - yes, limit - (above - before)  # negatives in the run, and from its beginning on
    part = behind.clamp(min=0).minimum(no)
    return yes * (behind.clamp(min=0) - part + part * part / (2 * no.clamp(min=1)))


def standardised(area: Tensor, max_fpr: float | None) -> Tensor:
    """The area up to a false positive rate as 1/2 for chance and 1 for the best (McClish 1989)."""
    if max_fpr is None or max_fpr == 1:
        return area
    least = max_fpr**2 / 2
    return (1 + (area - least) / (max_fpr - least)) / 2


def check_fpr(max_fpr: float | None) -> None:
    """Raise unless it is None or in (0, 1]."""
    if max_fpr is not None:
        at_least("max_fpr", max_fpr, 0, strict=True)
        between("max_fpr", max_fpr, 0, 1)


def concordance_of(standing: Standing) -> Values:
    """Concordance of each list."""
    ordered, pairs = _pairs(standing)
    return Values((ordered / pairs).unsqueeze(1), pairs > 0)


def kendall_tau_of(standing: Standing) -> Values:
    """tau-b of each list; of all pairs, those of a run are tied in the scores."""
    ordered, pairs = _pairs(standing)
    length = real(standing.lists.length)
    untied = length * (length - 1) / 2
    if standing.tied is not None:
        size = standing.tied.size
        untied = untied - standing.per_list(size * (size - 1), standing.tied.head) / 2
    value = (2 * ordered - pairs) / (pairs.sqrt() * untied.sqrt())
    return Values(value.unsqueeze(1), (pairs > 0) & (untied > 0))


# Two grades differ first in one bit. Of all items that agree in the bits before it, those with 0 and those with 1 there are a
# problem of yes and no: as many passes over the items as a grade has bits.
def _pairs(standing: Standing) -> Pairs:
    level, bits = _levels(standing)
    level, of = level.index_select(0, standing.item), standing.of(torch.arange(len(level), device=level.device))
    run = torch.arange(len(level), device=level.device) if standing.begins is None else standing.begins.cumsum(0)
    found = torch.zeros(2, len(standing.lists.length), dtype=real(level[:0]).dtype, device=level.device)
    block = of
    for bit in reversed(range(bits)):
        low = level >> bit & 1
        at, *both = _counts(low == 0, block, run)
        found.index_add_(1, of.index_select(0, at), torch.stack(both))
        if bit:
            block = block * 2 + low
            at = order(block.int() if 2 * len(block) < 2**31 else block)
            block, level, run, of = (t.index_select(0, at) for t in (block, level, run, of))
            block = begins(block).cumsum(0) - 1
    return Pairs(found[0], found.sum(0))


def _levels(standing: Standing) -> tuple[Tensor, int]:
    """The grade of each item among those of its list, 0 for the highest, and how many bits hold it."""
    lists = standing.lists
    small = grades(lists.relevance)
    best = Standing(lists, lists.relevance if small is None else small)
    if not len(best.item) or best.begins is None:
        return best.item, 0
    level = best.begins.cumsum(0)
    level = level - level.index_select(0, best.first.index_select(0, best.of(torch.arange(len(level), device=level.device))))
    return torch.empty_like(level).scatter_(0, best.item, level), int(level.max()).bit_length()


def _counts(yes: Tensor, block: Tensor, run: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Runs within blocks, by where they begin: the pairs of yes and no in order and in reverse that a run closes."""
    blocks = begins(block)
    start = (blocks | begins(run)).nonzero().squeeze(1)
    upto = torch.cat([start.new_zeros(1), yes.cumsum(0)])
    begin = blocks.nonzero().squeeze(1).index_select(0, (blocks.cumsum(0) - 1).index_select(0, start))
    high = upto.index_select(0, start)
    size = torch.cat([start, start.new_full((1,), len(yes))]).diff()
    inside = upto.index_select(0, start + size) - high
    before, below = high - upto.index_select(0, begin), size - inside
    return start, real(below) * (before + inside / 2), real(inside) * (start - begin - before + below / 2)
