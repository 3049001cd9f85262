"""Sums over the pairs of every row of a curve of their score, from tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .pair_forms import FORMS
from .pair_sets import Uncounted
from .pair_tiles import Call, Order, Products, Tile, by_id, tiles

__all__ = ["Sums", "gradient_of_sum", "row_sums"]


class Sums(NamedTuple):
    """Sums over pairs of a form, and numbers of rows (N,) and columns (M,) that it knows; empty where it knows none."""

    form: str
    t: Tensor
    c: Tensor

    def ordered(self, order: Order) -> Sums:
        """The same for rows and columns in another order."""
        t, c = (values[at] if len(values) else values for values, at in ((self.t, order.rows), (self.c, order.cols)))
        return self._replace(t=t, c=c)


def row_sums(call: Call, sums: Sums) -> Tensor:
    """The sum of a form over the pairs of every row that count, (N,) in float64."""
    if call.who.same:
        call, order = by_id(call)
        return order.undone(_rows(call, sums.ordered(order)))
    return _rows(call, sums)


def gradient_of_sum(call: Call, sums: Sums, by_rows: Tensor, needs: Sequence[bool]) -> tuple[Tensor, ...]:
    """The sums again, and the gradients of x, y, t and c (empty where not needed or not there): one sweep for all."""
    if call.who.same:
        call, order = by_id(call)
        rows, dx, dy, dt, dc = _gradient(call, sums.ordered(order), by_rows[order.rows], needs)
        return tuple(order.undone(v, cols) for v, cols in ((rows, False), (dx, False), (dy, True), (dt, False), (dc, True)))
    return _gradient(call, sums, by_rows, needs)


def _numbers(sums: Sums, tile: Tile) -> tuple[Tensor, Tensor]:
    return sums.t[tile.rows, None] if len(sums.t) else sums.t, sums.c[None, tile.cols] if len(sums.c) else sums.c


def _rows(call: Call, sums: Sums) -> Tensor:
    hidden, value = Uncounted(call.who), FORMS[sums.form].value
    rows = call.x.new_zeros(len(call.x), dtype=torch.float64)
    for tile in tiles(call):
        each = value(tile.scores, *_numbers(sums, tile), call.params)
        rows[tile.rows] += hidden.hide(each, tile.rows, tile.cols, 0.0).sum(1, dtype=torch.float64)
    return rows


def _gradient(call: Call, sums: Sums, by_rows: Tensor, needs: Sequence[bool]) -> tuple[Tensor, ...]:
    hidden, products, form = Uncounted(call.who), Products(call, needs), FORMS[sums.form]
    rows = call.x.new_zeros(len(call.x), dtype=torch.float64)
    dt, dc = (v.new_zeros(len(v) if need else 0) for v, need in ((sums.t, needs[2]), (sums.c, needs[3])))
    by = by_rows.to(call.x.dtype)
    for tile in tiles(call):
        numbers = _numbers(sums, tile)
        each = hidden.hide(form.value(tile.scores, *numbers, call.params), tile.rows, tile.cols, 0.0)
        rows[tile.rows] += each.sum(1, dtype=torch.float64)
        found = form.slopes(tile.scores, *numbers, call.params)
        ds, by_t, by_c = (None if f is None else hidden.hide(f * by[tile.rows, None], tile.rows, tile.cols, 0.0) for f in found)
        if by_t is not None and len(dt):
            dt[tile.rows] += by_t.sum(1)
        if by_c is not None and len(dc):
            dc[tile.cols] += by_c.sum(0)
        if ds is not None:
            products.add(tile, ds)
    return rows, products.dx, products.dy, dt, dc
