"""Hinges of all pairs of short lists, as a table of pairs: there it is faster than sorting."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["Table", "dense_total", "dense_total_and_slope", "graded_table", "tied_table"]

Compare = Callable[[Callable[..., Tensor], Tensor, Tensor], Tensor]
Table = Callable[..., Tensor]
"""Of (compare, scores, relevance, valid, weight, ...): what each pair (i, j) counts, (B, L, L)."""

_BLOCK = 2**16  # pairs of a core at a time: 256 KB in float32, which stay in its cache
_CUDA_BLOCK = 2**24


def graded_table(
    compare: Compare,
    scores: Tensor,
    relevance: Tensor,
    valid: Tensor,
    weight: Tensor | None = None,
    gain: Tensor | None = None,
    ordered: Tensor | None = None,
    swapped: Tensor | None = None,
    tied: Tensor | None = None,
) -> Tensor:
    """What a pair counts of which the first item has the higher grade."""
    grade = torch.where(valid, relevance, torch.nan)  # compares as False
    counts = compare(torch.gt, grade.unsqueeze(-1), grade.unsqueeze(-2))
    if weight is not None:
        counts = counts * torch.where(valid, weight, 0).unsqueeze(-1)
    if gain is None:
        return counts
    factor = gain.unsqueeze(-1) - gain.unsqueeze(-2)
    if ordered is not None and swapped is not None and tied is not None:
        i, j = scores.unsqueeze(-1), scores.unsqueeze(-2)
        right = ordered.unsqueeze(-1) - ordered.unsqueeze(-2)
        wrong = swapped.unsqueeze(-2) - swapped.unsqueeze(-1)
        factor = factor * torch.where(i > j, right, torch.where(i < j, wrong, tied.unsqueeze(-1)))
    return counts * factor.to(counts.dtype)


def tied_table(compare: Compare, scores: Tensor, relevance: Tensor, valid: Tensor, weight: Tensor | None = None) -> Tensor:
    """Half of what a pair of two items of one grade counts: it stands in the table twice."""
    grade = torch.where(valid, relevance, torch.nan)
    other = 1 - torch.eye(scores.shape[-1], dtype=scores.dtype, device=scores.device)
    counts = compare(torch.eq, grade.unsqueeze(-1), grade.unsqueeze(-2)) * other
    if weight is None:
        return counts / 2
    weight = torch.where(valid, weight, 0) / 4
    return counts * (weight.unsqueeze(-1) + weight.unsqueeze(-2))


def dense_total(table: Table, margin: float, power: int, scores: Tensor, *others: Tensor | None) -> Tensor:
    """The sum (B,) over pairs of table_ij max(0, margin - (s_i - s_j))^power, by autograd."""

    def compare(test: Callable[..., Tensor], left: Tensor, right: Tensor) -> Tensor:
        return test(left, right).to(scores.dtype)

    counts = table(compare, scores.detach(), *others)
    short = torch.relu(margin - (scores.unsqueeze(-1) - scores.unsqueeze(-2)))
    return (counts * (short if power == 1 else short * short)).sum((-2, -1))


def dense_total_and_slope(
    table: Table, margin: float, power: int, scores: Tensor, *others: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The same with its derivative (B, L), some lists at a time."""

    def compare(test: Callable[..., Tensor], left: Tensor, right: Tensor) -> Tensor:
        shape = torch.broadcast_shapes(left.shape, right.shape)
        return test(left, right, out=scores.new_empty(shape))  # twice as fast as numbers made of booleans

    lists, size = scores.shape
    at_once = _BLOCK * torch.get_num_threads() if scores.device.type == "cpu" else _CUDA_BLOCK
    block = max(1, at_once // max(size * size, 1))
    total, slope = scores.new_empty(lists), torch.empty_like(scores)
    for begin in range(0, lists, block):
        part = slice(begin, begin + block)
        some, *rest = (None if t is None else t[part] for t in (scores, *others))
        assert some is not None
        short = torch.rsub(some.unsqueeze(-1) - some.unsqueeze(-2), margin).relu_()
        pull = table(compare, some, *rest).mul_(short.sign() if power == 1 else short)
        total[part] = short.mul_(pull).flatten(1).sum(-1)
        torch.sub(pull.sum(-2), pull.sum(-1), out=slope[part])
    return total, slope.mul_(power)
