"""The arguments of a ranking metric: the items that count, list by list, and how one value a list becomes one number."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from ...core.call import verify
from ...core.check import choice
from ...core.domain import Domain
from ...core.list_domain import Relevance, Scores
from ...losses.lists import GRADES, LISTS, check_offsets, count_of_places

__all__ = [
    "GRADES",
    "REAL",
    "YES_OR_NO",
    "Cuts",
    "Empty",
    "Flat",
    "K",
    "Reduction",
    "Values",
    "check",
    "cuts",
    "lists_of",
    "settle",
    "shown",
    "sums",
]

K = int | Sequence[int] | None
Empty = Literal["skip", "zero", "one", "nan"]
Reduction = Literal["mean", "none"]

REAL = Relevance()
YES_OR_NO = Relevance(low=0, high=1, whole=True, meaning="0 or 1 (or bool), one for each score")
_SCORES = Scores(kind="number")
_OF_EMPTY = {"skip": torch.nan, "nan": torch.nan, "zero": 0.0, "one": 1.0}


class Flat(NamedTuple):
    """Items of B lists that count, T in all, list by list."""

    scores: Tensor
    """(T,)"""
    relevance: Tensor
    """(T,) of any real dtype"""
    length: Tensor
    """(B,) int64: how many items each list has"""
    weight: Tensor | None
    """(B,) float64: what each list counts for in the mean"""
    shape: torch.Size
    """The axes of one value a list."""

    @property
    def of_item(self) -> Tensor:
        """(T,): the list of each item, in as few bytes as hold it, since that is how often a sort goes over it."""
        count = len(self.length)
        dtype = torch.uint8 if count < 2**8 else torch.int16 if count < 2**15 else torch.int32 if count < 2**31 else torch.int64
        here = torch.arange(count, device=self.length.device, dtype=dtype)
        return here.repeat_interleave(self.length, output_size=len(self.scores))

    @property
    def nan(self) -> Tensor:
        """(B,): whether a score or a relevance is NaN."""
        found = torch.zeros_like(self.length, dtype=torch.bool)
        if not (_has_nan(self.scores) or _has_nan(self.relevance)):
            return found
        wrong = (self.scores != self.scores) | (self.relevance != self.relevance)
        return found.index_fill(0, self.of_item[wrong].long(), True)


class Cuts(NamedTuple):
    """The first places that a figure looks at, None for all of them; ``several`` where the user gave a sequence."""

    k: tuple[int | None, ...]
    several: bool


class Values(NamedTuple):
    """What a figure says of each list."""

    value: Tensor
    """(B, K) float64; anything where ``has`` is False"""
    has: Tensor
    """(B,): whether the list has what the figure is about"""


def cuts(k: K) -> Cuts:
    """Raise unless ``k`` is a place, several of them, or None."""
    if k is None:
        return Cuts((None,), False)
    several = isinstance(k, Sequence) and not isinstance(k, str)
    found = tuple(k) if isinstance(k, Sequence) else (k,)
    for each in found:
        count_of_places("k", each)
    if not found:
        raise ValueError('"k" is empty, expected at least one number of places, or None for all')
    return Cuts(found, several)


def real(value: Tensor) -> Tensor:
    """In float64, where the device has it; integers and bool too."""
    return value.float() if value.device.type == "mps" else value.double()


def lists_of(
    scores: Tensor,
    relevance: Tensor,
    mask: Tensor | None,
    query_weight: Tensor | None,
    offsets: Tensor | None,
    *,
    domain: Domain = REAL,
    name: str = "relevance",
) -> Flat:
    """The arguments of one call, checked, without what is masked.

    Raises:     ShapeError, TypeError; ValueError for a relevance outside of its domain, or offsets that are none.
    """
    relevance = _in_numbers(relevance)
    domains = {"scores": _SCORES, name: domain, **{each: LISTS[each] for each in ("mask", "offsets", "query_weight")}}
    verify(domains, {"scores": scores, name: relevance, "mask": mask, "offsets": offsets, "query_weight": query_weight}, None, -1)
    if offsets is None:
        shape = scores.shape[:-1]
        length = torch.full((shape.numel(),), scores.shape[-1], device=scores.device)
    else:
        check_offsets(offsets, len(scores))
        length, shape = offsets.long().diff(), offsets[1:].shape
    flat, of_it = scores.detach().reshape(-1), relevance.detach().reshape(-1)
    if mask is not None:
        keep = mask.reshape(-1)
        flat, of_it, length = flat[keep], of_it[keep], _kept(keep, length)
    return Flat(flat, of_it, length, None if query_weight is None else real(query_weight.detach()).reshape(-1), shape)


def _has_nan(value: Tensor) -> bool:
    """A maximum passes NaN on, and is found in an eighth of the time that a comparison of all takes."""
    return bool(value.numel()) and value.is_floating_point() and bool(value.max().isnan())


def _in_numbers(value: Any) -> Any:
    """bool as 0 and 1; what is no tensor is refused later."""
    return value.to(torch.uint8) if isinstance(value, Tensor) and value.dtype == torch.bool else value


def _kept(keep: Tensor, length: Tensor) -> Tensor:
    before = torch.cat([length.new_zeros(1), keep.cumsum(0)])
    ends = length.cumsum(0)
    return before[ends] - before[ends - length]


def settle(lists: Flat, found: Values, at: Cuts, empty: Empty, reduction: Reduction) -> Tensor:
    """One value a list (*) or (*, K), or their mean () or (K,) over the lists that count; NaN is shown."""
    found = shown(lists, found, empty)
    if reduction == "none":
        return found.value.reshape(*lists.shape, len(at.k)) if at.several else found.value.reshape(lists.shape)
    total, weight = sums(lists, found, empty)
    mean = total / weight
    return mean if at.several else mean.squeeze(0)


def shown(lists: Flat, found: Values, empty: Empty) -> Values:
    """The values that a user sees: of lists that have nothing, as told, and NaN of those with a NaN."""
    nan = lists.nan
    value = torch.where(found.has.unsqueeze(1), found.value, _OF_EMPTY[empty])
    return Values(torch.where(nan.unsqueeze(1), torch.nan, value), found.has | nan)


def sums(lists: Flat, found: Values, empty: Empty) -> tuple[Tensor, Tensor]:
    """What lists add to a mean: sum(weight * value) (K,), sum(weight) ()."""
    counts = real(found.has if empty == "skip" else torch.ones_like(found.has))
    weight = counts if lists.weight is None else counts * lists.weight
    return torch.where(weight.unsqueeze(1) > 0, weight.unsqueeze(1) * found.value, 0).sum(0), weight.sum()


def check(empty: object, reduction: object) -> None:
    """Raise for an option that is none."""
    choice("empty", empty, tuple(_OF_EMPTY))
    choice("reduction", reduction, ("mean", "none"))
