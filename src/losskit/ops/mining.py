"""Which triplets the anchors of a tile make, what they sum to, and what each distance has to do with it."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .extremes import Tile

__all__ = ["Form", "Mined", "Mining", "chosen_negatives", "mined", "passed", "triplet_value"]

Mining = Literal["all", "semihard", "hard_negative_all_positive"]


class Form(NamedTuple):
    """What a triplet costs: (gap + margin)+ of the gap d(a, p) - d(a, n), or ln(1 + e^gap) if ``soft``."""

    mining: Mining
    margin: float
    soft: bool


class Mined(NamedTuple):
    """Of the anchors of a tile, each (T,)."""

    sums: Tensor
    active: Tensor
    """How many triplets cost something."""
    number: Tensor
    """How many triplets there are."""
    slope: Tensor
    """(T, N) the derivative of the sums by the distances."""


def triplet_value(gap: Tensor, form: Form) -> Tensor:
    """What triplets of these gaps cost."""
    return -F.logsigmoid(-gap) if form.soft else torch.relu(gap + form.margin)


def mined(tile: Tile, form: Form) -> Mined:
    """The triplets of a tile."""
    if form.mining != "all":
        return _listed(tile, form)
    return _all_soft(tile) if form.soft else _all_hinge(tile, form.margin)


def chosen_negatives(tile: Tile, mining: Mining) -> Tensor:
    """The negative's column for the positive of each slot, (T, W).

    Semi-hard: the nearest of those that are farther than the positive; if there are none, the farthest of all.
    """
    others = torch.where(tile.other, tile.distances, torch.inf)
    if mining == "hard_negative_all_positive":
        return others.argmin(1, keepdim=True).expand(tile.slots.shape)
    others, column = others.sort(1)
    farther = torch.searchsorted(others, tile.distances.gather(1, tile.slots), right=True)
    last = tile.other.sum(1, keepdim=True) - 1
    return column.gather(1, torch.minimum(farther, last).clamp(min=0))


def _listed(tile: Tile, form: Form) -> Mined:
    """One triplet for each positive."""
    counts = tile.same & tile.other.any(1, keepdim=True)
    negative = chosen_negatives(tile, form.mining)
    gap = tile.distances.gather(1, tile.slots) - tile.distances.gather(1, negative)
    value = torch.where(counts, triplet_value(gap, form), 0)
    active = counts if form.soft else ~(value <= 0)  # a NaN is to be seen
    steep = torch.where(counts, torch.sigmoid(gap), 0) if form.soft else active.to(gap.dtype)
    slope = torch.zeros_like(tile.distances)
    slope.scatter_add_(1, tile.slots, steep).scatter_add_(1, negative, -steep)
    return Mined(value.sum(1), active.sum(1), counts.sum(1), slope)


def passed(edges: Tensor, values: Tensor) -> Tensor:
    """How many of the sorted edges of its row each value has reached: (T, W), (T, N) -> (T, N) int64."""
    if edges.device.type != "cpu":
        return torch.searchsorted(edges, values, right=True)
    # halving the range of all values at once takes 14 ns of each (W = 64); torch.searchsorted guesses branches, and takes 36
    width = edges.shape[1]
    step = 1 << max(width.bit_length() - 1, 0)
    edges = torch.cat([edges, edges.new_full((len(edges), 2 * step - width), torch.nan)], 1)  # which nothing reaches
    found = torch.zeros(values.shape, dtype=torch.int64)
    while step:
        beyond = edges[:, step - 1 :].gather(1, found) <= values
        found.add_(beyond.to(torch.int64), alpha=step)
        step //= 2
    return found


def _all_hinge(tile: Tile, margin: float) -> Mined:
    """Every positive with every negative, in N log P for an anchor of P positives.

    With the positives' d + margin sorted as q, a negative at d is in #{q > d} triplets that cost something, and q_i in as
    many as there are negatives below it: sum = #q - #d, and these numbers are the slope.
    """
    reach = torch.where(tile.same, tile.distances.gather(1, tile.slots) + margin, -torch.inf)
    reach, order = reach.sort(1)
    others = torch.where(tile.other, tile.distances, torch.inf)
    satisfied = passed(reach, others)  # positives that are nearer by the margin, of each negative
    width = reach.shape[1]
    bins = satisfied.new_zeros(len(reach), width + 1)
    bins.scatter_add_(1, satisfied, satisfied.new_ones(()).expand_as(satisfied))
    pushed = bins.cumsum(1)[:, :width].to(reach.dtype)
    slope = satisfied.sub_(width).to(reach.dtype)
    sums = (pushed * torch.where(reach == -torch.inf, 0, reach)).sum(1) + (slope * tile.distances).sum(1)
    slope.scatter_add_(1, tile.slots.gather(1, order), pushed)
    count = tile.same.sum(1) * tile.other.sum(1)
    active = torch.where(sums == sums, pushed.sum(1), count)  # what a NaN hides is not known
    # the two sums of a triplet that costs next to nothing differ by their rounding
    return Mined(sums.clamp(min=0), active, count, slope)


def _all_soft(tile: Tile) -> Mined:
    """Every positive with every negative, one positive of each anchor at a time."""
    near = tile.distances.gather(1, tile.slots)
    sums, slope = torch.zeros_like(near[:, 0]), torch.zeros_like(tile.distances)
    for i in range(tile.slots.shape[1]):
        counts = tile.other & tile.same[:, i : i + 1]
        gap = near[:, i : i + 1] - tile.distances
        sums += torch.where(counts, -F.logsigmoid(-gap), 0).sum(1)
        steep = torch.where(counts, torch.sigmoid(gap), 0)
        slope.sub_(steep).scatter_add_(1, tile.slots[:, i : i + 1], steep.sum(1, keepdim=True))
    count = tile.same.sum(1) * tile.other.sum(1)
    return Mined(sums, count, count, slope)
