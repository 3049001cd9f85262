"""Tiles of the scores of all pairs: each made by one product, used where it lies in the cache, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import slabs
from .pair_sets import Who

__all__ = ["Call", "Gate", "Order", "Products", "Tile", "by_id", "tiles"]


class Gate(NamedTuple):
    """A pair is left out of its row's (column's) statistic if ``x[i] @ y[j]`` is above the row's (column's) limit."""

    x: Tensor
    """(N, E)"""
    y: Tensor
    """(M, E)"""
    row_limit: Tensor
    """(N,)"""
    col_limit: Tensor
    """(M,)"""


class Call(NamedTuple):
    """One sweep over all pairs."""

    x: Tensor
    """(N, D)"""
    y: Tensor
    """(M, D)"""
    who: Who
    memory: int
    bend: str = ""
    params: Sequence[float] = ()
    gate: Gate | None = None
    narrow: str = ""
    """A half-precision dtype for the operands of products, where a device adds them in float32; "" for their own."""


class Tile(NamedTuple):
    """Scores of some rows and columns; a second sheet of the same shape to work on."""

    rows: slice
    cols: slice
    scores: Tensor
    sheet: Tensor


def tiles(call: Call) -> Iterator[Tile]:
    """All tiles that may hold a pair that counts, row by row."""
    x, y = call.x, call.y
    side = max(16, int((call.memory / (2 * x.element_size())) ** 0.5))
    tall = max(1, min(len(x), max(side, side * side // max(len(y), 1))))
    wide = max(1, min(len(y), side * side // tall))
    buffers = x.new_empty(2, tall * wide)
    for rows in slabs(len(x), tall):
        for cols in slabs(len(y), wide):
            if call.who.same and not _overlap(call.who.row_id[rows], call.who.col_id[cols]):
                continue
            shape = (rows.stop - rows.start, cols.stop - cols.start)
            scores, sheet = (b[: shape[0] * shape[1]].view(shape) for b in buffers)
            torch.mm(x[rows], y[cols].T, out=scores)
            yield Tile(rows, cols, scores, sheet)


def _overlap(a: Tensor, b: Tensor) -> bool:
    """Whether two runs of ordered ids can hold an equal one; asked on CPU only."""
    return a.device.type != "cpu" or bool((a[0] <= b[-1]) & (b[0] <= a[-1]))


class Order(NamedTuple):
    """Rows and columns in the order of their ids, so that the pairs of equal id lie together."""

    rows: Tensor
    cols: Tensor

    def undone(self, values: Tensor, cols: bool = False) -> Tensor:
        """Values of ordered rows (columns) in their first order; what is empty stays so."""
        order = self.cols if cols else self.rows
        return torch.empty_like(values).index_copy_(0, order, values) if len(values) else values


def by_id(call: Call) -> tuple[Call, Order]:
    """The call with rows and columns in the order of their ids."""
    who = call.who
    order = Order(who.row_id.argsort(stable=True), who.col_id.argsort(stable=True))
    ids = Who(who.row_id[order.rows], who.col_id[order.cols], who.row_slot[order.rows], who.col_slot[order.cols], who.same)
    gate = call.gate
    if gate is not None:
        gate = Gate(gate.x[order.rows], gate.y[order.cols], gate.row_limit[order.rows], gate.col_limit[order.cols])
    return call._replace(x=call.x[order.rows], y=call.y[order.cols], who=ids, gate=gate), order


class Products:
    """Gathers the gradients of x and y from the gradients of tiles."""

    def __init__(self, call: Call, needs: Sequence[bool]) -> None:
        self.x, self.y, self.needs = call.x, call.y, needs
        self.dx, self.dy = (
            torch.zeros_like(t) if need else t.new_empty(0) for t, need in zip((call.x, call.y), needs, strict=False)
        )

    def add(self, tile: Tile, by: Tensor) -> None:
        """``by`` (rows, cols) is the gradient of the tile's scores."""
        if self.needs[0]:
            self.dx[tile.rows].addmm_(by, self.y[tile.cols])
        if self.needs[1]:
            self.dy[tile.cols].addmm_(by.T, self.x[tile.rows])
