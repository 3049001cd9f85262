"""The logistic loss of all pairs of a positive and a negative: O(n) time and memory after a sort, to the last digits."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import apply, define, second
from .list_ranks import order

__all__ = ["binary_logistic"]

_DIRECT = 1024  # so few scores are done sooner pair by pair
_WIDTH = 0.5  # of a cell; a power of two, so that cutting a score into cell and rest is exact
# The poles at i pi are 4 pi half-cells off the real line: terms fall by 4 pi + sqrt(1 + 16 pi^2) = 25 each, and 25^-12 = 2e-17.
_TERMS = 12
_LOW = int(746 / _WIDTH)  # cells down to where log(1 + e^d) = e^d leaves the floats
_HIGH = int(41 / _WIDTH)  # cells up to where log(1 + e^d) = d + 4e-18


# Scores fall into cells; within one, t in [-1, 1] says where. In two cells D apart, s_j - s_i = D + w (t_j - t_i) / 2, and the
# loss of a pair is an analytic function of both t: it is sum_kl C_kl(D) T_k(t_j) T_l(t_i) with Chebyshev's polynomials, to the
# last digit. So L = sum over cells of m(j)^T C(D) m(i) with moments m_k = sum of weights times T_k(t) of the members of a cell,
# and dL/ds of an entry is a polynomial of its t. Cells far apart have L = d (their moments 0 and 1) or nothing.
def binary_logistic(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """The sum over all pairs of p_i n_j log(1 + exp(s_j - s_i)).

    The difference of two scores is exact only in a dtype with digits to spare: hand over float64. CUDA waits for the number of
    cells. Second derivatives come from the table of all pairs.

    Shape:      scores (n,), finite, positive (n,) weights, 0 at what is no positive, negative (n,) likewise -> ()
    """
    if len(scores) <= _DIRECT:
        return _formula(scores, positive, negative)
    value: Tensor = apply(_Sum, scores, positive, negative)[0]
    return value


def _formula(scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    pairs = positive[:, None] * negative
    return (pairs * -F.logsigmoid(scores[:, None] - scores)).sum()


class _Side(NamedTuple):
    """The scores of one class, cell by cell."""

    place: Tensor
    """(m,) where in the batch"""
    weight: Tensor
    inside: Tensor
    """t"""
    sizes: Tensor
    """(c,) how many scores each cell has"""
    number: Tensor
    """(c,) which cell, rising"""

    def moments(self) -> Tensor:
        """(c, _TERMS): the sums of weight times T_k."""
        last, now, twice = self.weight, self.weight * self.inside, 2 * self.inside
        found = [torch.segment_reduce(t, "sum", lengths=self.sizes) for t in (last, now)]
        for _ in range(_TERMS - 2):
            last, now = now, (twice * now).sub_(last)
            found.append(torch.segment_reduce(now, "sum", lengths=self.sizes))
        return torch.stack(found, -1)

    def series(self, coefficients: Tensor) -> Tensor:
        """(m,): weight times the sum over k of T_k times the coefficients (c, _TERMS) of each score's cell, by Clenshaw's way."""
        above, last, twice = torch.zeros_like(self.inside), torch.zeros_like(self.inside), 2 * self.inside
        for k in range(_TERMS - 1, 0, -1):
            above, last = self._each(coefficients[:, k]).addcmul_(twice, above).sub_(last), above
        return self._each(coefficients[:, 0]).addcmul_(self.inside, above).sub_(last).mul_(self.weight)

    def _each(self, of_cells: Tensor) -> Tensor:
        return of_cells.repeat_interleave(self.sizes, output_size=len(self.inside))


def _side(scores: Tensor, weight: Tensor) -> _Side:
    there = weight.nonzero()[:, 0]
    s = scores[there] / _WIDTH
    at = order(s)
    s, place = s[at], there[at]
    floor = s.floor()
    number, sizes = floor.unique_consecutive(return_counts=True)
    return _Side(place, weight[place], 2 * (s - floor) - 1, sizes, number)


class _Class(NamedTuple):
    """The cells of one class, in rising order."""

    number: Tensor
    """(c,) counted from the lowest cell of both classes"""
    step: Tensor
    """(c,) int64: the same, without gaps wider than what matters, and so whole even where a score is beyond all integers"""
    moments: Tensor
    """(c, _TERMS)"""
    slope: Tensor
    """(c, _TERMS), added to: the series of the derivative"""


def _kernel(scores: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """The sum and its gradient."""
    slope, sides = torch.zeros_like(scores), (_side(scores, positive), _side(scores, negative))
    if not all(len(side.place) for side in sides):
        return slope.sum(), slope
    every = torch.cat([side.number for side in sides]).unique()
    step = (every - every.roll(1)).clamp(0, 2 * _LOW).long().cumsum(0)
    up, down = (
        _Class(side.number - every[0], step[torch.searchsorted(every, side.number)], m := side.moments(), torch.zeros_like(m))
        for side in sides
    )
    value = _near(up, down, int(step[-1])) + _far(up, down)
    for side, cells, sign in zip(sides, (up, down), (-1, 1), strict=True):
        slope[side.place] = sign * side.series(cells.slope)
    return value, slope


def _tables(apart: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    """C(D) of log(1 + e^d) and of its derivative, (d, _TERMS of the negative, _TERMS of the positive)."""
    term = torch.arange(_TERMS, dtype=like.dtype, device=like.device)
    angle = (term + 0.5) * (math.pi / _TERMS)
    node, terms = angle.cos(), (term[:, None] * angle).cos() * (2 / _TERMS)
    terms[0] /= 2
    d = _WIDTH * (apart[:, None, None] + (node[:, None] - node) / 2)
    return terms @ -F.logsigmoid(-d) @ terms.T, terms @ torch.sigmoid(d) @ terms.T


def _near(up: _Class, down: _Class, span: int) -> Tensor:
    """The sum over pairs whose cells are not far apart, by how far they are."""
    value, last = up.moments.new_zeros(()), len(up.step) - 1
    apart = torch.arange(-min(span, _LOW), min(span, _HIGH) + 1, device=up.step.device)
    for d, values, slopes in zip(apart, *_tables(apart, value), strict=True):
        wanted = down.step - d
        at = torch.searchsorted(up.step, wanted).clamp(max=last)
        meets = (up.step[at] == wanted)[:, None]
        partner = torch.where(meets, up.moments[at], 0)
        value += (down.moments * (partner @ values.T)).sum()
        down.slope.add_(partner @ slopes.T)
        up.slope.index_add_(0, at, torch.where(meets, down.moments @ slopes, 0))
    return value


def _far(up: _Class, down: _Class) -> Tensor:
    """The sum over pairs whose negative is so far above that the loss is the difference, and the derivative 1."""
    below = torch.searchsorted(up.step, down.step - _HIGH)
    mass, first, where = (
        F.pad(t.cumsum(0), (1, 0))[below] for t in (up.moments[:, 0], up.moments[:, 1], up.moments[:, 0] * up.number)
    )
    own, own_first = down.moments[:, 0], down.moments[:, 1]
    down.slope[:, 0] += mass
    above = torch.searchsorted(down.step, up.step + _HIGH, right=True)
    up.slope[:, 0] += F.pad(own.flip(0).cumsum(0).flip(0), (0, 1))[above]
    return _WIDTH * (own * (down.number * mass - where) + (own_first * mass - own * first) / 2).sum()


def _shape(scores: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    return scores.new_empty(()), torch.empty_like(scores)


_sum = define("logistic_pairs", "(Tensor scores, Tensor positive, Tensor negative) -> (Tensor, Tensor)", _kernel, _shape)


class _Sum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, positive: Tensor, negative: Tensor) -> Any:
        return _sum(scores, positive, negative)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(output[1], *inputs)
        ctx.mark_non_differentiable(output[1])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        slope, *given = ctx.saved_tensors
        if grads[0] is None:
            return None, None, None
        if torch.compiler.is_compiling():
            return grads[0] * slope, None, None
        return apply(_Slope, grads[0], slope, *given), None, None


class _Slope(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(by: Tensor, slope: Tensor, scores: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        return by * slope

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        by, _, *given = inputs
        ctx.save_for_backward(by, *given)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *given = ctx.saved_tensors
        (ups,), (scores, *_) = second(lambda *t: (_formula(*t),), given, (True, False, False), (by,), grads)
        return ups, None, scores, None, None
