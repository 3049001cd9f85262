"""The row pass on CUDA: the statistics of every row of a block of scores, and the gradient in the block's own memory."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from .. import rows as eager
from ..rows import Coefficients, Form, Found, Low, Visit

__all__ = ["sweep"]

# Triton has no types: as Any it needs no suppression
triton: Any = importlib.import_module("triton")
tl: Any = importlib.import_module("triton.language")
_jit: Callable[[Callable[..., Any]], Any] = triton.jit
if TYPE_CHECKING:
    tensor: TypeAlias = Any
    constexpr: TypeAlias = int
else:  # its compiler reads annotations, and takes no names but its own
    tensor, constexpr = tl.tensor, tl.constexpr

_TILE = 4096  # scores of a row at a time, 16 a thread: 64 registers for rest alone, 128 with all statistics, none spilled (sm_90)
_TABLE = 8  # numbers a row: peak, mass, lean, drift, then the coefficients others, own, spread, tilt
_COLUMNS = (1 << 31) - _TILE  # the last tile's columns are int32 too

_LOWEST: Any = tl.constexpr(torch.finfo(torch.float32).min)
_GONE: Any = tl.constexpr(-200.0)  # exp of it is 0 in float32, and 0 times it is 0: -inf would make NaN
_NONE: Any = tl.constexpr(2**31 - 1)


def sweep(block: Tensor, low: Low | None, form: Form, index: Tensor, visit: Visit, slope: Tensor | None) -> Tensor:
    """:func:`losskit.ops.rows.sweep` in two kernels, with one visit for all rows and no synchronisation.

    The gradient lies in the memory of ``block``, of ``form.result``. An index that is no class has no column: its row's
    statistics are those of all scores. What the kernels refuse goes to the eager pass.
    """
    if not _fits(block, low, form):
        return eager.sweep(block, low, form, index, visit, slope)
    (rows, classes), tilt = block.shape, None if form.tilt is None else form.tilt.contiguous()
    tile = min(_TILE, max(128, triton.next_power_of_2(classes)))
    shape = {"tile": tile, "num_warps": max(1, tile // 512)}
    table = block.new_empty(rows, _TABLE)
    best = index.new_empty(rows, dtype=torch.int32) if form.top else None
    given = block, block.stride(0), classes, index.contiguous(), form.bias, form.scale, form.softcap, tilt, table
    with torch.cuda.device_of(block):
        if rows:
            _statistics[(rows,)](*given, best, entropy=form.entropy, **shape)
        coefficients = visit(slice(0, rows), _found(table, best, form))
        if coefficients is None:
            return block
        _fill(table, coefficients)
        gradient = block if form.result == block.dtype else block.view(form.result)[:, :classes]
        if rows:
            _gradient[(rows,)](*given, gradient, spread=coefficients.spread is not None, **shape)
    if slope is not None:
        slope.add_(gradient.sum(0, dtype=slope.dtype))
    return gradient


def _fits(block: Tensor, low: Low | None, form: Form) -> bool:
    """Whether the kernels take it: float32 rows, their scores side by side, columns and rows that a grid can count."""
    if block.dtype != torch.float32 or form.dtype != torch.float32 or form.result.itemsize not in (2, 4) or low is not None:
        return False
    return (block.stride(1) == 1 or block.shape[1] == 1) and block.shape[1] <= _COLUMNS and len(block) < 1 << 31


def _found(table: Tensor, best: Tensor | None, form: Form) -> Found:
    """What the kernel saw, in float64: the logarithms are taken there."""
    peak, mass, lean, drift = table[:, :4].double().unbind(1)
    rest = torch.where(mass == 0, peak, peak + mass.log())  # without another class the lowest float, not -inf
    spread = torch.where(mass == 0, 0, mass.log() - lean / mass) if form.entropy else None
    if best is None:
        return Found(rest, spread, None if form.tilt is None else drift, None, None)
    peak = torch.where(rest.isnan() & (peak < torch.inf), torch.nan, peak)  # a maximum is blind to NaN
    return Found(rest, spread, None if form.tilt is None else drift, best.long(), peak)


def _fill(table: Tensor, by: Coefficients) -> None:
    for place, values in enumerate((by.others, by.own, by.spread, by.tilt), 4):
        if values is None:
            table[:, place] = 0
        else:
            table[:, place] = values


@_jit
def _linear(row: tensor, columns: tensor, inside: tensor, bias: tensor, scale: tensor) -> tensor:
    """Scale * (products + bias)."""
    products = tl.load(row + columns, mask=inside, other=0.0)
    if bias is not None:
        products += tl.load(bias + columns, mask=inside, other=0.0)
    return products * scale


@_jit
def _tanh(x: tensor) -> tensor:
    """Within 2e-7 of tanh, relatively: 1 - exp cancels near 0, where a polynomial takes over (Remez on [0, 0.625], 5e-9)."""
    size = tl.abs(x)
    s, fading = size * size, tl.exp(-2.0 * size)
    p = -0.33333281942 + s * (0.133314421982 + s * (-0.0537397150858 + s * (0.0206390872447 - s * 0.00570498699346)))
    curve = tl.where(size < 0.625, size + size * (s * p), (1.0 - fading) / (1.0 + fading))
    return tl.where(x < 0, -curve, curve)


@_jit
def _tanh_slope(x: tensor) -> tensor:
    """1 / cosh^2: 1 - tanh^2 cancels where tanh is near 1."""
    fading = tl.exp(-2.0 * tl.abs(x))
    return 4.0 * fading / ((1.0 + fading) * (1.0 + fading))


@_jit
def _target(index: tensor, classes: tensor) -> tensor:
    """The row's own column as int32; -1, which no column is, for an index out of range."""
    own = tl.load(index)
    return tl.where((own >= 0) & (own < classes), own, -1).to(tl.int32)


# z_j = softcap tanh(scale (product_j + bias_j) / softcap), over j != y:   peak = max z_j,   mass = sum exp(z_j - peak),
# lean = sum (z_j - peak) exp(z_j - peak),   best = the first j with z_j = peak;   over all j: drift = sum tilt_j z_j.
# Refuses nothing that _fits lets through: -inf is a class of no mass, NaN makes mass NaN, no j at all leaves mass 0.
@_jit
def _statistics(
    block: tensor, stride: tensor, classes: tensor, index: tensor,
    bias: tensor, scale: tensor, softcap: tensor, tilt: tensor,
    table: tensor, best: tensor, entropy: constexpr, tile: constexpr,
) -> None:  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    own = _target(index + row, classes)
    # each lane keeps the statistics of its own columns: one reduction a row, not one a tile
    high = tl.full([tile], _LOWEST, tl.float32)
    mass, lean, drift = tl.zeros([tile], tl.float32), tl.zeros([tile], tl.float32), tl.zeros([tile], tl.float32)
    top = tl.zeros([tile], tl.int32)
    for start in range(0, classes, tile):
        columns = start + tl.arange(0, tile)
        inside = columns < classes
        scores = _linear(block + row * stride, columns, inside, bias, scale)
        if softcap is not None:
            scores = softcap * _tanh(scores / softcap)
        if tilt is not None:
            drift += scores * tl.load(tilt + columns, mask=inside, other=0.0)
        scores = tl.where(inside & (columns != own), scores, float("-inf"))
        higher = scores > high
        # of the old sum and the new term one is scaled by exp(-gap), the other by 1: one exponential for both
        gap = -tl.abs(scores - high)
        gap = tl.where(gap < _GONE, _GONE, gap)
        share = tl.exp(gap)
        if entropy:
            lean = tl.where(higher, (lean + mass * gap) * share, lean + gap * share)
        mass = tl.where(higher, mass * share + 1.0, mass + share)
        if best is not None:
            top = tl.where(higher, columns, top)
        high = tl.maximum(high, scores)
    peak = tl.max(high, 0)
    gap = high - peak
    gap = tl.where(gap < _GONE, _GONE, gap)
    share = tl.exp(gap)
    tl.store(table + 8 * row, peak)
    tl.store(table + 8 * row + 1, tl.sum(mass * share, 0))
    if entropy:
        tl.store(table + 8 * row + 2, tl.sum((lean + mass * gap) * share, 0))
    if tilt is not None:
        tl.store(table + 8 * row + 3, tl.sum(drift, 0))
    if best is not None:
        tl.store(best + row, tl.min(tl.where(high == peak, top, _NONE), 0))


# q_j = exp(z_j - peak) / mass, dz_j = slope of the softcap:   gradient_j = (others q_j - spread q_j log q_j + tilt c_j) dz_j
# for j != y, and tilt c_y dz_y + own for y; written as ``out`` has it, which may lie in the block's own bytes.
# Refuses an ``out`` that starts elsewhere in the block's memory than the block, or whose rows are not as far apart.
@_jit
def _gradient(
    block: tensor, stride: tensor, classes: tensor, index: tensor,
    bias: tensor, scale: tensor, softcap: tensor, tilt: tensor,
    table: tensor, out: tensor, spread: constexpr, tile: constexpr,
) -> None:  # fmt: skip
    # the last rows first: they are the likeliest to be in the second-level cache since the statistics
    row = (tl.num_programs(0) - 1 - tl.program_id(0)).to(tl.int64)
    own = _target(index + row, classes)
    peak, mass = tl.load(table + 8 * row), tl.load(table + 8 * row + 1)
    by_others, by_own = tl.load(table + 8 * row + 4), tl.load(table + 8 * row + 5)
    part = tl.where(mass == 0, 0.0, 1.0 / mass)
    log_mass = tl.log(mass)
    written = out + row * stride * (32 // out.dtype.element_ty.primitive_bitwidth)
    for start in range(0, classes, tile):
        columns = start + tl.arange(0, tile)
        inside = columns < classes
        scores = _linear(block + row * stride, columns, inside, bias, scale)
        bent = scores
        if softcap is not None:
            bent = scores / softcap
            scores = softcap * _tanh(bent)
        q = tl.exp(scores - peak) * part
        gradient = by_others * q
        if spread:
            gradient += tl.where(q == 0, 0.0, tl.load(table + 8 * row + 6) * q * (log_mass - (scores - peak)))
        gradient = tl.where(columns == own, 0.0, gradient)
        if tilt is not None:
            gradient += tl.load(table + 8 * row + 7) * tl.load(tilt + columns, mask=inside, other=0.0)
        if softcap is not None:
            gradient *= _tanh_slope(bent)
        gradient = tl.where(columns == own, gradient + by_own, gradient)
        # Narrow gradients of tile k fill bytes [2kB, 2(k+1)B) of the row, its scores lie in [4kB, 4(k+1)B): every byte written
        # belongs to a tile up to k, which all warps have read when they have passed this; later tiles are untouched.
        tl.debug_barrier()
        tl.store(written + columns, gradient, mask=inside)
