"""Relevant items in an order, run by run, and the figures that follow from how many there are and where."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..retrieving.figures import first_relevant, precision_sums
from ..retrieving.ranks import Ranks
from .given import Cuts, Values, real
from .standing import Standing

__all__ = ["Hits", "Runs", "first_hit_of", "precision_of", "precisions", "precisions_of", "recall_of"]

_ROOM = 2**20  # numbers at a time, of the places of a tie


class Runs(NamedTuple):
    """Runs of items with one score that hold a hit, (H,) float64: ties, and hits that stand alone."""

    inside: Tensor
    """How many hits a run has."""
    before: Tensor
    """How many hits of the list stand above it."""
    above: Tensor
    """How many items of the list stand above it."""
    tied: Tensor
    """How many items it has."""


class Hits:
    """Where the items that are ``there`` (T,) stand."""

    def __init__(self, standing: Standing, there: Tensor) -> None:
        self.standing = standing
        place = there.index_select(0, standing.item).nonzero().squeeze(1)
        self.total = standing.per_list(torch.ones_like(place), place)
        """(B,) float64: how many a list has"""
        self.has = self.total > 0
        self.place, inside, before, tied = _in_runs(standing, place)
        """(H,): where each run begins"""
        if standing.many:
            before = before - (self.total.cumsum(0) - self.total).index_select(0, standing.of(self.place))
        self.runs = Runs(*map(real, (inside, before, standing.within(self.place), tied)))

    def per_list(self, values: Tensor) -> Tensor:
        """Of values of the runs, the sum in each list: (B,)."""
        return self.standing.per_list(values, self.place)

    def among(self, k: int | None) -> Tensor:
        """How many of each list are among the first k, on average over the orders of ties: (B,)."""
        if k is None:
            return self.total
        inside, _, above, tied = self.runs
        return self.per_list(inside * torch.minimum((k - above).clamp(min=0), tied) / tied)

    @cached_property
    def leading(self) -> tuple[Tensor, Runs]:
        """The first run of each list that has a hit: the lists, and these runs."""
        first = (self.runs.before == 0).nonzero().squeeze(1)
        lists = self.standing.of(self.place.index_select(0, first))
        return lists, Runs(*(each.index_select(0, first) for each in self.runs))


def _in_runs(standing: Standing, place: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Hits at these places, run by run: where each run begins, hits in it, hits before it in the whole order, its size."""
    index, one, ties = torch.arange(len(place), device=place.device), torch.ones_like(place), standing.tied
    if ties is None:
        return place, one, index, one
    shares = torch.zeros_like(standing.item, dtype=torch.bool)
    shares[ties.head] = True
    shares[ties.rest] = True
    within = shares.index_select(0, place)
    tied, alone = within.nonzero().squeeze(1), within.logical_not().nonzero().squeeze(1)
    run = torch.searchsorted(ties.head, place.index_select(0, tied), right=True) - 1
    run, inside = run.unique_consecutive(return_counts=True)
    first = tied.index_select(0, inside.cumsum(0) - inside)  # hits of one run stand together
    found = (
        (place.index_select(0, alone), ties.head.index_select(0, run)),
        (one.index_select(0, alone), inside),
        (alone, first),
        (one.index_select(0, alone), ties.size.index_select(0, run)),
    )
    begin, inside, before, size = (torch.cat(each) for each in found)
    return begin, inside, before, size


def precision_of(hits: Hits, at: Cuts) -> Values:
    """Precision of each list."""
    every = real(hits.standing.lists.length)
    return Values(torch.stack([hits.among(k) / (every if k is None else k) for k in at.k], 1), hits.has)


def recall_of(hits: Hits, at: Cuts) -> Values:
    """Recall of each list."""
    return Values(torch.stack([hits.among(k) / hits.total for k in at.k], 1), hits.has)


def first_hit_of(hits: Hits, at: Cuts, figure: Literal["mrr", "hit_rate"]) -> Values:
    """What follows from the first run that has a hit, of each list."""
    value = hits.total.new_zeros(len(hits.total), len(at.k))
    lists, runs = hits.leading
    if len(lists):
        inside, before, above, tied = (each.unsqueeze(1) for each in runs)
        ranks = Ranks(above, tied, before, inside, inside, torch.ones_like(lists))
        found = first_relevant(ranks, [k for k in at.k if k is not None], _ROOM)
        found["hit_rate"] = torch.ones_like(runs.inside)
        value[lists] = torch.stack([found[figure if k is None else f"{figure}@{k}"] for k in at.k], 1)
    return Values(value, hits.has)


def precisions_of(hits: Hits, at: Cuts, *, as_threshold: bool = False) -> Values:
    """Average precision of each list."""
    columns = [
        hits.per_list(precisions(hits.runs, k, as_threshold=as_threshold))
        / (hits.total if k is None else hits.total.clamp(max=k))
        for k in at.k
    ]
    return Values(torch.stack(columns, 1), hits.has)


def precisions(runs: Runs, k: int | None = None, *, as_threshold: bool = False) -> Tensor:
    """The sum of the precisions at the hits of each run: (H,)."""
    inside, before, above, tied = runs
    if as_threshold:
        return inside * (before + inside) / (above + tied)
    each = (before + 1) / (above + 1)
    if k is not None:
        each = torch.where(above < k, each, 0)
    several = (tied > 1).nonzero().squeeze(1)
    if len(several):
        inside, before, above, tied = (t.index_select(0, several).unsqueeze(1) for t in runs)
        ranks = Ranks(above, tied, before, inside, inside, torch.ones_like(several))
        # less what comes after, not from the first place on: only differences matter, and of small sums these keep their digits
        after = real(torch.arange(int((above + tied).max()), 0, -1, device=each.device)).reciprocal_().cumsum(0).flip(0).neg_()
        cut = None if k is None else each.new_tensor(k)
        each[several] = precision_sums(ranks, cut, torch.cat([after, each.new_zeros(1)])) * inside.squeeze(1)
    return each
