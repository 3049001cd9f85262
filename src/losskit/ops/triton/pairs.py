"""Log-sum-exp over all pairs on CUDA: a product makes a tile of scores, one kernel reads it, another makes its gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..pair_tiles import Call
from .pair_tiles import HIGH, SPREAD, WIDE, Plan, add, constexpr, fits, gradients, jit, scores_of, tensor, tl, triton

__all__ = ["fits", "gradient_of_lse", "lse"]

_LOST: Any = tl.constexpr(1e-25)  # a sum of exponentials below this may lack some that are below float32
_STEEP: Any = tl.constexpr(60.0)  # e^60 times e^-60 keeps its digits


def lse(call: Call, columns: bool) -> tuple[Tensor, Tensor]:
    """:func:`losskit.ops.pair_lse.lse` without a synchronisation."""
    plan = Plan.of(call, shares=False)
    n, m = len(call.x), len(call.y)
    rows = call.x.new_full((n,), -torch.inf, dtype=torch.float64)
    cols = call.x.new_full((m if columns else 0,), -torch.inf, dtype=torch.float64)
    by_row = call.x.new_empty(plan.tall, triton.cdiv(m, WIDE), 2)
    by_col = call.x.new_empty(triton.cdiv(plan.tall, HIGH), m, 2)
    for some in plan.rows():
        high, down = some.stop - some.start, triton.cdiv(some.stop - some.start, HIGH)
        for across, scores, _ in plan.tiles(some):
            wide = across.stop - across.start
            _partials[(down, triton.cdiv(wide, WIDE))](
                scores, high, wide, plan.who_rows[some], plan.who_cols[across],
                by_row[:, across.start // WIDE :], by_row.stride(0), by_col[:, across], by_col.stride(0),
                columns=columns, **plan.shape,
            )  # fmt: skip
        if m:
            rows[some] = _folded(by_row[:high], 1)
        if columns and m:
            cols = torch.logaddexp(cols, _folded(by_col[:down], 0))
    return rows, cols


def _folded(parts: Tensor, axis: int) -> Tensor:
    """The log-sum-exp of parts (peak, sum of exp(score - peak)) along an axis, in float64."""
    peaks, sums = parts.double().unbind(-1)
    peak = peaks.amax(axis, keepdim=True)
    shift = torch.where(peak == -torch.inf, 0, peak)
    found: Tensor = (sums * (peaks - shift).exp()).sum(axis).log() + shift.squeeze(axis)
    return found


def gradient_of_lse(
    call: Call, by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, needs: Sequence[bool]
) -> tuple[Tensor, Tensor]:
    """:func:`losskit.ops.pair_lse.gradient_of_lse` without a synchronisation; products of half precision add in float32."""
    plan = Plan.of(call, shares=True)
    largest = torch.cat([by_rows.abs(), by_cols.abs(), by_rows.new_zeros(1)]).amax()
    spread = SPREAD / torch.where(largest > 0, largest, 1) if call.narrow else torch.ones_like(largest)
    row_by, col_by = _coefficients(by_rows * spread, rows), _coefficients(by_cols * spread, cols)
    dx, dy = gradients(call, needs)
    for some in plan.rows():
        for across, scores, shares in plan.tiles(some):
            high, wide = scores.shape
            _shares[(triton.cdiv(high, HIGH), triton.cdiv(wide, WIDE))](
                scores, high, wide, plan.who_rows[some], plan.who_cols[across],
                row_by[some], col_by[across] if len(cols) else col_by, shares,
                columns=len(cols) > 0, **plan.shape,
            )  # fmt: skip
            if needs[0]:
                add(dx[some], shares, plan.y[across])
            if needs[1]:
                add(dy[across], shares.T, plan.x[some])
    back = spread.reciprocal().to(call.x.dtype)
    return dx.mul_(back), dy.mul_(back)


def _coefficients(by: Tensor, lse: Tensor) -> Tensor:
    """(n, 3) float32: the log-sum-exp in two pieces, since one has not its digits, and what a share is multiplied by."""
    whole = torch.where(lse == -torch.inf, 0, lse)
    high = whole.float()
    return torch.stack([high, (whole - high).float(), by.float()], 1)


# of the pairs (i, j) of a program that count:   row part i = (p, sum_j exp(s_ij - p)), p >= max_j s_ij;   column part j likewise.
# Refuses nothing that fits() lets through: one p serves all where it loses nothing; without a pair a sum is 0, NaN makes it NaN.
@jit
def _partials(
    scores: tensor, rows: tensor, cols: tensor, who_rows: tensor, who_cols: tensor,
    row_out: tensor, row_stride: tensor, col_out: tensor, col_stride: tensor,
    same: constexpr, slots: constexpr, columns: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    down, across = tl.program_id(0), tl.program_id(1)
    i, j = down * tall + tl.arange(0, tall), across * wide + tl.arange(0, wide)
    s = scores_of(scores, who_rows, who_cols, i, j, rows, cols, same, slots)
    row_at, col_at = row_out + i * row_stride + 2 * across, col_out + down * col_stride + 2 * j
    peak = tl.max(tl.max(s, 1), 0)
    peak = tl.where(peak == -float("inf"), 0.0, peak)
    e = tl.exp(s - peak)
    row_sum = tl.sum(e, 1)
    least = tl.min(tl.where(i < rows, row_sum, 1.0), 0)
    col_sum = tl.zeros([wide], tl.float32)
    if columns:
        col_sum = tl.sum(e, 0)
        least = tl.minimum(least, tl.min(tl.where(j < cols, col_sum, 1.0), 0))
    if least < _LOST:
        row_peak = tl.max(s, 1)
        row_peak = tl.where(row_peak == -float("inf"), 0.0, row_peak)
        tl.store(row_at, row_peak, mask=i < rows)
        tl.store(row_at + 1, tl.sum(tl.exp(s - row_peak[:, None]), 1), mask=i < rows)
        if columns:
            col_peak = tl.max(s, 0)
            col_peak = tl.where(col_peak == -float("inf"), 0.0, col_peak)
            tl.store(col_at, col_peak, mask=j < cols)
            tl.store(col_at + 1, tl.sum(tl.exp(s - col_peak[None, :]), 0), mask=j < cols)
    else:
        tl.store(row_at, tl.zeros([tall], tl.float32) + peak, mask=i < rows)
        tl.store(row_at + 1, row_sum, mask=i < rows)
        if columns:
            tl.store(col_at, tl.zeros([wide], tl.float32) + peak, mask=j < cols)
            tl.store(col_at + 1, col_sum, mask=j < cols)


# share_ij = a_i exp(s_ij - r_i) + b_j exp(s_ij - c_j) of the pairs that count, 0 of others: the gradient of all log-sum-exps.
# Refuses nothing that fits() lets through; written over its own scores where it has their size: a program reads before it writes.
@jit
def _shares(
    scores: tensor, rows: tensor, cols: tensor, who_rows: tensor, who_cols: tensor,
    row_by: tensor, col_by: tensor, out: tensor,
    same: constexpr, slots: constexpr, columns: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    i, j = tl.program_id(0) * tall + tl.arange(0, tall), tl.program_id(1) * wide + tl.arange(0, wide)
    s = scores_of(scores, who_rows, who_cols, i, j, rows, cols, same, slots)
    row_high = tl.load(row_by + 3 * i, mask=i < rows, other=float("inf"))
    row_low = tl.load(row_by + 3 * i + 1, mask=i < rows, other=0.0)
    row_slope = tl.load(row_by + 3 * i + 2, mask=i < rows, other=0.0)
    peak = tl.max(tl.max(s, 1), 0)
    peak = tl.where(peak == -float("inf"), 0.0, peak)
    gap = peak - tl.min(row_high, 0)
    col_high, col_low, col_slope = row_high, row_low, row_slope
    if columns:
        col_high = tl.load(col_by + 3 * j, mask=j < cols, other=float("inf"))
        col_low = tl.load(col_by + 3 * j + 1, mask=j < cols, other=0.0)
        col_slope = tl.load(col_by + 3 * j + 2, mask=j < cols, other=0.0)
        gap = tl.maximum(gap, peak - tl.min(col_high, 0))
    place, inside = out + i[:, None] * cols + j[None, :], (i < rows)[:, None] & (j < cols)[None, :]
    if gap < _STEEP:
        by = (row_slope * tl.exp(peak - row_high - row_low))[:, None]
        if columns:
            by = by + (col_slope * tl.exp(peak - col_high - col_low))[None, :]
        tl.store(place, (tl.exp(s - peak) * by).to(out.dtype.element_ty), mask=inside)
    else:
        share = tl.exp(s - row_high[:, None] - row_low[:, None]) * row_slope[:, None]
        if columns:
            share += tl.exp(s - col_high[None, :] - col_low[None, :]) * col_slope[None, :]
        tl.store(place, share.to(out.dtype.element_ty), mask=inside)
