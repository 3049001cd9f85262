"""Which pairs of rows and columns count: said by integer ids, looked up tile by tile, never kept as a mask."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["NOBODY", "Uncounted", "Who", "counted"]

NOBODY = -(2**63)  # the id of a row or column that is not there
_FEW = 64  # of how many pairs one may be hidden by a list; a comparison of all is cheaper beyond

_SMALL = 1 << 16  # as many pairs are compared sooner than listed


class Who(NamedTuple):
    """(i, j) counts if the ids are equal (``same``) or differ (not ``same``), the slots differ, and neither is NOBODY."""

    row_id: Tensor
    """(N,) int64"""
    col_id: Tensor
    """(M,) int64"""
    row_slot: Tensor
    """(N,) int64: an item is never a pair with itself"""
    col_slot: Tensor
    """(M,) int64"""
    same: bool


def counted(who: Who, rows: slice = slice(None), cols: slice = slice(None)) -> Tensor:
    """Where the pairs of a tile count, bool (rows, cols)."""
    a, b = who.row_id[rows, None], who.col_id[None, cols]
    found = (a == b) if who.same else (a != b)
    if who.row_slot is not who.row_id or who.col_slot is not who.col_id:
        found = found & (who.row_slot[rows, None] != who.col_slot[None, cols])
    return found & (a != NOBODY) & (b != NOBODY)


class Uncounted:
    """Hides the pairs of a tile that do not count: from a list where they are few, by comparing all ids where not."""

    def __init__(self, who: Who) -> None:
        self.who = who
        self.pairs: list[tuple[Tensor, Tensor]] | None = None
        self.nobody = (who.row_id[:0], who.col_id[:0])
        self.last: tuple[tuple[int, int, int, int], Tensor] | None = None
        # a list has a length, which only the CPU knows without waiting
        pairs = len(who.row_id) * len(who.col_id)
        if who.same or who.row_id.device.type != "cpu" or pairs <= _SMALL:
            return
        limit = pairs // _FEW
        found = [_equal(who.row_id, who.col_id, limit)]
        if who.row_slot is not who.row_id or who.col_slot is not who.col_id:
            found.append(_equal(who.row_slot, who.col_slot, limit))
        if all(pair is not None for pair in found):
            self.pairs = [pair for pair in found if pair is not None]
            self.nobody = (_places(who.row_id), _places(who.col_id))

    def hide(self, tile: Tensor, rows: slice, cols: slice, fill: float = -torch.inf) -> Tensor:
        """``tile`` with ``fill`` in place of the pairs that do not count, in place."""
        if self.pairs is None:
            return tile.masked_fill_(self._mask(rows, cols), fill)
        for row, col in self.pairs:
            first, last = torch.searchsorted(row, torch.tensor([rows.start, rows.stop])).tolist()
            i, j = row[first:last] - rows.start, col[first:last] - cols.start
            here = (j >= 0) & (j < tile.shape[1])
            tile[i[here], j[here]] = fill
        gone_row, gone_col = (_within(places, part) for places, part in zip(self.nobody, (rows, cols), strict=True))
        if len(gone_row):
            tile[gone_row] = fill
        if len(gone_col):
            tile[:, gone_col] = fill
        return tile

    def _mask(self, rows: slice, cols: slice) -> Tensor:
        """Where the pairs of a tile do not count; the last one is kept, since a tile is asked for several times."""
        place = rows.start, rows.stop, cols.start, cols.stop
        if self.last is None or self.last[0] != place:
            self.last = place, ~counted(self.who, rows, cols)
        return self.last[1]


def _places(ids: Tensor) -> Tensor:
    return (ids == NOBODY).nonzero()[:, 0]


def _within(places: Tensor, part: slice) -> Tensor:
    return places[(places >= part.start) & (places < part.stop)] - part.start if len(places) else places


def _equal(row: Tensor, col: Tensor, limit: int) -> tuple[Tensor, Tensor] | None:
    """All (i, j) with row[i] == col[j], by i; None if they are more than ``limit``, ids of NOBODY apart."""
    ordered, order = col.sort(stable=True)
    first, last = torch.searchsorted(ordered, row), torch.searchsorted(ordered, row, right=True)
    count = torch.where(row == NOBODY, 0, last - first)
    total = int(count.sum())
    if total > max(limit, len(row)):
        return None
    i = torch.repeat_interleave(count)
    begin = count.cumsum(0) - count
    return i, order[first[i] + torch.arange(total) - begin[i]]
