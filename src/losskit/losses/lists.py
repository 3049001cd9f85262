"""What every loss of lists shares: padded, masked and ragged lists as rows, one value a list, one mean.

Relevance and weight are constants. A list is NaN, and so is its gradient, if a valid score or relevance is NaN or infinite: there
is no order with it. Mask items, do not give them -inf.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.call import whole_number
from ..core.check import at_least, peek, wide, working
from ..core.domain import Domain, Mask, Weight
from ..core.list_domain import Offsets, Relevance, Scores
from ..core.reduce import Reduction, reduce

__all__: list[str] = []  # for the losses next door, not for the user

GRADES = Relevance(low=0.0, open_high=True, meaning="how relevant each item is, 0 or more, a constant of the gradient")
LISTS: Mapping[str, Domain] = {
    "scores": Scores(),
    "relevance": Relevance(meaning="how relevant each item is, more is better, a constant of the gradient"),
    "mask": Mask("* L", meaning="True where an item counts"),
    "weight": Weight("* L", meaning="what each item counts for, a constant of the gradient"),
    "offsets": Offsets(),
    "query_weight": Weight(meaning="what each list counts for in the mean"),
}
"""The arguments of a loss of lists; those of a whole list come after the offsets, which say how many lists there are."""


class Lists(NamedTuple):
    """A batch of lists, (B, L)."""

    scores: Tensor
    """In the dtype a loss computes in; 0 where not valid."""
    relevance: Tensor
    """float64 where the device has it; 0 where not valid."""
    valid: Tensor
    weight: Tensor | None
    """As the scores; 0 where not valid."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Lists:
        """The same with every tensor changed."""
        weight = None if self.weight is None else change(self.weight)
        return Lists(change(self.scores), change(self.relevance), change(self.valid), weight)

    @property
    def counts(self) -> Tensor:
        """What each item counts for, (B, L): its weight, 1 where there are none, 0 where not valid."""
        return self.valid.to(self.scores.dtype) if self.weight is None else self.weight


class Found(NamedTuple):
    """What a loss makes of a batch of lists, (B,)."""

    value: Tensor
    """0 where there is nothing to learn."""
    counts: Tensor
    """What the value counts for in the denominator of the mean: 1 or 0, or a number of pairs."""


def over_lists(
    body: Callable[[Lists], Found],
    scores: Tensor,
    relevance: Tensor,
    *,
    mask: Tensor | None,
    weight: Tensor | None,
    query_weight: Tensor | None,
    offsets: Tensor | None,
    reduction: Reduction,
    normalizer: Tensor | float | None,
) -> Tensor:
    """``body`` of every list, reduced: a list that counts nothing is 0, one with a valid number that is not finite is NaN.

    Ragged lists become rows of padded groups, lists of about one length in each, so that no more than half is padding; their
    lengths are read on the host.
    """
    valid = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    flat = Lists(scores, relevance, valid, weight)
    if offsets is None:
        shape = scores.shape[:-1]
        if query_weight is not None:
            flat = flat._replace(valid=valid & (query_weight != 0).unsqueeze(-1))
        found = _found(body, flat.mapped(_rows))
    else:
        shape = offsets[1:].shape
        found = _ragged(body, flat, offsets, query_weight)
    value, counts = (t.reshape(shape) for t in found)
    there = counts != 0
    importance = there.to(value.dtype) if query_weight is None else torch.where(there, query_weight.to(value.dtype), 0)
    return reduce(value, importance, reduction, normalizer, counts=importance * counts)


def _rows(value: Tensor) -> Tensor:
    """(*, L) -> (B, L)."""
    return value.unsqueeze(0).flatten(0, -2)


def _found(body: Callable[[Lists], Found], given: Lists) -> Found:
    """``body`` of lists of one length, of which it sees nothing that is not valid."""
    (scores,), valid = working(given.scores), given.valid
    scores, relevance = torch.where(valid, scores, 0), torch.where(valid, wide(given.relevance.detach()), 0)
    weight = None if given.weight is None else torch.where(valid, given.weight.detach().to(scores.dtype), 0)
    lists = Lists(scores, relevance, valid, weight)
    # a sum that is finite has no other terms; where nobody can look, there might be some
    value, counts = body(lists) if peek((scores.detach().sum() + relevance.sum()).isfinite()) else _with_broken(body, lists)
    return Found(value.to(scores.dtype), counts.to(scores.dtype))


def _with_broken(body: Callable[[Lists], Found], lists: Lists) -> Found:
    """``body`` of the lists whose numbers are finite, in place of the others a list of nothing, and NaN for these."""
    broken = ~(lists.scores.isfinite() & lists.relevance.isfinite() & lists.counts.isfinite()).all(-1)
    value, counts = body(lists.mapped(lambda t: t.masked_fill(broken.unsqueeze(-1), 0)))
    # NaN in the gradient of every item of these lists, and of no other
    shown = torch.where(broken.unsqueeze(-1), lists.scores, 0).sum(-1) * torch.nan
    return Found(torch.where(broken, shown, value), torch.where(broken, 1, counts))


def groups(flat: Lists, offsets: Tensor, query_weight: Tensor | None = None) -> Iterator[tuple[list[int], Lists]]:
    """The lists between offsets as rows: those whose lengths are between one power of two and the next, and which they are."""
    check_offsets(offsets, len(flat.scores))
    begins, lengths = offsets[:-1].long(), offsets.long().diff()
    sizes, alike = lengths.tolist(), dict[int, list[int]]()
    for place, size in enumerate(sizes):
        alike.setdefault((size - 1).bit_length() if size else -1, []).append(place)
    for chosen in alike.values():
        lists = torch.tensor(chosen, device=offsets.device)
        column = torch.arange(max(sizes[place] for place in chosen), device=offsets.device)
        there = column < lengths[lists, None]
        if query_weight is not None:
            there &= (query_weight[lists] != 0).unsqueeze(-1)
        rows = flat.mapped(operator.itemgetter(torch.where(there, begins[lists, None] + column, 0)))
        yield chosen, rows._replace(valid=rows.valid & there)


def _ragged(body: Callable[[Lists], Found], flat: Lists, offsets: Tensor, query_weight: Tensor | None) -> Found:
    """``body`` of the lists between offsets, in their order."""
    found, places = list[Found](), list[int]()
    for chosen, rows in groups(flat, offsets, query_weight):
        found.append(_found(body, rows))
        places += chosen
    if not found:  # no list at all
        return _found(body, flat.mapped(lambda t: t.unsqueeze(0)[:0]))
    back = torch.tensor(places, device=offsets.device).argsort()
    return Found(*(torch.cat(column)[back] for column in zip(*found, strict=True)))


def no_zero(value: Tensor) -> Tensor:
    """1 where it is 0: what one divides by where the numerator is 0 too."""
    return torch.where(value == 0, 1, value)


def count_of_places(name: str, value: int) -> None:
    """Raise unless ``value`` is a whole number >= 1."""
    whole_number(name, value)
    at_least(name, value, 1)


def check_offsets(offsets: Tensor, items: int) -> None:
    """Raise unless the offsets go from 0 to the number of items and never fall."""
    first, last = int(offsets[0]), int(offsets[-1])
    if (first, last) != (0, items):
        hint = ": offsets_from_lengths makes offsets of lengths" if int(offsets.sum()) == items else ""
        raise ValueError(f'"offsets" goes from {first} to {last}, expected from 0 to {items}, the number of items{hint}')
    if bool((offsets.diff() < 0).any()):
        at = int((offsets.diff() < 0).nonzero()[0])
        raise ValueError(f'"offsets" falls from {int(offsets[at])} to {int(offsets[at + 1])} at index {at + 1}, expected to rise')
