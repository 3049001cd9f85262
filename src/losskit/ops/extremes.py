"""Anchors against all rows of a batch, tile by tile, and who is farthest and nearest of the same thing and of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from .autograd import apply, define
from .blocks import slabs
from .distances import Distance, Near, Space

__all__ = ["Batch", "Extreme", "Tile", "Tiles", "extremes"]

Extreme = Literal["farthest_same", "nearest_same", "nearest_other"]
_NUMBERS = 1 << 16  # distances of a tile: with what is made of them some 4 MiB in float64, which a core's cache about holds
_MANY = 1 << 22  # the same where launches cost more than memory
_ROWS = 32  # of a tile at least: a product of fewer reads the batch more often than it multiplies


class Batch(NamedTuple):
    """Rows that know each other. Anchors are so many of them from ``start`` on: those of this rank."""

    rows: Tensor
    """(N, D), of unit length for cosine distance"""
    ids: Tensor
    """(N,) integers, equal for rows of the same thing"""
    valid: Tensor
    """(N,) bool: the others are neither anchor, positive nor negative"""
    start: int
    anchors: int


class Tile(NamedTuple):
    """Some anchors against all columns."""

    at: Tensor
    """(T,) the anchors' places among the columns"""
    distances: Tensor
    """(T, N)"""
    near: Near | None
    slots: Tensor
    """(T, W) columns among which are all of the anchor's own thing"""
    same: Tensor
    """(T, W) bool: whether the column of a slot is that, and not the anchor itself"""
    other: Tensor
    """(T, N) bool: the columns of another thing"""


class Tiles:
    """The tiles of a batch. Columns are its rows sorted by id, so that rows of the same thing lie side by side.

    On CPU rows that are not valid are no columns, and with ``both`` anchors are left out that have nobody of the same
    or nobody of another thing. Elsewhere that would be a wait: there they are in tiles, with nothing of their own.
    """

    def __init__(self, batch: Batch, distance: Distance, *, both: bool = False) -> None:
        ids, self.order = batch.ids.sort(stable=True)
        valid = batch.valid[self.order]
        self.looks = batch.rows.device.type == "cpu"
        if self.looks:
            ids, self.order, valid = ids[valid], self.order[valid], valid[valid]
        self.batch, self.valid = batch, valid
        self.space = Space(batch.rows[self.order], distance)
        self.first, self.last = torch.searchsorted(ids, ids), torch.searchsorted(ids, ids, right=True)
        anchors = (self.order >= batch.start) & (self.order < batch.start + batch.anchors)
        if self.looks:
            size = self.last - self.first
            if both:
                anchors &= (size > 1) & (size < len(ids))
            self.anchors = anchors.nonzero().squeeze(1)
        else:
            self.anchors = anchors.int().argsort(descending=True, stable=True)[: batch.anchors]

    def __iter__(self) -> Iterator[Tile]:
        columns = len(self.order)
        for part in slabs(len(self.anchors), max(_ROWS, (_NUMBERS if self.looks else _MANY) // max(columns, 1))):
            at = self.anchors[part]
            first, last = self.first[at].unsqueeze(1), self.last[at].unsqueeze(1)
            width = int((last - first).max()) if self.looks else columns
            place = torch.arange(columns, device=at.device)
            slots = first + place[:width]
            same = (slots < last) & (slots != at.unsqueeze(1))
            other = (place < first) | (place >= last)
            slots = slots.clamp(max=columns - 1)
            if not self.looks:
                here = self.valid[at].unsqueeze(1)
                same, other = same & self.valid[slots] & here, other & self.valid & here
            yield Tile(at, *self.space.distances(at), slots, same, other)

    def anchor(self, at: Tensor) -> Tensor:
        """Which anchor of the batch a place among the columns is."""
        return self.order[at] - self.batch.start

    def gradient(self) -> Tensor:
        """The gradient of the batch's rows, when all tiles are pulled."""
        return torch.zeros_like(self.batch.rows).index_copy_(0, self.order, self.space.close())


def extremes(batch: Batch, distance: Distance, *wanted: Extreme) -> list[Tensor]:
    """For each kind that is wanted, which row it is for every anchor, (anchors,) int64; -1 where there is none.

    Of equal distances any one. Memory is that of a tile; differentiable is the distance of what is found, not this.
    """
    given = (*batch, distance, ",".join(wanted))
    # torch.func takes no bare op of a tensor that it differentiates by, Dynamo no Function without a gradient
    found = _OP(batch.rows.detach(), *given[1:]) if torch.compiler.is_compiling() else apply(_Extremes, *given)
    return list(found[: len(wanted)])


class _Extremes(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _OP(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(*output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        return (None,) * 7


def _extremes(
    rows: Tensor, ids: Tensor, valid: Tensor, start: int, anchors: int, distance: Distance, wanted: str
) -> tuple[Tensor, ...]:
    kinds: list[Any] = wanted.split(",")
    found = [ids.new_full((anchors if i < len(kinds) else 0,), -1, dtype=torch.int64) for i in range(3)]
    tiles = Tiles(Batch(rows, ids, valid, start, anchors), distance)
    for tile in tiles:
        anchor = tiles.anchor(tile.at)
        for kind, out in zip(kinds, found, strict=False):
            column, exists = _extreme(tile, kind)
            out[anchor] = torch.where(exists, tiles.order[column], -1)
    return tuple(found)


def _extreme(tile: Tile, kind: Extreme) -> tuple[Tensor, Tensor]:
    """The column of the extreme of every anchor of a tile, and whether there is one."""
    if kind == "nearest_other":
        return torch.where(tile.other, tile.distances, torch.inf).argmin(1), tile.other.any(1)
    distances = tile.distances.gather(1, tile.slots)
    distances = -distances if kind == "farthest_same" else distances
    slot = torch.where(tile.same, distances, torch.inf).argmin(1)
    return tile.slots.gather(1, slot.unsqueeze(1)).squeeze(1), tile.same.any(1)


def _fake(rows: Tensor, ids: Tensor, valid: Tensor, start: int, anchors: int, distance: str, wanted: str) -> tuple[Tensor, ...]:
    kinds = len(wanted.split(","))
    return tuple(ids.new_empty((anchors if i < kinds else 0,), dtype=torch.int64) for i in range(3))


_OP = define(
    "extremes",
    "(Tensor rows, Tensor ids, Tensor valid, int start, int anchors, str distance, str wanted) -> (Tensor, Tensor, Tensor)",
    _extremes,
    _fake,
)
