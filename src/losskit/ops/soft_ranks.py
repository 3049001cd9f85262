"""Soft ranks of the items of a list, and which are softly among the first k; in O(n) memory."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..core.check import wide
from .autograd import batched
from .blocks import row_blocks
from .first_order import Found, lean
from .list_ranks import order

__all__ = ["soft_ranks", "soft_top"]

_TILE = 1 << 20  # bytes of a tile: what a core's cache holds; on CUDA, where a launch costs more than a pass, 64 times as many
_BLOCK = 512  # items of a block where a long list meets itself in order
_HALVINGS = 20  # 60 / 2^20 = 6e-5 temperatures: after that two steps of Newton are exact


# r_i = 1/2 + sum_j sigmoid((s_j - s_i) / T),   dL / ds_k = sum_i K_ik (g_i - g_k),   K_ik = sigmoid'((s_i - s_k) / T) / T
def soft_ranks(scores: Tensor, valid: Tensor, temperature: float) -> Tensor:
    """1 and, for each other valid item, the chance that it is above: the place of an item, 1 the best, as a smooth number.

    Ranks of n items add up to n (n + 1) / 2 and lie in the convex hull of the orders of 1..n. Time O(n^2), memory O(n), both
    ways; the derivative of the derivative, torch.compile and torch.func take the n x n table. Items further apart than
    log(n / eps) temperatures have an order for good: on a CPU blocks of such pairs are left out. ``temperature`` is a number
    above 0 and has no gradient.

    Shape:      scores (B, L), valid (B, L) bool -> (B, L) of the scores' dtype; 1 where not valid
    """
    formula = functools.partial(_formula, temperature)
    return lean(formula, functools.partial(_kernel, temperature), scores, valid)


def _formula(temperature: float, scores: Tensor, valid: Tensor) -> Tensor:
    own, others = _sides(scores, valid)
    above = torch.sigmoid((others.unsqueeze(-2) - own.unsqueeze(-1)) / temperature)
    return torch.where(valid, above.sum(-1) + 0.5, 1)


def _kernel(temperature: float, scores: Tensor, valid: Tensor) -> Found:
    found = _lists(scores, valid, functools.partial(_tiled_ranks, temperature), functools.partial(_list_ranks, temperature))
    return torch.where(valid, found, 1), (scores, valid), functools.partial(_pull, temperature)


def _pull(temperature: float, grad: Tensor, scores: Tensor, valid: Tensor) -> Tensor:
    grad = torch.where(valid, grad, 0)
    if batched(grad):  # in one go, since nothing can be written into
        own, others = _sides(scores, valid)
        drawn = _drawn(others.unsqueeze(-2) - own.unsqueeze(-1), grad.unsqueeze(-2) - grad.unsqueeze(-1), temperature)
        return torch.where(valid, drawn.sum(-1) / temperature, 0)
    slope = _lists(scores, valid, functools.partial(_tiled_slope, temperature), functools.partial(_list_slope, temperature), grad)
    return torch.where(valid, slope, 0)


def _drawn(gap: Tensor, by: Tensor, temperature: float) -> Tensor:
    """by * sigmoid'(gap / T), in the place of ``gap``: from the side where 1 - p keeps all digits."""
    drawn: Tensor = torch.ops.aten.sigmoid_backward(by, gap.abs_().div_(-temperature).sigmoid_())
    return drawn


def _sides(scores: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """The scores as rows and as columns of the table of pairs: what is not valid is nowhere above."""
    return torch.where(valid, scores, 0), torch.where(valid, scores, -torch.inf)


def _lists(scores: Tensor, valid: Tensor, short: Callable[..., Tensor], long: Callable[..., Tensor], *more: Tensor) -> Tensor:
    """``short`` of all lists at once; on a CPU ``long`` of each long list, its valid items in falling order."""
    if scores.shape[-1] <= _BLOCK or scores.device.type != "cpu":
        return short(scores, valid, *more)
    at = order(torch.where(valid, scores, -torch.inf), descending=True)
    found = torch.zeros_like(scores)
    for row, count in enumerate(valid.sum(-1).tolist()):
        chosen = at[row, :count] if count else at[row, :0]
        found[row, chosen] = long(*(t[row, chosen] for t in (scores, *more)))
    return found


def _tiles(scores: Tensor) -> Iterator[tuple[slice, slice]]:
    """Lists, and rows of their tables of pairs, that make one tile."""
    count, size = scores.shape
    row_bytes = size * scores.element_size()
    memory = _TILE if scores.device.type == "cpu" else 64 * _TILE
    if size * row_bytes <= memory:
        for lists in row_blocks(count, size * row_bytes, memory):
            yield lists, slice(0, size)
        return
    for i in range(count):
        for rows in row_blocks(size, row_bytes, memory):
            yield slice(i, i + 1), rows


def _tiled_ranks(temperature: float, scores: Tensor, valid: Tensor) -> Tensor:
    own, others = _sides(scores, valid)
    ranks = torch.empty_like(scores)
    for lists, rows in _tiles(scores):
        above = (others[lists].unsqueeze(-2) - own[lists, rows].unsqueeze(-1)).div_(temperature).sigmoid_()
        ranks[lists, rows] = above.sum(-1) + 0.5
    return ranks


def _tiled_slope(temperature: float, scores: Tensor, valid: Tensor, grad: Tensor) -> Tensor:
    own, others = _sides(scores, valid)
    slope = torch.empty_like(scores)
    for lists, rows in _tiles(scores):
        gap = others[lists].unsqueeze(-2) - own[lists, rows].unsqueeze(-1)
        drawn = _drawn(gap, grad[lists].unsqueeze(-2) - grad[lists, rows].unsqueeze(-1), temperature)
        slope[lists, rows] = drawn.sum(-1) / temperature
    return slope


def _meetings(s: Tensor, temperature: float) -> Iterator[tuple[slice, slice]]:
    """The blocks of a list in falling order that meet: each with itself, and with those below within reach."""
    size = len(s)
    reach = temperature * math.log(size / torch.finfo(s.dtype).eps)
    blocks = [slice(start, min(start + _BLOCK, size)) for start in range(0, size, _BLOCK)]
    edges = [(float(s[b.start]), float(s[b.stop - 1])) for b in blocks]
    for i, upper in enumerate(blocks):
        for j in range(i, len(blocks)):
            if j > i and edges[i][1] - edges[j][0] > reach:
                break
            yield upper, blocks[j]


def _list_ranks(temperature: float, s: Tensor) -> Tensor:
    """Of a list in falling order: every pair is looked at once, since sigmoid(-x) = 1 - sigmoid(x)."""
    # whoever is in a block above counts one, less the chance of being overtaken
    ranks = wide(torch.arange(len(s)).div(_BLOCK, rounding_mode="floor") * _BLOCK)
    for upper, lower in _meetings(s, temperature):
        above = (s[lower] - s[upper].unsqueeze(-1)).div_(temperature).sigmoid_()
        ranks[upper] += above.sum(1)
        if upper != lower:
            ranks[lower] -= above.sum(0)
    return (ranks + 0.5).to(s.dtype)


def _list_slope(temperature: float, s: Tensor, grad: Tensor) -> Tensor:
    """Of a list in falling order: sigmoid' is even, what it multiplies is odd."""
    slope = wide(torch.zeros_like(s))
    for upper, lower in _meetings(s, temperature):
        drawn = _drawn(s[lower] - s[upper].unsqueeze(-1), grad[lower] - grad[upper].unsqueeze(-1), temperature)
        slope[upper] += drawn.sum(1)
        if upper != lower:
            slope[lower] -= drawn.sum(0)
    return (slope / temperature).to(s.dtype)


# h_i = sigmoid((s_i - t) / T), t such that sum_i h_i = k
def soft_top(scores: Tensor, valid: Tensor, k: int, temperature: float) -> Tensor:
    """How much each item is among the ``k`` best: numbers in [0, 1] that add up to k, equal for equal scores.

    The threshold t belongs to the whole list, and its derivative to that of h. With no more than ``k`` valid items all are 1.
    Time and memory O(n).

    Shape:      scores (B, L), valid (B, L) bool -> (B, L) of the scores' dtype, 0 where not valid
    Reference:  Amos, Koltun, Kolter 2019, The Limited Multi-Label Projection Layer, arXiv:1906.08707
    """
    if scores.shape[-1] <= k:
        return torch.where(valid, scores * 0 + 1, 0)
    some = valid.sum(-1, keepdim=True) > k
    s = torch.where(valid, wide(scores), -torch.inf)
    s = torch.where(some, s, 0)
    t = _threshold(s.detach(), k, temperature)
    for _ in range(2):  # one step has the first derivative of the root, two have the second as well
        inside = torch.sigmoid((s - t) / temperature)
        steep = (inside * torch.sigmoid((t - s) / temperature)).sum(-1, keepdim=True)
        flat = steep < 1e-12  # nobody is near the threshold: wherever it is, and whoever moves it
        t = t + torch.where(flat, 0, inside.sum(-1, keepdim=True) - k) * temperature / torch.where(flat, 1, steep)
    inside = torch.where(some, torch.sigmoid((s - t) / temperature), 1)
    return torch.where(valid, inside, 0).to(scores.dtype)


def _threshold(s: Tensor, k: int, temperature: float) -> Tensor:
    """The t of ``soft_top``, nearly: it is not far above the k-th item, nor far below the next."""
    last, size = s.gather(-1, order(s, descending=True)[..., k - 1 : k + 1]), s.shape[-1]
    # with h of the k-th at 1 / (n - k + 1) the others at and below it add up to 1 at most; from below it is the same
    low = last[..., 1:] - temperature * math.log(k) - temperature
    high = last[..., :1] + temperature * math.log(size - k) + temperature
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        many = torch.sigmoid((s - middle) / temperature).sum(-1, keepdim=True) > k
        low, high = torch.where(many, middle, low), torch.where(many, high, middle)
    return (low + high) / 2
