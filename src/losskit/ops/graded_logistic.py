"""Logistic and soft zero-one losses over all pairs of a long list of few grades: O(n) time and memory after a sort."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .list_tiles import Call, Sums
from .logistic_pairs import FAR, LOGISTIC, Curve, Entries, entries, over_cells

__all__ = ["graded"]

_LONG = 2048  # shorter lists are done as soon by tiles
_GRADES = 256
_SPREAD = 4096  # of whole grades, up to which they are counted and not sorted
_FINITE = 1e300  # NaN, infinity and what may become one are shown by tiles
_ROWS = 1 << 15  # cells times grades that any list may have: 3 MiB a table
# nanoseconds, measured: of the pairs of cells of one distance, of each grade of a cell in them, and of a pair of items in a tile
_DISTANCE, _ROW, _PAIR = 40_000, 30, 0.25


def _steepness(d: Tensor) -> Tensor:
    return torch.sigmoid(d) * torch.sigmoid(-d)


_CURVES = {"logistic": LOGISTIC, "soft_zero_one": Curve(torch.sigmoid, _steepness, False)}


def graded(call: Call) -> Sums | None:
    """The sums of a call and their gradients by moments of cells, or None where tiles are better.

    That is for short lists, many grades, scores spread over more cells than there are items, Lambda, topk, and other devices.
    """
    batch, size = call.scores.shape
    if call.form not in _CURVES or call.lam is not None or call.topk is not None or not batch or size < _LONG:
        return None
    if call.scores.device.type != "cpu":  # whether it pays is a matter of values
        return None
    value, gradient = call.scores.new_zeros(batch, dtype=torch.float64), torch.zeros_like(call.scores)
    for b in range(batch):
        found = _one_list(call, b, gradient[b])
        if found is None:
            return None
        value[b] = found
    return Sums(value, gradient)


class _Levels(NamedTuple):
    """Which items of a list have a grade, and which of the ``number`` grades from the lowest."""

    place: Tensor
    level: Tensor
    number: int


def _levels(relevance: Tensor, valid: Tensor) -> _Levels | None:
    """None where they are too many."""
    # a NaN is more relevant than nothing
    place = (valid & (relevance == relevance)).nonzero()[:, 0]
    y = relevance[place]
    if not len(y):
        return _Levels(place, place, 0)
    low, high = (float(t) for t in y.aminmax())
    if high - low < _SPREAD and bool((y == y.floor()).all()):
        level = (y - low).int()
        present = torch.bincount(level) > 0
        level, number = (present.cumsum(0, dtype=torch.int32) - 1)[level], int(present.sum())
    else:
        if len(y[: 4 * _GRADES].unique()) > _GRADES:
            return None
        grades, level = y.unique(return_inverse=True)
        number = len(grades)
    return _Levels(place, level.int(), number) if number <= _GRADES else None


def _pays(at: Entries, half: bool) -> bool:
    size, rows = len(at.place), len(at.number) * at.groups * (2 if half else 1)
    distances = 2 * min(int(at.step[-1]), FAR) + 1
    return rows <= max(size, _ROWS) and distances * (_DISTANCE + _ROW * rows) < _PAIR * size**2


def _one_list(call: Call, b: int, gradient: Tensor) -> Tensor | None:
    """The sum of one list, its gradient added to ``gradient``."""
    levels = _levels(call.relevance[b], call.valid[b])
    if levels is None or not levels.number:
        return None if levels is None else gradient.new_zeros((), dtype=torch.float64)
    scores = call.scores[b][levels.place].double()
    if not float(scores.abs().amax()) < _FINITE:
        return None
    at = entries(scores, levels.level, levels.number)
    if not _pays(at, call.half):
        return None
    weight = None if call.weight is None else call.weight[b][levels.place][at.place].double()
    value, slope = _summed(call, at, weight, torch.bincount(levels.level, minlength=levels.number))
    gradient[levels.place[at.place]] = slope.to(gradient.dtype)
    return value


# L = sum_g m_g^w . sum_{h < g} m_h, the moments of a grade's items with their weight, and of the items below it, which count 1.
# A tie counts (l(d) + l(-d)) / 2 (w_i + w_j) / 2: m_g^w . m_g / 4 + m_g . m_g^w / 4, less each item with itself
def _summed(call: Call, at: Entries, weight: Tensor | None, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The sum, and its derivative by each entry."""
    curve, grades = _CURVES[call.form], at.groups
    counted = at.moments()
    weighed = counted if weight is None else at.moments(weight)
    if not call.half:
        value, by_up, by_down = over_cells(curve, at, weighed, _below(counted))
        return value, _series(at, _above(by_down), -by_up, weight)
    quarter = (counts > 1).to(counted.dtype)[:, None] / 4
    lower = torch.cat([_below(counted) + quarter * counted, quarter * weighed], 1)
    value, by_up, by_down = over_cells(curve, at, torch.cat([weighed, counted], 1), lower)
    plain = _above(by_down[:, :grades]) + quarter * by_down[:, :grades] - by_up[:, grades:]
    itself = 2 * curve.value(value.new_zeros(())) * (quarter * weighed[..., :1]).sum()
    return value - itself, _series(at, plain, quarter * by_down[:, grades:] - by_up[:, :grades], weight)


def _series(at: Entries, plain: Tensor, weighed: Tensor, weight: Tensor | None) -> Tensor:
    if weight is None:
        return at.series(plain + weighed)
    return at.series(plain).addcmul_(at.series(weighed), weight)


def _below(t: Tensor) -> Tensor:
    """(c, g, k): the sum over the grades below."""
    return F.pad(t[:, :-1].cumsum(1), (0, 0, 1, 0))


def _above(t: Tensor) -> Tensor:
    return _below(t.flip(1)).flip(1)
