"""Sums over the pairs of a list on CUDA: a program owns some items, looks at all others, and adds up both roles of its own."""

from __future__ import annotations

from typing import Any

import torch

from ..list_ranks import places
from ..list_tiles import Call, Sums, sorted_items
from .pair_tiles import WARPS, constexpr, jit, tensor, tl, triton

__all__ = ["fits", "swept"]

_NUMBERS = ("depth", "score", "raw", "weight", "inside", "gain", "ordered", "swapped", "tied", "rank", "apart")
# written before what they are compared with: an int that Triton interprets does not know them
_HALF, _TOP, _GAIN, _PLACE, _DISTANCE = (tl.constexpr(1 << k) for k in range(5))  # what there is besides a plain sum
_FORMS = ("logistic", "soft_zero_one", "exponential", "mse", "hinge", "squared_hinge")
_LOGISTIC, _SOFT, _EXPONENTIAL, _MSE, _HINGE, _SQUARED = (tl.constexpr(k) for k in range(6))
_HIGH, _WIDE = 32, 64


def fits(call: Call) -> bool:
    """Whether the kernel takes it: float32."""
    return call.scores.dtype == torch.float32


def swept(call: Call) -> Sums:
    """:func:`losskit.ops.list_tiles.swept` without a synchronisation; numbers of a pair are float32, their sums float64."""
    batch, size = call.scores.shape
    out = call.scores.new_zeros(2, batch, size, dtype=torch.float64)
    if not batch or not size:
        return Sums(out[0].sum(-1), out[1].float())
    items, _ = sorted_items(call)
    numbers = {name: items.packed[k] for name, k in items.values.items()}
    if call.topk is not None:
        inside = (places(call.scores, call.valid).above < call.topk).float()
        numbers["inside"] = inside.gather(-1, items.place)
    nothing = torch.zeros_like(call.scores)
    absent = {"weight": torch.ones_like(call.scores), "swapped": numbers.get("ordered", nothing)}
    packed = torch.stack([numbers.get(name, absent.get(name, nothing)) for name in _NUMBERS])
    mu = 0.0 if call.lam is None else call.lam.mu
    _pairs[(batch * triton.cdiv(size, _HIGH),)](
        packed, out, size, batch * size, call.margin, mu, form=_FORMS.index(call.form), parts=_parts(call),
        tall=_HIGH, wide=_WIDE, num_warps=WARPS,
    )  # fmt: skip
    gradient = torch.zeros_like(out[1]).scatter_(1, items.place, out[1])
    return Sums(out[0].sum(-1), gradient.float())


def _parts(call: Call) -> int:
    lam = call.lam
    there: tuple[Any, ...] = (
        call.half,
        call.topk is not None,
        lam is not None,
        lam is not None and lam.ordered is not None,
        lam is not None and lam.rank is not None,
    )
    return sum(1 << k for k, said in enumerate(there) if said)


@jit
def _log1p(x: tensor) -> tensor:
    """Log of 1 + x for x >= 0; where 1 + x loses the digits of x its series, 2e-8 off at most."""
    return tl.where(x < 0.01, x * (1.0 - x * (0.5 - x * (0.33333334 - 0.25 * x))), tl.log(1.0 + x))


@jit
def _of(d: tensor, margin: tensor, form: constexpr) -> tensor:
    """A loss of d, and -dl/dd."""
    if form <= _SOFT:
        e = tl.exp(-tl.abs(d))
        wrong = tl.where(d > 0, e, 1.0) / (1.0 + e)
        loss, slope = wrong, e / ((1.0 + e) * (1.0 + e))
        if form == _LOGISTIC:
            loss, slope = tl.maximum(-d, 0.0) + _log1p(e), wrong
    elif form == _EXPONENTIAL:
        loss = tl.exp(-d)
        slope = loss
    elif form == _MSE:
        loss, slope = d * d, -2.0 * d
    else:
        loss = tl.maximum(margin - d, 0.0)
        slope = tl.where(loss > 0, 1.0, 0.0)
        if form == _SQUARED:
            slope = 2.0 * loss
            loss = loss * loss
    return loss, slope


@jit
def _number(base: tensor, plane: tensor, which: constexpr, at: tensor, size: tensor) -> tensor:
    """A number of some items; of what lies beyond the list NaN for the depth, which is in no order, else 0."""
    return tl.load(base + which * plane + at, mask=at < size, other=float("nan") if which == 0 else 0.0)


# out_0i = sum over j below i of k_ij l(s_i - s_j),   out_1i = d (out_0i + sum over j above i of k_ji l(s_j - s_i)) / d s_i,
# k_ij = w_i (gain_i - gain_j) place_ij; (w_i + w_j) / 4 of a tie, seen from both sides. A pair is met twice: no atomics.
# Refuses what is not float32.
@jit
def _pairs(
    packed: tensor, out: tensor, size: tensor, plane: tensor, margin: tensor, mu: tensor,
    form: constexpr, parts: constexpr, tall: constexpr, wide: constexpr,
) -> None:  # fmt: skip
    blocks = tl.cdiv(size, tall)
    lists, begin = tl.program_id(0) // blocks, (tl.program_id(0) % blocks) * tall
    base = packed + lists.to(tl.int64) * size
    i = begin + tl.arange(0, tall)
    depth_i, s_i = _number(base, plane, 0, i, size)[:, None], _number(base, plane, 1, i, size)[:, None]
    raw_i, w_i = _number(base, plane, 2, i, size)[:, None], _number(base, plane, 3, i, size)[:, None]
    total, pull = tl.zeros([tall], tl.float64), tl.zeros([tall], tl.float64)
    for start in range(0, size, wide):
        j = start + tl.arange(0, wide)
        depth_j, s_j = _number(base, plane, 0, j, size)[None, :], _number(base, plane, 1, j, size)[None, :]
        raw_j, w_j = _number(base, plane, 2, j, size)[None, :], _number(base, plane, 3, j, size)[None, :]
        above = depth_i < depth_j
        pair = above | (depth_i > depth_j)
        # 1 where i is the more relevant one, -1 where j is
        side = tl.where(above, 1.0, -1.0)
        seen = pair
        if _TOP & parts:
            top_i, top_j = _number(base, plane, 4, i, size)[:, None], _number(base, plane, 4, j, size)[None, :]
            seen = (top_i + top_j) > 0
            pair = pair & seen
        k = tl.where(above, w_i, w_j)
        if _GAIN & parts:
            k *= side * (_number(base, plane, 5, i, size)[:, None] - _number(base, plane, 5, j, size)[None, :])
        if (_PLACE | _DISTANCE) & parts:
            place, apart = tl.zeros([tall, wide], tl.float32), side * (raw_i - raw_j)
            if _PLACE & parts:
                ahead = _number(base, plane, 6, i, size)[:, None] - _number(base, plane, 6, j, size)[None, :]
                behind = _number(base, plane, 7, j, size)[None, :] - _number(base, plane, 7, i, size)[:, None]
                place = side * tl.where(apart > 0, ahead, behind)
                place = tl.where(apart == 0, _number(base, plane, 8, i, size)[:, None], place)
            if _DISTANCE & parts:
                far = tl.abs(_number(base, plane, 9, i, size)[:, None] - _number(base, plane, 9, j, size)[None, :])
                far = tl.where(apart == 0, _number(base, plane, 10, i, size)[:, None], far)
                far = tl.maximum(far, 1.0)
                step = 0.6931472 * _log1p(1.0 / (1.0 + far)) / (tl.log(1.0 + far) * tl.log(2.0 + far))
                place += mu * step
            k *= place
        k = tl.where(pair, k, 0.0)
        loss, slope = _of(tl.where(pair, side * (s_i - s_j), 0.0), margin, form)
        total += tl.sum(tl.where(above, k * loss, 0.0), 1).to(tl.float64)
        pull -= tl.sum(side * k * slope, 1).to(tl.float64)
        if _HALF & parts:
            tie = (depth_i == depth_j) & (i[:, None] != j[None, :])
            if _TOP & parts:
                tie = tie & seen
            share = tl.where(tie, 0.25 * (w_i + w_j), 0.0)
            d = tl.where(tie, s_i - s_j, 0.0)
            loss, slope = _of(d, margin, form)
            _back, steep = _of(-d, margin, form)
            total += tl.sum(share * loss, 1).to(tl.float64)
            pull += tl.sum(share * (steep - slope), 1).to(tl.float64)
    place_i = out + lists.to(tl.int64) * size + i
    tl.store(place_i, total, mask=i < size)
    tl.store(place_i + plane, pull, mask=i < size)
