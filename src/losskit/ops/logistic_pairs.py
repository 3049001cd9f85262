"""The logistic loss of all pairs of a positive and a negative: O(n) time and memory after a sort, to the last digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from .autograd import apply, define, second

__all__ = ["FAR", "LOGISTIC", "Curve", "Entries", "binary_logistic", "entries", "over_cells"]

_DIRECT = 1024  # so few scores are done sooner pair by pair
_WIDTH = 0.5  # of a cell; a power of two, so that cutting a score into cell and rest is exact
# The poles at i pi are 4 pi half-cells off the real line: terms fall by 4 pi + sqrt(1 + 16 pi^2) = 25 each, and 25^-12 = 2e-17.
_TERMS = 12
FAR = int(41 / _WIDTH)  # cells from where log(1 + e^d) = d + 4e-18, and log(1 + e^-d) = e^-d but for a share of 1e-18
_NOTHING = int(746 / _WIDTH)  # cells from where e^-d is below all floats
_FEW = 1 << 12  # cells, or a quarter of the scores, that are taken one after the other, empty or not
_RUN = 512  # numbers added one after the other; a longer sum is one of such sums, so that its rounding stays small


class Curve(NamedTuple):
    """A loss of d = s_j - s_i: e^d far below 0, and far above it either d or 1."""

    value: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    rises: bool
    """Whether it goes on as d."""


def _loss(d: Tensor) -> Tensor:
    return -F.logsigmoid(-d)


LOGISTIC = Curve(_loss, torch.sigmoid, True)


# Scores fall into cells; within one, t in [-1, 1] says where. In two cells D apart, s_j - s_i = D + w (t_j - t_i) / 2, and the
# loss of a pair is an analytic function of both t: it is sum_kl C_kl(D) T_k(t_j) T_l(t_i) with Chebyshev's polynomials, to the
# last digit. So L = sum over cells of m(j)^T C(D) m(i) with moments m_k = sum of weights times T_k(t) of the members of a cell,
# and dL/ds of an entry is a polynomial of its t. Cells far apart have L = d (their moments 0 and 1) or e^d, a product.
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


class Entries(NamedTuple):
    """Scores in the order of their cells, and within a cell of their groups."""

    place: Tensor
    """(m,) where each came from"""
    inside: Tensor
    """(m,) t"""
    bucket: Tensor
    """(m,) cell times groups plus group"""
    lengths: tuple[Tensor, Tensor]
    """How many entries each run has, and how many runs each bucket has"""
    groups: int
    number: Tensor
    """(c,) float64: the cells, rising"""
    step: Tensor
    """(c,) int64: the same from 0, gaps cut to what matters, and so whole even where a score is beyond all integers"""

    def moments(self, weight: Tensor | None = None) -> Tensor:
        """(c, groups, _TERMS): the sums of ``weight`` (m,), which is 1 if left out, times T_k."""
        t = self.inside
        last, now = (torch.ones_like(t), t.clone()) if weight is None else (weight.clone(), weight * t)
        found, twice, spare = [self._sum(last), self._sum(now)], 2 * t, torch.empty_like(t)
        for _ in range(_TERMS - 2):
            last, now, spare = now, torch.mul(twice, now, out=spare).sub_(last), last
            found.append(self._sum(now))
        return torch.stack(found, -1).view(-1, self.groups, _TERMS)

    def _sum(self, each: Tensor) -> Tensor:
        runs, buckets = self.lengths
        return torch.segment_reduce(torch.segment_reduce(each, "sum", lengths=runs), "sum", lengths=buckets)

    def series(self, coefficients: Tensor) -> Tensor:
        """(m,): the sum over k of T_k times the coefficients (c, groups, _TERMS) of each entry's bucket, by Clenshaw's way."""
        t, each = self.inside, coefficients.flatten(0, 1).T.contiguous()
        above, last, spare, twice = torch.zeros_like(t), torch.zeros_like(t), torch.empty_like(t), 2 * t
        for k in range(_TERMS - 1, 0, -1):
            torch.index_select(each[k], 0, self.bucket, out=spare)
            above, last, spare = spare.addcmul_(twice, above).sub_(last), above, last
        torch.index_select(each[0], 0, self.bucket, out=spare)
        return spare.addcmul_(t, above).sub_(last)


def entries(scores: Tensor, group: Tensor, groups: int) -> Entries:
    """Finite scores (m,), at least one, of ``groups`` groups 0, 1, ..."""
    s = scores / _WIDTH
    floor = s.floor()
    inside, (lowest, highest) = (s - floor).mul_(2).sub_(1), floor.aminmax()
    across = float(highest - lowest) + 1
    if across <= max(_FEW, len(s) // 4):
        number, cell = torch.arange(int(across), device=s.device, dtype=s.dtype), floor.sub_(lowest).int()
    else:
        number, cell = floor.unique(return_inverse=True)
    total = len(number) * groups
    bucket = (cell * groups).add_(group)
    sizes = torch.bincount(bucket, minlength=total)
    # a radix sort has fewer digits to look at
    bucket, at = bucket.to(torch.int16 if total < 1 << 15 else torch.int32).sort(stable=True)
    step = number.diff(prepend=number[:1]).clamp(max=2 * _NOTHING).long().cumsum(0)
    return Entries(at, inside[at], bucket.int(), _lengths(sizes), groups, number, step)


def _lengths(sizes: Tensor) -> tuple[Tensor, Tensor]:
    runs = (sizes + (_RUN - 1)) // _RUN
    last = runs.cumsum(0)
    found, full = torch.full((int(last[-1]),), _RUN, device=sizes.device), runs > 0
    found[last[full] - 1] = (sizes - (runs - 1) * _RUN)[full]
    return found, runs


class Slopes(NamedTuple):
    value: Tensor
    up: Tensor
    """(c, p, _TERMS), as ``down``: the series of the derivative by d at a score of this side"""
    down: Tensor


def over_cells(curve: Curve, at: Entries, up: Tensor, down: Tensor) -> Slopes:
    """The sum of the curve over all pairs of ``up`` and ``down``, moments (c, p, _TERMS) of p problems that are added up."""
    found = Slopes(up.new_zeros(()), torch.zeros_like(up), torch.zeros_like(down))
    _near(curve, at.step, up, down, found)
    if int(at.step[-1]) > FAR:
        found.value.add_(_tail(at.step, down, up, found.down, found.up))
        if curve.rises:
            found.value.add_(_line(at, up, down, found))
        else:
            found.value.add_((down[..., 0] * _sums(up[..., 0])[torch.searchsorted(at.step, at.step - FAR)]).sum())
            _tail(at.step, up, down, found.up, found.down)
    return found


def _waves(like: Tensor) -> tuple[Tensor, Tensor]:
    """Chebyshev's nodes (n,), and what makes the coefficients of T_k of a function's values at them (k, n)."""
    term = torch.arange(_TERMS, dtype=like.dtype, device=like.device)
    angle = (term + 0.5) * (math.pi / _TERMS)
    waves = (term[:, None] * angle).cos() * (2 / _TERMS)
    waves[0] /= 2
    return angle.cos(), waves


def _tables(curve: Curve, apart: Tensor, like: Tensor) -> Tensor:
    """C(D) of the loss and of its derivative, (d, 2, _TERMS of the lower item, _TERMS of the upper one)."""
    node, waves = _waves(like)
    d = _WIDTH * (apart[:, None, None] + (node[:, None] - node) / 2)
    return waves @ torch.stack([curve.value(d), curve.slope(d)], 1) @ waves.T


def _near(curve: Curve, step: Tensor, up: Tensor, down: Tensor, found: Slopes) -> None:
    """The pairs whose cells are not far apart, by how far they are."""
    reach = min(int(step[-1]), FAR)
    apart = torch.arange(-reach, reach + 1, device=step.device)
    for (lower, upper), (values, slopes) in zip(_meetings(step, reach), _tables(curve, apart, up), strict=True):
        partner, own = up[upper], down[lower]
        found.value.add_((own @ values).mul_(partner).sum())
        found.down[lower] += partner @ slopes.T
        found.up[upper] += own @ slopes


def _meetings(step: Tensor, reach: int) -> Iterator[tuple[Any, Any]]:
    """For each D the cells, lower item's and upper item's, that are D apart."""
    size = len(step)
    gapless = int(step[-1]) == size - 1
    for d in range(-reach, reach + 1):
        if gapless:
            yield slice(max(d, 0), size + min(d, 0)), slice(max(-d, 0), size - max(d, 0))
            continue
        wanted = step - d
        at = torch.searchsorted(step, wanted).clamp_(max=size - 1)
        lower = (step[at] == wanted).nonzero()[:, 0]
        yield lower, at[lower]


def _line(at: Entries, up: Tensor, down: Tensor, found: Slopes) -> Tensor:
    """The sum over pairs whose lower item is so far above that the loss is the difference, and the derivative 1."""
    below = torch.searchsorted(at.step, at.step - FAR)
    last, number = (below - 1).clamp(min=0), at.number[:, None]
    mass, first = _sums(up[..., 0]), _sums(up[..., 1])[below]
    # sum of (n - n_u) m_u, gap by gap: an outlier of no mass leaves no rounding behind
    climbed, mass = (number.diff(dim=0, prepend=number[:1]) * mass[:-1]).cumsum(0)[last], mass[below]
    cells = climbed + (number - number[last]) * mass
    own, own_first = down[..., 0], down[..., 1]
    found.down[..., 0] += mass
    above = torch.searchsorted(at.step, at.step + FAR, right=True)
    found.up[..., 0] += _sums(own.flip(0)).flip(0)[above]
    return _WIDTH * (own * cells + (own_first * mass - own * first) / 2).sum()


def _sums(t: Tensor) -> Tensor:
    return F.pad(t.cumsum(0), (0, 0, 1, 0))


# e^-(s_i - s_j) = e^-(cells between) e^-(t_i w / 2) e^(t_j w / 2)
def _tail(step: Tensor, low: Tensor, high: Tensor, to_low: Tensor, to_high: Tensor) -> Tensor:
    """The sum of exp(-(s_i - s_j)) over i of ``high`` far above j of ``low``, added to the series of both sides."""
    node, waves = _waves(low)
    rise, fall = (waves @ (sign * _WIDTH / 2 * node).exp() for sign in (1, -1))
    lows, highs = low @ rise, high @ fall
    under, over = _decayed(step, lows), _decayed(-step.flip(0), highs.flip(0)).flip(0)
    to_high.add_(under[..., None] * fall)
    to_low.add_(over[..., None] * rise)
    return (under * highs).sum()


def _decayed(step: Tensor, values: Tensor) -> Tensor:
    """At each cell the sum of the values far below times e^-distance, by doubling: no term is negative."""
    total, reach, height = values, 1, (_WIDTH * step.to(values.dtype))[:, None]
    while reach < min(len(step), _NOTHING):
        decay = (height[:-reach] - height[reach:]).exp_()
        total = torch.cat([total[:reach], torch.addcmul(total[reach:], decay, total[:-reach])])
        reach *= 2
    last = torch.searchsorted(step, step - FAR) - 1
    return torch.where((last >= 0)[:, None], (height[last] - height).exp_() * total[last], 0)


def _kernel(scores: Tensor, positive: Tensor, negative: Tensor) -> tuple[Tensor, Tensor]:
    """The sum and its gradient."""
    slope, sides = torch.zeros_like(scores), [weight.nonzero()[:, 0] for weight in (positive, negative)]
    if not all(len(side) for side in sides):
        return slope.sum(), slope
    place, weight = torch.cat(sides), torch.cat([positive[sides[0]], negative[sides[1]]])
    group = (torch.arange(len(place), device=place.device) >= len(sides[0])).int()
    at = entries(scores[place], group, 2)
    weight = weight[at.place]
    up, down = (side.contiguous() for side in at.moments(weight).split(1, 1))
    value, by_up, by_down = over_cells(LOGISTIC, at, up, down)
    slope.index_add_(0, place[at.place], at.series(torch.cat([-by_up, by_down], 1)).mul_(weight))
    return value, slope


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
