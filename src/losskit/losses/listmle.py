"""ListMLE: how likely the scores make the right order, chosen item by item from the top."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from ..core.card import loss
from ..core.check import choice, drawn_by, wide
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.stages import Stages, run_sum, stage_costs, stages
from .lists import LISTS, Found, Lists, over_lists

__all__ = ["ListMLELoss", "listmle_loss"]

Ties = Literal["efron", "breslow", "random", "stable"]
# of ranks (B, L) from 1 on and numbers of items (B, 1), both float64: what the choice at each rank counts for
Discount = Callable[[Tensor, Tensor], Tensor]


def even(rank: Tensor, count: Tensor) -> Tensor:
    """Every choice counts one."""
    return torch.ones_like(rank)


def choices(lists: Lists, ties: Ties, generator: torch.Generator | None, discount: Discount) -> Found:
    """sum_k w_k (logsumexp_{t >= k} s_t - s_k) of each list in the order of its relevance."""
    choice("ties", ties, ("efron", "breslow", "random", "stable"))
    drawn_by("generator", generator)
    if generator is not None and ties != "random":
        raise ValueError(f'"generator" is given with ties={ties!r}, expected ties="random": nothing else is drawn')
    at = stages(lists.relevance, lists.valid, shuffle=_noise(lists, generator) if ties == "random" else None)
    counts = wide(lists.counts).gather(-1, at.place)
    rank = torch.arange(counts.shape[-1], device=counts.device, dtype=counts.dtype)
    steps = torch.where(rank < at.length, discount((rank + 1).expand_as(counts), at.length.to(counts.dtype)), 0)
    learns = ((counts > 0) & (at.after < at.length)).any(-1)
    if ties in ("random", "stable"):
        alone = at._replace(first=rank.long().expand_as(at.first), after=(rank.long() + 1).expand_as(at.after))
        value = stage_costs(lists.scores, alone, steps * counts)
    else:
        value = stage_costs(lists.scores, at, *_shared(at, counts, steps, rank, ties))
    return Found(torch.where(learns, value, 0), learns)


def _noise(lists: Lists, generator: torch.Generator | None) -> Tensor:
    device = lists.scores.device if generator is None else generator.device
    return torch.rand(lists.scores.shape, generator=generator, device=device).to(lists.scores.device)


def _shared(at: Stages, counts: Tensor, steps: Tensor, rank: Tensor, ties: Ties) -> tuple[Tensor, Tensor, Tensor | None]:
    """What the choices among equals count, what each item's score counts, and log of the share of the equals left."""
    equals = at.after - at.first
    own = counts * run_sum(steps, at) / equals
    if ties == "breslow":
        return own, own, None
    return steps * run_sum(counts, at) / equals, own, torch.log1p((at.first - rank) / equals)


def grade_groups(scores: Sequence[float], relevance: Sequence[float]) -> list[list[float]]:
    """The scores of each grade, the best grade first: what references are written with."""
    grades = sorted(set(relevance), reverse=True)
    return [[s for s, y in zip(scores, relevance, strict=True) if y == grade] for grade in grades]


def plain(scores: Tensor, relevance: Tensor, ties: str, weights: Callable[[int], Sequence[float]]) -> Tensor:
    """From the definition, choice by choice; ``weights(n)`` of the n ranks."""
    values: list[float] = []
    for s, y in zip(scores.double().tolist(), relevance.tolist(), strict=True):
        groups, step, total = grade_groups(s, y), iter(weights(len(s))), 0.0
        for g, tied in enumerate(groups):
            equal = sum(math.exp(v) for v in tied)
            lower = sum(math.exp(v) for group in groups[g + 1 :] for v in group)
            for taken in range(len(tied)):
                left = equal * (1 - taken / len(tied)) if ties == "efron" else equal
                total += next(step) * (math.log(left + lower) - sum(tied) / len(tied))
        values.append(total if len(groups) > 1 else 0.0)
    return torch.tensor(values, dtype=torch.float64)


def best(relevance: Tensor, ties: str, weights: Callable[[int], Sequence[float]]) -> float:
    """In the mean over the lists with two grades: equals score alike, and nothing below them is left to be chosen."""
    lists = [y for y in torch.atleast_2d(relevance).tolist() if len(set(y)) > 1]
    total = 0.0
    for y in lists:
        step = iter(weights(len(y)))
        for tied in grade_groups(y, y):
            total += sum(next(step) * math.log(len(tied) - (k if ties == "efron" else 0)) for k in range(len(tied)))
    return total / len(lists)


def _once(count: int) -> list[float]:
    return [1.0] * count


def _paper(scores: Tensor, relevance: Tensor, *, ties: str = "efron") -> Tensor:
    return plain(scores, relevance, ties, _once)


def _chance(list_size: int, ties: str = "efron") -> float:
    """One of L! orders; with Breslow's rule the grades matter."""
    return math.lgamma(list_size + 1) if ties in ("efron", "random") else math.nan


def _floor(relevance: Tensor, ties: str = "efron") -> float:
    return best(relevance, ties, _once) if ties in ("efron", "breslow") else math.nan


@loss(
    task="ranking",
    sample=LISTS,
    reference=_paper,
    laws=("nonnegative", "convex", "bounded_gradient"),
    chance=_chance,
    floor=_floor,
)
def listmle_loss(
    scores: Tensor,
    relevance: Tensor,
    *,
    ties: Ties = "efron",
    generator: torch.Generator | None = None,
    mask: Tensor | None = None,
    weight: Tensor | None = None,
    query_weight: Tensor | None = None,
    offsets: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
) -> Tensor:
    r"""How surprised the model is by the whole order of a list, drawn from the top without replacement (Plackett-Luce).

    Formula:    \ell = \sum_k w_k \left(\log \sum_{t \ge k} e^{s_t} - s_k\right), items in falling order of relevance
    Gradient:   \partial\ell/\partial s_j = \sum_{k \le j} w_k \frac{e^{s_j}}{\sum_{t \ge k} e^{s_t}} - w_j: how often j is
                expected to have been chosen by then, less the one time that it is
    Use when:   the whole order counts and is known: rankings by people, by a teacher, by a number. O(L log L).
    Avoid when: grades are few, and most items share the lowest: its inner order says nothing, yet is most of the sum
                (listnet_loss, unique_softmax_loss, pairwise_logistic_loss); or the top counts most (plistmle_loss).
    Shape:      scores (*, L), relevance (*, L) -> () or (*); ragged: scores (T,), relevance (T,), offsets (B + 1,) -> () or (B,)
    Args:
        ties: items of equal relevance. "efron", of survival analysis: each choice among them has left the mean over all their
            orders of what is left. So the loss is never below its mean over all orders, and equal to it where tied scores agree.
            "breslow": each choice has all of them left. "random": an order drawn at every call. "stable": the order of the
            list, which then has to mean something.
        generator: of ties="random".
        mask: (*, L) bool, True where an item counts; what is masked may be NaN, a valid NaN or inf makes its list NaN.
        weight: (*, L) >= 0, w: what choosing an item counts for. One of weight 0 is still somebody whom others must beat.
        query_weight: (*) or (B,) >= 0, what each list counts for in the mean.
        offsets: (B + 1,) where lists of different lengths begin in a flat batch, and the end of the last.
        normalizer: replaces the mean's denominator.
    Returns:    0-d, or one value a list for reduction="none": a sum over the choices, so that long lists cost more. A list
                without two grades, or in which no item above the lowest grade has weight, is 0 and does not count.
    Raises:     ShapeError; TypeError; ValueError for an option out of range, or a generator that would not be used.
    Reference:  Xia et al. 2008, Listwise Approach to Learning to Rank; ties: Efron 1977, Breslow 1974
    Example:
        >>> losskit.listmle_loss(torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]))  # one of 3! orders: ln 6
        tensor(1.7918)
    """
    return over_lists(
        lambda lists: choices(lists, ties, generator, even),
        scores,
        relevance,
        mask=mask,
        weight=weight,
        query_weight=query_weight,
        offsets=offsets,
        reduction=reduction,
        normalizer=normalizer,
    )


class ListMLELoss(Loss, function=listmle_loss):
    """Module of :func:`listmle_loss`."""

    ties: Ties = "efron"
    generator: torch.Generator | None = None
    mask: Tensor | None = None
    weight: Tensor | None = None
    query_weight: Tensor | None = None
    offsets: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
