"""Log-sum-exp over all pairs on CUDA: a product makes a tile of scores, one kernel reads it, another makes its gradient."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..blocks import slabs
from ..pair_sets import NOBODY
from ..pair_tiles import Call

__all__ = ["fits", "gradient_of_lse", "lse"]

# Triton has no types: as Any it needs no suppression
triton: Any = importlib.import_module("triton")
tl: Any = importlib.import_module("triton.language")
_jit: Callable[[Callable[..., Any]], Any] = triton.jit
if TYPE_CHECKING:
    tensor: TypeAlias = Any
    constexpr: TypeAlias = int
else:  # its compiler reads annotations, and takes no names but its own
    tensor, constexpr = tl.tensor, tl.constexpr

_HIGH, _WIDE = 32, 128  # pairs of a program: 4096 scores, 32 a thread of four warps
_SPREAD = 2.0**14  # shares are written as up to 2^15 in half precision, so that float16 keeps those down to 4e-12

_NOBODY: Any = tl.constexpr(NOBODY)


class _Plan(NamedTuple):
    """Operands of the products, who is who as (n, 2), and the memory of a tile."""

    x: Tensor
    y: Tensor
    who_rows: Tensor
    who_cols: Tensor
    scores: Tensor
    shares: Tensor
    tall: int
    wide: int

    @classmethod
    def of(cls, call: Call, gradient: bool) -> _Plan:
        dtype = getattr(torch, call.narrow) if call.narrow else call.x.dtype
        who = call.who
        tall = min(len(call.x), 2048 if call.narrow else 4096)
        wide = max(_WIDE, min(-(-len(call.y) // _WIDE) * _WIDE, call.memory // (6 * max(tall, 1)) // _WIDE * _WIDE))
        scores = call.x.new_empty(tall * wide)
        shares = scores if not (gradient and call.narrow) else call.x.new_empty(tall * wide, dtype=dtype)
        pairs = torch.stack([who.row_id, who.row_slot], 1), torch.stack([who.col_id, who.col_slot], 1)
        return cls(call.x.to(dtype), call.y.to(dtype), *pairs, scores, shares, tall, wide)

    def tiles(self, rows: slice) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Columns, scores and room for shares, from left to right."""
        high = rows.stop - rows.start
        for cols in slabs(len(self.y), self.wide):
            shape = (high, cols.stop - cols.start)
            scores, shares = (t[: shape[0] * shape[1]].view(shape) for t in (self.scores, self.shares))
            if self.x.dtype == torch.float32:
                torch.mm(self.x[rows], self.y[cols].T, out=scores)
            else:
                torch.mm(self.x[rows], self.y[cols].T, out_dtype=torch.float32, out=scores)
            yield cols, scores, shares


def fits(call: Call) -> bool:
    """Whether the kernels take it: float32 scores as they are, and nothing but ids to say who counts."""
    return call.x.dtype == torch.float32 and not call.bend and call.gate is None


def lse(call: Call, columns: bool) -> tuple[Tensor, Tensor]:
    """:func:`losskit.ops.pair_lse.lse` without a synchronisation."""
    plan = _Plan.of(call, gradient=False)
    n, m = len(call.x), len(call.y)
    rows = call.x.new_full((n,), -torch.inf, dtype=torch.float64)
    cols = call.x.new_full((m if columns else 0,), -torch.inf, dtype=torch.float64)
    by_row = call.x.new_empty(plan.tall, triton.cdiv(m, _WIDE), 2)
    by_col = call.x.new_empty(triton.cdiv(plan.tall, _HIGH), m, 2)
    for some in slabs(n, max(plan.tall, 1)):
        high, down = some.stop - some.start, triton.cdiv(some.stop - some.start, _HIGH)
        for across, scores, _ in plan.tiles(some):
            wide = across.stop - across.start
            _partials[(down, triton.cdiv(wide, _WIDE))](
                scores, high, wide, plan.who_rows[some], plan.who_cols[across],
                by_row[:, across.start // _WIDE :], by_row.stride(0), by_col[:, across], by_col.stride(0),
                same=call.who.same, columns=columns, tall=_HIGH, wide=_WIDE, num_warps=4,
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
    plan = _Plan.of(call, gradient=True)
    largest = torch.cat([by_rows.abs(), by_cols.abs(), by_rows.new_zeros(1)]).amax()
    spread = _SPREAD / torch.where(largest > 0, largest, 1) if call.narrow else torch.ones_like(largest)
    row_by, col_by = _coefficients(by_rows * spread, rows), _coefficients(by_cols * spread, cols)
    dx = torch.zeros_like(call.x) if needs[0] else call.x.new_empty(0)
    dy = torch.zeros_like(call.y) if needs[1] else call.y.new_empty(0)
    for some in slabs(len(call.x), max(plan.tall, 1)):
        for across, scores, shares in plan.tiles(some):
            high, wide = scores.shape
            _shares[(triton.cdiv(high, _HIGH), triton.cdiv(wide, _WIDE))](
                scores, high, wide, plan.who_rows[some], plan.who_cols[across],
                row_by[some], col_by[across] if len(cols) else col_by, shares,
                same=call.who.same, columns=len(cols) > 0, tall=_HIGH, wide=_WIDE, num_warps=4,
            )  # fmt: skip
            if needs[0]:
                _add(dx[some], shares, plan.y[across])
            if needs[1]:
                _add(dy[across], shares.T, plan.x[some])
    back = spread.reciprocal().to(call.x.dtype)
    return dx.mul_(back), dy.mul_(back)


def _coefficients(by: Tensor, lse: Tensor) -> Tensor:
    """(n, 3) float32: the log-sum-exp in two pieces, since one has not its digits, and what a share is multiplied by."""
    whole = torch.where(lse == -torch.inf, 0, lse)
    high = whole.float()
    return torch.stack([high, (whole - high).float(), by.float()], 1)


def _add(total: Tensor, a: Tensor, b: Tensor) -> None:
    if a.dtype == torch.float32:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)


@_jit
def _counted(who_rows: tensor, who_cols: tensor, i: tensor, j: tensor, rows: tensor, cols: tensor, same: constexpr) -> tensor:
    """Where a pair counts, by ids and slots; what lies outside of the tile does not."""
    a = tl.load(who_rows + 2 * i, mask=i < rows, other=_NOBODY)
    b = tl.load(who_cols + 2 * j, mask=j < cols, other=_NOBODY)
    c = tl.load(who_rows + 2 * i + 1, mask=i < rows, other=0)
    d = tl.load(who_cols + 2 * j + 1, mask=j < cols, other=0)
    alike = a[:, None] == b[None, :]
    if not same:
        alike = a[:, None] != b[None, :]
    there = (a != _NOBODY)[:, None] & (b != _NOBODY)[None, :]
    return alike & there & (c[:, None] != d[None, :])


# of the pairs (i, j) of a program that count:   row part i = (p, sum_j exp(s_ij - p)), p = max_j s_ij;   column part j likewise.
# Refuses nothing that fits() lets through: without a pair the peak is -inf and the sum 0, NaN makes a sum NaN.
@_jit
def _partials(
    scores: tensor, rows: tensor, cols: tensor, who_rows: tensor, who_cols: tensor,
    row_out: tensor, row_stride: tensor, col_out: tensor, col_stride: tensor,
    same: constexpr, columns: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    down, across = tl.program_id(0), tl.program_id(1)
    i, j = down * tall + tl.arange(0, tall), across * wide + tl.arange(0, wide)
    inside = (i < rows)[:, None] & (j < cols)[None, :]
    s = tl.load(scores + i[:, None] * cols + j[None, :], mask=inside, other=0.0)
    s = tl.where(_counted(who_rows, who_cols, i, j, rows, cols, same), s, -float("inf"))
    peak = tl.max(s, 1)
    e = tl.exp(s - tl.where(peak == -float("inf"), 0.0, peak)[:, None])
    tl.store(row_out + i * row_stride + 2 * across, peak, mask=i < rows)
    tl.store(row_out + i * row_stride + 2 * across + 1, tl.sum(e, 1), mask=i < rows)
    if columns:
        peak = tl.max(s, 0)
        e = tl.exp(s - tl.where(peak == -float("inf"), 0.0, peak)[None, :])
        tl.store(col_out + down * col_stride + 2 * j, peak, mask=j < cols)
        tl.store(col_out + down * col_stride + 2 * j + 1, tl.sum(e, 0), mask=j < cols)


# share_ij = a_i exp(s_ij - r_i) + b_j exp(s_ij - c_j) of the pairs that count, 0 of others: the gradient of all log-sum-exps.
# Refuses nothing that fits() lets through; written over its own scores where it has their size: a program reads before it writes.
@_jit
def _shares(
    scores: tensor, rows: tensor, cols: tensor, who_rows: tensor, who_cols: tensor,
    row_by: tensor, col_by: tensor, out: tensor,
    same: constexpr, columns: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    i, j = tl.program_id(0) * tall + tl.arange(0, tall), tl.program_id(1) * wide + tl.arange(0, wide)
    inside = (i < rows)[:, None] & (j < cols)[None, :]
    s = tl.load(scores + i[:, None] * cols + j[None, :], mask=inside, other=0.0)
    s = tl.where(_counted(who_rows, who_cols, i, j, rows, cols, same), s, -float("inf"))
    high = tl.load(row_by + 3 * i, mask=i < rows, other=0.0)
    low = tl.load(row_by + 3 * i + 1, mask=i < rows, other=0.0)
    by = tl.load(row_by + 3 * i + 2, mask=i < rows, other=0.0)
    share = tl.exp(s - high[:, None] - low[:, None]) * by[:, None]
    if columns:
        high = tl.load(col_by + 3 * j, mask=j < cols, other=0.0)
        low = tl.load(col_by + 3 * j + 1, mask=j < cols, other=0.0)
        by = tl.load(col_by + 3 * j + 2, mask=j < cols, other=0.0)
        share += tl.exp(s - high[None, :] - low[None, :]) * by[None, :]
    tl.store(out + i[:, None] * cols + j[None, :], share.to(out.dtype.element_ty), mask=inside)
