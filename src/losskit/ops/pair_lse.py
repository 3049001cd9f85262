"""Log-sum-exp over the pairs of every row and every column, from tiles: one exponential a pair serves both."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .pair_forms import BENDS
from .pair_sets import Uncounted
from .pair_tiles import Call, Products, Tile, by_id, tiles

__all__ = ["PLAIN", "gradient_of_lse", "lse"]

PLAIN = 70.0  # scores up to here have an exponential in float32, and so has their sum
_SHIFTED = 130.0  # up to here one shift for all scores will do, unless a row has none near the largest
_LOST = 1e-22  # a sum below this, of shifted exponentials, may lack some that are below float32


def lse(call: Call, columns: bool) -> tuple[Tensor, Tensor]:
    """log-sum-exp of the pairs that count, of every row (N,) and, if asked for, every column (M,); float64, -inf of none."""
    if call.who.same:
        ordered, order = by_id(call)
        rows, cols = _folded(ordered, columns)
        return order.undone(rows), order.undone(cols, cols=True)
    shift = _shift(call)
    if shift is None:
        return _folded(call, columns)
    rows, cols = _summed(call, columns, shift)
    if shift and any(bool((t < _LOST).any()) for t in (rows, cols) if len(t)):
        return _folded(call, columns)
    return rows.double().log() + shift, cols.double().log() + shift


def _shift(call: Call) -> float | None:
    """One number to take off all scores so that their exponentials and sums are floats; None if there is none."""
    if call.bend or call.gate or not (len(call.x) and len(call.y)) or call.x.device.type != "cpu":
        return None
    largest = float(call.x.norm(dim=1).max() * call.y.norm(dim=1).max())
    if not largest <= _SHIFTED:  # NaN too
        return None
    return max(0.0, largest - PLAIN)


def _summed(call: Call, columns: bool, shift: float) -> tuple[Tensor, Tensor]:
    """Sums of exp(score - shift): one exponential serves rows and columns."""
    hidden = Uncounted(call.who)
    rows, cols = call.x.new_zeros(len(call.x)), call.x.new_zeros(len(call.y) if columns else 0)
    for tile in tiles(call):
        e = _exponentials(tile, hidden, shift)
        rows[tile.rows] += e.sum(1)
        if columns:
            cols[tile.cols] += e.sum(0)
    return rows, cols


def _exponentials(tile: Tile, hidden: Uncounted, shift: float) -> Tensor:
    scores = tile.scores.sub_(shift) if shift else tile.scores
    return hidden.hide(scores.exp_(), tile.rows, tile.cols, 0.0)


def _folded(call: Call, columns: bool) -> tuple[Tensor, Tensor]:
    """The same for scores of any size: each tile by its own largest score."""
    hidden = Uncounted(call.who)
    rows = call.x.new_full((len(call.x),), -torch.inf, dtype=torch.float64)
    cols = call.x.new_full((len(call.y) if columns else 0,), -torch.inf, dtype=torch.float64)
    for tile in tiles(call):
        limits = _limits(call, tile)
        scores = _bent(call, tile.scores)
        hidden.hide(scores, tile.rows, tile.cols)
        row_scores = scores if limits is None else scores.masked_fill(limits[0], -torch.inf)
        rows[tile.rows] = torch.logaddexp(rows[tile.rows], torch.logsumexp(row_scores, 1).double())
        if columns:
            col_scores = scores if limits is None else scores.masked_fill(limits[1], -torch.inf)
            cols[tile.cols] = torch.logaddexp(cols[tile.cols], torch.logsumexp(col_scores, 0).double())
    return rows, cols


def _bent(call: Call, scores: Tensor) -> Tensor:
    return BENDS[call.bend].value(scores, call.params) if call.bend else scores


def _limits(call: Call, tile: Tile) -> tuple[Tensor, Tensor] | None:
    """Where a pair is above its row's limit, and its column's."""
    if (gate := call.gate) is None:
        return None
    judged = gate.x[tile.rows] @ gate.y[tile.cols].T
    return judged > gate.row_limit[tile.rows, None], judged > gate.col_limit[None, tile.cols]


def gradient_of_lse(
    call: Call, by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, needs: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """Gradients of x and y (empty where not needed): each pair's share of its row and column, times theirs."""
    if call.who.same:
        ordered, order = by_id(call)
        by_cols, cols = (t[order.cols] if len(t) else t for t in (by_cols, cols))
        dx, dy = _gradient(ordered, by_rows[order.rows], by_cols, rows[order.rows], cols, needs)
        return order.undone(dx), order.undone(dy, cols=True)
    return _gradient(call, by_rows, by_cols, rows, cols, needs)


def _gradient(
    call: Call, by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, needs: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    hidden, products = Uncounted(call.who), Products(call, needs)
    shift = _shift(call)
    if shift and any(bool((t - shift < -50).any()) for t in (rows, cols) if len(t)):
        shift = None
    rows, cols = (torch.where(t == -torch.inf, 0, t) for t in (rows, cols))
    if shift is not None:
        rows, cols = ((by * (shift - t).exp()).to(call.x.dtype) for by, t in ((by_rows, rows), (by_cols, cols)))
        for tile in tiles(call):
            e = _exponentials(tile, hidden, shift)
            share = rows[tile.rows, None]
            products.add(tile, e.mul_(torch.add(share, cols[tile.cols], out=tile.sheet) if len(cols) else share))
        return products.dx, products.dy
    row_by, col_by, row_lse, col_lse = (t.to(call.x.dtype) for t in (by_rows, by_cols, rows, cols))
    for tile in tiles(call):
        limits = _limits(call, tile)
        slope = BENDS[call.bend].slope(tile.scores, call.params) if call.bend else None
        scores = hidden.hide(_bent(call, tile.scores), tile.rows, tile.cols)
        share = (scores - row_lse[tile.rows, None]).exp_().mul_(row_by[tile.rows, None])
        if limits is not None:
            share.masked_fill_(limits[0], 0)
        if len(col_by):
            other = scores.sub_(col_lse[tile.cols]).exp_().mul_(col_by[tile.cols])
            share += other if limits is None else other.masked_fill_(limits[1], 0)
        products.add(tile, share if slope is None else share.mul_(slope))
    return products.dx, products.dy
