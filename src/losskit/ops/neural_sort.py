"""NeuralSort: sums over a softly sorted list, of whose permutation matrix only the rows at hand exist."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.check import wide
from .blocks import row_blocks
from .first_order import Found, by_list, lean
from .list_ranks import begins, order, runs, valid_first

__all__ = ["sorted_sums"]

_TILE = 4 << 20  # bytes of a tile; on CUDA, where a launch costs more than a pass, 16 times as many
_ROWS = 64  # rows of a long list that share their columns
_LONG = 256  # items from which on a list is worth a look at which columns matter


# P_rk = softmax_k(((n + 1 - 2 r) s_k - A_k) / T),  A_k = sum_j |s_k - s_j|;  with Q_rk = d_r P_rk (g_k - sum_l P_rl g_l) / T
# dV / ds_k = sum_r (n + 1 - 2 r) Q_rk - sum_j sign(s_k - s_j) (q_k + q_j),  q_k = sum_r Q_rk
def sorted_sums(scores: Tensor, valid: Tensor, gain: Tensor, discount: Tensor, temperature: float) -> Tensor:
    """sum_r d_r sum_k P_rk g_k, P the matrix that sorts the scores softly, the highest first; n counts the valid items.

    Value and gradient come from one look at each row, in float64, since the terms of an exponent grow with n and cancel.
    Memory is O(n), A takes O(n log n). In falling order of the scores row r is largest at r and falls off on both sides faster
    than a bell: on a CPU the columns of a long list below exp(-log(n / eps)) of it are left out, which leaves fewer than n^2
    exponentials unless scores are tied. The second derivative, torch.compile and torch.func take the whole matrix.

    Shape:      scores (B, L), valid (B, L) bool, gain (B, L), discount (R,) of the first R <= L rows -> (B,) in float64
                where the device has it; rows beyond n are no rows
    """
    formula, kernel = functools.partial(_formula, temperature), functools.partial(_kernel, temperature)
    return lean(formula, kernel, scores, valid, gain, discount)


def _centred(scores: Tensor, valid: Tensor) -> Tensor:
    """Only differences count: without their mean the scores are shorter numbers; 0 where not valid."""
    s = torch.where(valid, wide(scores), 0)
    mean = s.detach().sum(-1, keepdim=True) / valid.sum(-1, keepdim=True).clamp(min=1)
    return torch.where(valid, s - mean, 0)


def _formula(temperature: float, scores: Tensor, valid: Tensor, gain: Tensor, discount: Tensor) -> Tensor:
    s, count = _centred(scores, valid), valid.sum(-1)[:, None, None]
    apart = torch.where(valid.unsqueeze(-2), (s.unsqueeze(-1) - s.unsqueeze(-2)).abs(), 0).sum(-1)
    place = torch.arange(1, len(discount) + 1, device=s.device).unsqueeze(-1)
    power = ((count + 1 - 2 * place) * s.unsqueeze(-2) - apart.unsqueeze(-2)) / temperature
    seen = valid.unsqueeze(-2)
    drawn = torch.where(seen | (count == 0), power, -torch.inf).softmax(-1)
    there = (place <= count).squeeze(-1)
    return (torch.where(there, discount, 0) * (drawn * gain.unsqueeze(-2)).sum(-1)).sum(-1)


class _Line(NamedTuple):
    """Lists in falling order of their scores, what is not valid at their ends; (B, L) in float64."""

    at: Tensor
    s: Tensor
    apart: Tensor
    """A, inf where not valid: no row draws it"""
    gain: Tensor
    turn: Tensor
    """n + 1 - 2 r of row r = 1, 2, ..."""
    top: Tensor
    """The largest exponent of each row, at its own place; inf where not valid: that row draws nothing"""
    valid: Tensor
    items: Tensor


def _line(scores: Tensor, valid: Tensor, gain: Tensor) -> _Line:
    s = _centred(scores, valid)
    at = valid_first(order(s, descending=True), valid)
    s, valid, gain = (t.gather(-1, at) for t in (s, valid, gain))
    count, place = valid.sum(-1, keepdim=True), torch.arange(s.shape[-1], device=s.device)
    turn = (count - 1 - 2 * place).to(s.dtype)
    apart = 2 * s.cumsum(-1) - s.sum(-1, keepdim=True) + (turn - 1) * s
    apart, top = (torch.where(valid, t, torch.inf) for t in (apart, turn * s - apart))
    return _Line(at, s, apart, gain, turn, top, valid, count)


def _kernel(temperature: float, scores: Tensor, valid: Tensor, gain: Tensor, discount: Tensor) -> Found:
    line = _line(scores, valid, gain)
    value, sums = line.s.new_zeros(len(scores)), line.s.new_zeros(*scores.shape, 4)
    for lists, rows, columns in _pieces(line, len(discount), temperature):
        power = line.turn[lists, rows].unsqueeze(-1) * line.s[lists, columns].unsqueeze(-2)
        power -= line.apart[lists, columns].unsqueeze(-2)
        drawn = (power.sub_(line.top[lists, rows].unsqueeze(-1))).div_(temperature).exp_()
        total = drawn.sum(-1)
        total = torch.where(total == 0, 1, total)
        mean = (drawn @ line.gain[lists, columns].unsqueeze(-1)).squeeze(-1) / total
        value[lists] += mean @ discount[rows]
        by = discount[rows] / total
        parts = torch.stack([by, by * mean, by * line.turn[lists, rows], by * mean * line.turn[lists, rows]], -1)
        sums[lists, columns] += drawn.transpose(-1, -2) @ parts
    slope = torch.empty_like(line.s).scatter_(-1, line.at, _slope(line, sums) / temperature)
    return value, (slope.to(scores.dtype),), by_list


def _slope(line: _Line, sums: Tensor) -> Tensor:
    """Of the value, times the temperature, from the sums over rows of d P, d P mean, and both times (n + 1 - 2 r)."""
    pulled = torch.where(line.valid, line.gain * sums[..., 0] - sums[..., 1], 0)
    direct = line.gain * sums[..., 2] - sums[..., 3]
    # equal scores have no sign between them
    first, after = runs(begins(line.s) | ~line.valid)
    before = torch.cat([torch.zeros_like(pulled[..., :1]), pulled.cumsum(-1)], -1)
    others = before[..., -1:] - before.gather(-1, after) - before.gather(-1, first)
    own = (line.items - after - first).to(pulled.dtype) * pulled
    return torch.where(line.valid, direct - (own + others), 0)


def _pieces(line: _Line, rows: int, temperature: float) -> Iterator[tuple[slice, slice, slice]]:
    """Lists, rows and columns that make one tile."""
    count, size = line.s.shape
    cpu = line.s.device.type == "cpu"
    memory, every = _TILE if cpu else 16 * _TILE, slice(0, size)
    row_bytes = size * line.s.element_size()
    if cpu and size > _LONG:
        for i, n in enumerate(line.items.flatten().tolist()):
            blocks = list(row_blocks(min(rows, n), max(row_bytes, 4 * memory // _ROWS), 4 * memory))
            for some, columns in zip(blocks, _columns(line, i, blocks, n, temperature), strict=True):
                yield slice(i, i + 1), some, columns
    elif rows * row_bytes <= memory:
        for lists in row_blocks(count, rows * row_bytes, memory):
            yield lists, slice(0, rows), every
    else:
        for i in range(count):
            for some in row_blocks(rows, row_bytes, memory):
                yield slice(i, i + 1), some, every


def _columns(line: _Line, i: int, blocks: list[slice], n: int, temperature: float) -> Iterator[slice]:
    """The columns of a list of n items that each block draws: its first row reaches up furthest, its last one down."""
    if not blocks:
        return
    first, last = (torch.tensor(edge) for edge in zip(*((b.start, b.stop - 1) for b in blocks), strict=True))
    reach = temperature * math.log(n / torch.finfo(line.s.dtype).eps)
    up, down = _reached(line, i, first, first, -1, reach), _reached(line, i, last, n - 1 - last, 1, reach)
    for start, stop in zip((first - up).tolist(), (last + down + 1).tolist(), strict=True):
        yield slice(start, stop)


def _reached(line: _Line, i: int, rows: Tensor, most: Tensor, way: int, reach: float) -> Tensor:
    """How many columns to one side of its own place each row draws, ``most`` at most: by halving, since rows only fall."""
    least = torch.zeros_like(most)
    for _ in range(int(most.max()).bit_length()):
        middle = (least + most + 1) // 2
        place = rows + way * middle
        power = line.turn[i, rows] * line.s[i, place] - line.apart[i, place]
        near = line.top[i, rows] - power <= reach
        least, most = torch.where(near, middle, least), torch.where(near, most, middle - 1)
    return least
