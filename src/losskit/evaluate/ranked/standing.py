"""Where items stand: list by list from the highest score down, and which of them share their places."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...core.check import choice, drawn_by
from ...ops.list_ranks import order
from .given import Flat, Values, real
from .groups import in_groups

__all__ = ["Standing", "Tied", "Ties", "begins", "by_standing", "check_draw", "grades"]

Ties = Literal["average", "stable", "random"]


class Tied(NamedTuple):
    """Runs of two items and more that share their places: as a rule few, so that they are worked on apart."""

    head: Tensor
    """(S,): the first place of each run"""
    size: Tensor
    """(S,): how many places it takes"""
    rest: Tensor
    """(C,): the places after the first of all runs"""
    of_rest: Tensor
    """(C,): the runs of these"""


class Standing:
    """Items in their order, T of them, list by list. Broken ties ("stable", "random") are none."""

    def __init__(self, lists: Flat, key: Tensor, ties: Ties = "average", generator: torch.Generator | None = None) -> None:
        choice("ties", ties, ("average", "stable", "random"))
        self.lists = lists
        self.many = len(lists.length) != 1
        self.first = lists.length.cumsum(0) - lists.length
        """(B,): where each list begins"""
        at = _shuffled(key, generator) if ties == "random" else _order(key)
        self.item = at.index_select(0, order(self.of_item.index_select(0, at))) if self.many else at
        """(T,): which item stands at each place"""
        self.begins = self._begins(key) if ties == "average" else None
        """(T,) bool: where a run of items with one score begins; None where each item is one"""

    def _begins(self, key: Tensor) -> Tensor:
        found = begins(key.index_select(0, self.item))
        if self.many:
            found[self.first[self.lists.length > 0]] = True
        return found

    @cached_property
    def tied(self) -> Tied | None:
        """The runs that are ties; None if there is none."""
        if self.begins is None:
            return None
        rest = self.begins.logical_not().nonzero().squeeze(1)
        if not len(rest):
            return None
        new = self.begins.index_select(0, rest - 1)
        at = new.nonzero().squeeze(1)
        size = torch.cat([at, at.new_full((1,), len(rest))]).diff() + 1
        return Tied(rest.index_select(0, at) - 1, size, rest, new.cumsum(0) - 1)

    @cached_property
    def of_item(self) -> Tensor:
        """(T,): the list of each place."""
        return self.lists.of_item

    @cached_property
    def longest(self) -> int:
        """How many items the longest list has."""
        return int(self.lists.length.max()) if len(self.lists.length) else 0

    @cached_property
    def even(self) -> bool:
        """Whether all lists are as long as the longest."""
        return not self.many or len(self.item) == len(self.lists.length) * self.longest

    def of(self, place: Tensor) -> Tensor:
        """The lists of places in the order, which are those of the items that stand there: lists keep their stretches."""
        return self.of_item.index_select(0, place).long() if self.many else torch.zeros_like(place)

    def within(self, place: Tensor) -> Tensor:
        """Places in the order as places in their lists, the first being 0."""
        return place - self.first.index_select(0, self.of(place)) if self.many else place

    def tie_means(self, values: Tensor) -> Tensor:
        """The values at all places (T,), changed where they are: each of a tie becomes the mean of the tie's.

        That times any weight of the places is what the values have on average over the orders of ties.
        McSherry and Najork 2008.
        """
        ties = self.tied
        if ties is not None:
            total = values.index_select(0, ties.head).index_add_(0, ties.of_rest, values.index_select(0, ties.rest))
            mean = total / ties.size
            values[ties.head] = mean
            values[ties.rest] = mean.index_select(0, ties.of_rest)
        return values

    def dot(self, values: Tensor, table: Tensor) -> Tensor:
        """Values at all places (T,) times what ``table`` (n,) has for each place of a list, 0 beyond n: sums (B,)."""
        size = len(table)
        if self.even:
            return values.view(len(self.lists.length), self.longest)[:, :size].mv(table)
        place = self.within(torch.arange(len(values), device=table.device))
        return self.per_list(values * torch.cat([table, table.new_zeros(1)]).index_select(0, place.clamp_(max=size)))

    def per_list(self, values: Tensor, place: Tensor | None = None) -> Tensor:
        """Of values at these places, or at all (T,), the sum in each list: (B,) float64."""
        values = real(values)
        if place is None and self.even:
            return values.view(len(self.lists.length), self.longest).sum(1)
        if not self.many:
            return values.sum(0, keepdim=True)
        of = self.of_item.long() if place is None else self.of(place)
        return values.new_zeros(len(self.lists.length)).index_add_(0, of, values)


def check_draw(ties: str, generator: torch.Generator | None) -> None:
    """Raise for a generator that is none or would not be used."""
    drawn_by("generator", generator)
    if generator is not None and ties != "random":
        raise ValueError(f'"generator" is given with ties={ties!r}, expected ties="random": nothing else is drawn')


def by_standing(
    lists: Flat, body: Callable[[Standing], Values], ties: Ties = "average", generator: torch.Generator | None = None
) -> Values:
    """What ``body`` says of each list, from the lists in their order."""

    check_draw(ties, generator)

    def found(some: Flat) -> Values:
        return body(Standing(some, some.scores, ties, generator))

    return found(lists) if ties == "random" else in_groups(lists, found)  # one draw is of all items


def _shuffled(key: Tensor, generator: torch.Generator | None) -> Tensor:
    """The order of the keys, equal ones in an order by chance."""
    device = key.device if generator is None else generator.device
    mixed = torch.randperm(len(key), generator=generator, device=device).to(key.device)
    return mixed.index_select(0, _order(key.index_select(0, mixed)))


def _order(key: Tensor) -> Tensor:
    """From the highest down; integers fall where their bits are turned, and in this direction a radix sort takes them."""
    return order(key, descending=True) if key.is_floating_point() else order(~key)


def begins(value: Tensor) -> Tensor:
    """Where a run of equal values begins: (T,) bool."""
    found = torch.ones_like(value, dtype=torch.bool)
    torch.ne(value[1:], value[:-1], out=found[1:])
    return found


def grades(relevance: Tensor) -> Tensor | None:
    """The relevance in bytes, if it is of small whole numbers: a byte sorts in one pass, where a float64 takes eight."""
    if relevance.dtype == torch.uint8 or not relevance.numel():
        return relevance.to(torch.uint8)
    low, high = (float(edge) for edge in torch.aminmax(relevance))
    whole = low >= 0 and high <= 255 and not (relevance.is_floating_point() and bool((relevance != relevance.floor()).any()))
    return relevance.to(torch.uint8) if whole else None
