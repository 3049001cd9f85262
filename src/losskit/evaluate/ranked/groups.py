"""Many lists in groups that a core's cache holds, where a sort costs half as much an item as in a million."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from .given import Flat, Values

__all__ = ["Pending", "groups", "in_groups"]

_AT_ONCE = 2**17  # items; argsort of int32 on an EPYC: 43 ns an item below 2^15, 7 up to here, 14 to 23 in a million


def in_groups(lists: Flat, body: Callable[[Flat], Values]) -> Values:
    """What ``body`` says of the lists, group by group."""
    found = [body(group) for group in groups(lists)]
    return found[0] if len(found) == 1 else Values(*map(torch.cat, zip(*found, strict=True)))


def groups(lists: Flat) -> Iterator[Flat]:
    """The lists a group at a time: a list stays whole, and on an accelerator all of them are one group."""
    if len(lists.scores) <= _AT_ONCE or len(lists.length) == 1 or lists.scores.device.type != "cpu":
        yield lists
        return
    ends = lists.length.cumsum(0)
    size = -(-len(lists.scores) // (len(lists.scores) // _AT_ONCE))  # all alike: a sort of less than 2^15 is a slow one
    count = torch.div(ends - lists.length, size, rounding_mode="floor").unique_consecutive(return_counts=True)[1]
    items = ends[count.cumsum(0) - 1].diff(prepend=ends.new_zeros(1)).tolist()
    lengths = lists.length.split(count.tolist())
    weights: Sequence[Tensor | None] = [None] * len(lengths) if lists.weight is None else lists.weight.split(count.tolist())
    for columns in zip(lists.scores.split(items), lists.relevance.split(items), lengths, weights, strict=True):
        yield Flat(*columns, columns[2].shape)


class Pending:
    """Batches that wait until together they make a group, copied to where a sort takes them from."""

    def __init__(self) -> None:
        self._make: tuple[object, ...] = ()
        self._scores, self._relevance = torch.zeros(0), torch.zeros(0)
        self.clear()

    def clear(self) -> None:
        """Forget the batches, not the room for them: fresh pages cost as much as a sort."""
        self.lists, self.items = 0, 0
        self._lengths: list[Tensor] = []
        self._weights: list[Tensor] = []

    def take(self, given: Flat) -> bool:
        """Keep the batch, if there is room for it and it is of one make with the others."""
        lists, items = self.lists + len(given.length), self.items + len(given.scores)
        make = given.scores.dtype, given.relevance.dtype, given.scores.device, given.weight is None
        if max(lists, items) > _AT_ONCE or (self.lists and make != self._make):
            return False
        if make != self._make:
            self._make = make
            with torch.inference_mode(False):  # or updates outside of inference mode could not write there
                self._scores, self._relevance = (each.new_empty(_AT_ONCE) for each in given[:2])
        self._scores[self.items : items] = given.scores
        self._relevance[self.items : items] = given.relevance
        self._lengths.append(given.length)
        if given.weight is not None:
            self._weights.append(given.weight.clone())
        self.lists, self.items = lists, items
        return True

    def joined(self) -> Flat:
        """All of them as one batch, until the next ``take``."""
        length, weight = torch.cat(self._lengths), torch.cat(self._weights) if self._weights else None
        return Flat(self._scores[: self.items], self._relevance[: self.items], length, weight, length.shape)
