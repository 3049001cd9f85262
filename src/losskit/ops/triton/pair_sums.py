"""Sums of softplus over all pairs on CUDA: value and gradient of a tile in one look at it (SigLIP)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..pair_sums import Sums
from ..pair_tiles import Call
from .pair_tiles import HIGH, SPREAD, WIDE, Plan, add, constexpr, gradients, jit, scores_of, tensor, tl, triton
from .pair_tiles import fits as tile_fits

__all__ = ["fits", "gradient_of_sum", "row_sums"]


def fits(call: Call, sums: Sums) -> bool:
    """Whether the kernel takes it: softplus with a number for each row."""
    return tile_fits(call) and sums.form == "softplus" and len(sums.t) == len(call.x)


def row_sums(call: Call, sums: Sums) -> Tensor:
    """:func:`losskit.ops.pair_sums.row_sums` without a synchronisation."""
    return _swept(call, sums, None, [False] * 4)[0]


def gradient_of_sum(call: Call, sums: Sums, by_rows: Tensor, needs: Sequence[bool]) -> tuple[Tensor, ...]:
    """:func:`losskit.ops.pair_sums.gradient_of_sum` without a synchronisation."""
    return _swept(call, sums, by_rows, needs)


def _swept(call: Call, sums: Sums, by_rows: Tensor | None, needs: Sequence[bool]) -> tuple[Tensor, ...]:
    plan = Plan.of(call, shares=by_rows is not None)
    largest = call.x.new_zeros((), dtype=torch.float64) if by_rows is None or not len(by_rows) else by_rows.abs().amax()
    spread = SPREAD / torch.where(largest > 0, largest, 1) if call.narrow else torch.ones_like(largest)
    slope = torch.zeros_like(sums.t) if by_rows is None else (by_rows * spread).float()
    numbers = torch.stack([sums.t, slope], 1)
    rows = call.x.new_zeros(len(call.x), dtype=torch.float64)
    dt = torch.zeros_like(sums.t) if needs[2] else sums.t.new_empty(0)
    dx, dy = gradients(call, needs)
    parts = call.x.new_empty(plan.tall, triton.cdiv(len(call.y), WIDE), 2)
    for some in plan.rows():
        for across, scores, shares in plan.tiles(some):
            high, wide = scores.shape
            _softplus[(triton.cdiv(high, HIGH), triton.cdiv(wide, WIDE))](
                scores, high, wide, plan.who_rows[some], plan.who_cols[across],
                numbers[some], parts[:, across.start // WIDE :], parts.stride(0), shares,
                gradient=by_rows is not None, **plan.shape,
            )  # fmt: skip
            if needs[0]:
                add(dx[some], shares, plan.y[across])
            if needs[1]:
                add(dy[across], shares.T, plan.x[some])
        found = parts[: some.stop - some.start].sum(1, dtype=torch.float64)
        rows[some] = found[:, 0]
        if needs[2]:
            dt[some] = (found[:, 1] * (0 if by_rows is None else by_rows[some])).to(dt.dtype)
    back = spread.reciprocal().to(call.x.dtype)
    return rows, dx.mul_(back), dy.mul_(back), dt, sums.c.new_empty(0)


# of the pairs (i, j) of a program that count:   part i = (sum_j log(1 + exp(s_ij + t_i)), sum_j g_ij),
# g_ij = sigmoid(s_ij + t_i);   share_ij = by_i g_ij.
# Refuses nothing that fits() lets through; -inf has a softplus of 0 and no slope. A program reads its scores before it writes.
@jit
def _softplus(
    scores: tensor, rows: tensor, cols: tensor, who_rows: tensor, who_cols: tensor,
    numbers: tensor, parts: tensor, stride: tensor, out: tensor,
    same: constexpr, slots: constexpr, gradient: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    across = tl.program_id(1)
    i, j = tl.program_id(0) * tall + tl.arange(0, tall), across * wide + tl.arange(0, wide)
    s = scores_of(scores, who_rows, who_cols, i, j, rows, cols, same, slots)
    s += tl.load(numbers + 2 * i, mask=i < rows, other=0.0)[:, None]
    e = tl.exp(-tl.abs(s))
    # log(1 + e) loses the digits of a small e: there its series, 2e-8 off at most
    log1p = tl.where(e < 0.01, e * (1.0 - e * (0.5 - e * (0.33333334 - 0.25 * e))), tl.log(1.0 + e))
    value = tl.where(s == -float("inf"), 0.0, tl.maximum(s, 0.0) + log1p)
    slope = tl.where(s > 0, 1.0, e) / (1.0 + e)
    place = parts + i * stride + 2 * across
    tl.store(place, tl.sum(value, 1), mask=i < rows)
    tl.store(place + 1, tl.sum(slope, 1), mask=i < rows)
    if gradient:
        by = tl.load(numbers + 2 * i + 1, mask=i < rows, other=0.0)
        inside = (i < rows)[:, None] & (j < cols)[None, :]
        tl.store(out + i[:, None] * cols + j[None, :], (slope * by[:, None]).to(out.dtype.element_ty), mask=inside)
