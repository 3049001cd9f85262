"""Sums over the pairs of a list by tiles that are not kept: O(n) memory, gradient and value in one look."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.check import wide
from .blocks import slabs
from .lambda_pairs import Lambda
from .list_ranks import begins, order, places, runs
from .list_tile_forms import EXPONENTIALS, Form, Room, Tile, counts_for, reach, row_sums

__all__ = ["Call", "Sorted", "Sums", "sorted_items", "swept"]

_PAIRS = 1 << 18  # of a tile: three to seven sheets of 1 MiB in float32; smaller ones cost more calls than they save
_WIDTH = 4096
_DIFFERENCES = ("gain", "ordered", "swapped")  # of these only differences count


class Call(NamedTuple):
    """What is summed, and over which pairs; tensors are (B, L)."""

    scores: Tensor
    relevance: Tensor
    valid: Tensor
    weight: Tensor | None
    form: Form
    margin: float = 0.0
    lam: Lambda | None = None
    topk: int | None = None
    half: bool = False


class Sums(NamedTuple):
    """The sum of each list (B,) in float64, and its gradient (B, L) in the dtype of the scores."""

    value: Tensor
    gradient: Tensor


class Sorted(NamedTuple):
    """Numbers of the items of one role, in falling order of relevance."""

    values: dict[str, int]
    """Which number is where in ``packed``"""
    packed: Tensor
    """(V, B, K)"""
    place: Tensor
    """(B, K): where in the list each stands"""
    depth: Tensor
    """(B, K): how many levels of relevance lie above; inf where there is no item"""
    after: Tensor | None
    """(B, K): the first place of a lower level; None where only some items were chosen"""
    number: Tensor
    """(B,): how many items there are"""

    def cut(self, lists: slice, some: slice, axis: int) -> dict[str, Tensor]:
        """Some items of some lists, to be set along rows (axis -1) or columns (axis -2)."""
        numbers = self.packed[:, lists, some].unsqueeze(axis).unbind(0)
        return dict(zip(self.values, numbers, strict=True))


class _Totals(NamedTuple):
    """What is added to, (B,) and (B, L) in float64."""

    value: Tensor
    gradient: Tensor


def swept(call: Call) -> Sums:
    """The sums of a call and their gradients, tile by tile.

    On a CPU tiles without a pair are left out; elsewhere nothing asks the device where they are.
    """
    batch, size = call.scores.shape
    total = wide(call.scores)
    totals = _Totals(total.new_zeros(batch), total.new_zeros(batch, size))
    if batch and size:
        items, spread = sorted_items(call)
        room = Room(call.scores, min(_PAIRS, batch * size * size))
        for rows, cols in _sides(call, items):
            _sweep(call, rows, cols, room, spread, totals, tied=False)
            if call.half:
                _sweep(call, rows, cols, room, spread, totals, tied=True)
    return Sums(totals.value, totals.gradient.to(call.scores.dtype))


def sorted_items(call: Call) -> tuple[Sorted, float]:
    """All items in falling order of relevance, and the bound of |s_i - s_j| that allows products of exponentials."""
    scores, relevance, valid = call.scores, call.relevance, call.valid
    # no item, and one whose relevance is NaN: in no pair, at the end
    place = order(torch.where(valid, relevance, math.nan), descending=True)
    y = relevance.gather(-1, place)
    there = valid.gather(-1, place) & (y == y)
    starts = begins(y)
    s, dtype = scores.gather(-1, place), scores.dtype
    depth, after = torch.where(there, starts.cumsum(-1), math.inf), torch.where(there, runs(starts)[1], y.shape[-1])
    moved = wide(s) - _centred(wide(y), there) if call.form == "mse" else wide(s)
    shifted = _centred(moved, there)
    spread = 2 * float(shifted.abs().amax()) if scores.device.type == "cpu" else math.inf
    spread = spread if call.form in EXPONENTIALS and spread <= reach(dtype) else math.inf
    # compared with NaN nothing is a pair
    numbers = {"depth": torch.where(there, depth, math.nan), "raw": s, "score": _near_zero(moved, there)}
    if math.isfinite(spread):
        falling = (-shifted).exp()
        numbers |= {"falling": torch.where(there, falling, 0), "rising": torch.where(there, falling.reciprocal(), 0)}
    if call.half:
        numbers["item"] = torch.arange(s.shape[-1], device=s.device).expand_as(s)
    if call.weight is not None:
        numbers["weight"] = call.weight.gather(-1, place)
    if call.lam is not None:
        vectors = {name: v.gather(-1, place) for name, v in _lambda_vectors(call.lam, scores, valid).items()}
        numbers |= {name: _near_zero(v, there) if name in _DIFFERENCES else v for name, v in vectors.items()}
    packed = torch.stack([t.to(dtype) for t in numbers.values()])
    return Sorted({name: k for k, name in enumerate(numbers)}, packed, place, depth, after, there.sum(-1)), spread


def _centred(values: Tensor, there: Tensor) -> Tensor:
    """Less the middle of the list, so that no exponential is larger than it must be; an outlier moves all others far away."""
    high = torch.where(there, values, -math.inf).amax(-1, keepdim=True)
    low = torch.where(there, values, math.inf).amin(-1, keepdim=True)
    return torch.where(there, values - (high + low) / 2, 0)


def _near_zero(values: Tensor, there: Tensor) -> Tensor:
    """Less what all of a list have in common: no number becomes larger, so small ones beside large ones keep their digits."""
    high = torch.where(there, values, -math.inf).amax(-1, keepdim=True)
    low = torch.where(there, values, math.inf).amin(-1, keepdim=True)
    common = (low.clamp(min=0) + high.clamp(max=0)).nan_to_num(0.0, 0.0, 0.0)
    return torch.where(there, values - common, 0)


def _lambda_vectors(lam: Lambda, scores: Tensor, valid: Tensor) -> dict[str, Tensor]:
    """The vectors that say something, as far as looking costs nothing: those of ties only where two scores are equal."""
    found = {name: t for name, t in lam._asdict().items() if isinstance(t, Tensor)}
    if scores.device.type != "cpu":
        return found
    if "swapped" in found and torch.equal(found["swapped"], found["ordered"]):
        del found["swapped"]
    if ("tied" in found or "apart" in found) and int(places(scores, valid).tied.amax()) == 1:
        return {name: t for name, t in found.items() if name not in ("tied", "apart")}
    return found


def _sides(call: Call, items: Sorted) -> Iterator[tuple[Sorted, Sorted]]:
    """Rows and columns whose pairs, taken together, are those that count."""
    cpu = call.scores.device.type == "cpu"
    if call.topk is None or (cpu and int(items.number.amax()) <= call.topk):
        yield items, items
        return
    at = places(call.scores, call.valid)
    inside = ((at.above < call.topk) & call.valid).gather(-1, items.place) & items.depth.isfinite()
    top = _chosen(items, inside)
    yield top, items
    yield _chosen(items, ~inside & items.depth.isfinite()), top


def _chosen(items: Sorted, chosen: Tensor) -> Sorted:
    """Only the chosen items, in the same order."""
    count = chosen.sum(-1)
    most = int(count.amax()) if chosen.device.type == "cpu" else chosen.shape[-1]
    at = order(~chosen)[:, :most]
    there = chosen.gather(-1, at)
    depth = torch.where(there, items.depth.gather(-1, at), math.inf)
    packed = items.packed.gather(-1, at.expand(len(items.packed), *at.shape))
    for name, absent in (("depth", math.nan), ("falling", 0.0), ("rising", 0.0)):
        if name in items.values:
            packed[items.values[name]].masked_fill_(~there, absent)
    return Sorted(items.values, packed, items.place.gather(-1, at), depth, None, count)


class _Bounds(NamedTuple):
    """Where the pairs of each row lie among the columns, over all lists."""

    first: Sequence[int]
    """No list has a pair further left."""
    whole: Sequence[int]
    """From here on there is a pair in every list."""
    stop: Sequence[int]
    """No list has a pair from here on."""


def _bounds(rows: Sorted, cols: Sorted, tied: bool) -> _Bounds:
    height, width = rows.depth.shape[1], cols.depth.shape[1]
    if rows.depth.device.type != "cpu":
        return _Bounds([0] * height, [width] * height, [width] * height)
    depth, among = rows.depth.contiguous(), cols.depth.contiguous()
    after = rows.after if rows is cols and rows.after is not None else torch.searchsorted(among, depth, right=True)
    last = int(cols.number.amax())
    if tied:
        first: list[int] = torch.searchsorted(among, depth).amin(0).tolist()
        return _Bounds(first, [width] * height, after.clamp(max=last).amax(0).tolist())
    first = after.amin(0).tolist()
    even = int(cols.number.amin()) == last
    return _Bounds(first, after.amax(0).tolist() if even else [width] * height, [last] * height)


def _sweep(call: Call, rows: Sorted, cols: Sorted, room: Room, spread: float, totals: _Totals, *, tied: bool) -> None:
    """Add the pairs of these rows and columns to the totals."""
    batch, height = rows.depth.shape
    width = cols.depth.shape[1]
    if not height or not width:
        return
    bounds = _bounds(rows, cols, tied)
    by_row, by_col = totals.gradient.new_zeros(batch, height), totals.gradient.new_zeros(batch, width)
    across = min(width, _WIDTH)
    down = min(height, max(_PAIRS // across, 1), _strip(batch, height, across))
    for lists in slabs(batch, max(_PAIRS // (across * down), 1)):
        for some in slabs(height, down):
            i = rows.cut(lists, some, -1)
            for left, right, masked in _runs(bounds, some, across):
                span = slice(left, right)
                tile = Tile(i, cols.cut(lists, span, -2), room, masked, tied)
                _add(call, tile, spread, totals.value[lists], by_row[lists, some], by_col[lists, span])
    totals.gradient.scatter_add_(1, rows.place, by_row).scatter_add_(1, cols.place, by_col)


def _strip(batch: int, height: int, across: int) -> int:
    """Rows of a tile of short lists: a quarter of them leaves out most of what is no pair, if that is much."""
    return height if batch * height * across <= _PAIRS else max(8, -(-height // 4))


def _runs(bounds: _Bounds, some: slice, across: int) -> Iterator[tuple[int, int, int]]:
    """Columns of some rows, as many as a tile holds: from, to, and how many from the left are to be looked at one by one."""
    first, whole, stop = bounds.first[some.start], bounds.whole[some.stop - 1], bounds.stop[some.stop - 1]
    for left in range(first, stop, across):
        right = min(left + across, stop)
        yield left, right, min(max(whole - left, 0), right - left)


def _add(call: Call, tile: Tile, spread: float, value: Tensor, by_row: Tensor, by_col: Tensor) -> None:
    weights = counts_for(tile, call.lam.mu if call.lam is not None else 0.0)
    found = row_sums(call.form, call.margin, tile, weights, spread)
    losses, pulls, slope = found
    if "weight" in tile.i and not tile.tied:
        weight = wide(tile.i["weight"].squeeze(-1))
        losses, pulls = losses * weight, pulls * weight
        slope.mul_(tile.i["weight"])
    share = 0.5 if tile.tied else 1.0  # a tie is looked at from both sides
    value.add_(losses.sum(-1, dtype=value.dtype), alpha=share)
    by_row.sub_(pulls, alpha=share)
    by_col.add_(slope.sum(-2), alpha=share)
