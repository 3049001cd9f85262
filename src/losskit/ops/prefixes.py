"""Log-sum-exp over all pairs for several prefixes of the features at once: scores of a prefix go on from those of the last."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.check import peek
from .autograd import apply, as_given, define, second
from .blocks import slabs
from .logsum import log_sum_where
from .pair_lse import PLAIN
from .pair_sets import Uncounted, Who, counted
from .pairs import Pairs, pair_logsumexp

__all__ = ["Prefixes", "prefix_logsumexp", "prefix_sums"]

_MEMORY = 16 << 20  # bytes of tiles: with one sheet a prefix, a smaller one costs the products more than the cache gives back
_SCALED = 80.0  # and one over that sum may be multiplied by factors up to this logarithm


class Prefixes(NamedTuple):
    """The score of a pair over the first ``dims[k]`` features is ``a[k, i] b[k, j]`` times the product of these."""

    x: Tensor
    """(N, D), float32 or float64, D = dims[-1]"""
    y: Tensor
    """(M, D), of the dtype of ``x``"""
    a: Tensor
    """(K, N), of the dtype of ``x``"""
    b: Tensor
    """(K, M)"""
    who: Who
    """Pairs of different ids."""
    dims: Sequence[int]
    """K numbers of features, increasing."""
    narrow: str = ""
    """As that of :class:`.pairs.Pairs`."""

    def pairs(self, k: int) -> Pairs:
        """The pairs of one prefix."""
        part = slice(self.dims[k])
        return Pairs(self.x[:, part] * self.a[k, :, None], self.y[:, part] * self.b[k, :, None], self.who, self.narrow)


def prefix_logsumexp(given: Prefixes, *, columns: bool = False) -> tuple[Tensor, Tensor]:
    """log-sum-exp over the pairs that count, for every prefix of every row (K, N) and, with ``columns``, column (K, M).

    In float64; -inf where there is no pair, without a gradient. On CPU one pass: N M D multiplications forward and three
    times that backward, however many prefixes, where scores fit plain exponentials. Else each prefix by itself.
    """
    if torch.compiler.is_compiling() or not peek(_plain(given)):
        rows, cols = zip(*(pair_logsumexp(given.pairs(k), columns=columns) for k in range(len(given.dims))), strict=True)
        return torch.stack(rows), torch.stack(cols)
    x, y, a, b, who, dims = given[:6]
    found: tuple[Tensor, Tensor] = apply(_Lse, x, y, a, b, *who[:4], list(dims), columns)
    return found


def prefix_sums(values: Tensor, dims: Sequence[int]) -> Tensor:
    """(N, D) -> (K, N): of every row the sum of the first ``dims[k]`` numbers, in float64."""
    return torch.stack([values[:, part].sum(1, dtype=torch.float64) for part in _parts(dims)]).cumsum(0)


def _plain(given: Prefixes) -> Tensor:
    """Whether exponentials of all scores, times the factors, are float32; a NaN says no. Looked at on CPU only."""
    x, y, a, b = (t.detach() for t in given[:4])
    if x.device.type != "cpu" or given.who.same or not (len(x) and len(y)):
        return torch.tensor(False)
    largest = (a.abs() * _lengths(x, given.dims)).amax(1) * (b.abs() * _lengths(y, given.dims)).amax(1)
    factors = (a.abs().amax(1) * b.abs().amax(1)).log()
    return (largest <= PLAIN).all() & (largest + factors.abs() <= _SCALED).all()


def _lengths(rows: Tensor, dims: Sequence[int]) -> Tensor:
    """The length of every prefix of every row, (K, N)."""
    return prefix_sums(rows.square(), dims).sqrt()


def _parts(dims: Sequence[int]) -> Iterator[slice]:
    """The features that each prefix has beyond the last."""
    for start, stop in zip([0, *dims], dims, strict=False):
        yield slice(start, stop)


class _Tiles:
    """Tiles of pairs, and a sheet of products for each prefix of a tile."""

    def __init__(self, x: Tensor, y: Tensor, dims: Sequence[int], sheets: int) -> None:
        side = max(16, int((_MEMORY / (sheets * x.element_size())) ** 0.5))
        tall = max(1, min(len(x), side))
        self.x, self.y, self.parts = x, y, list(_parts(dims))
        self.tall, self.wide = tall, max(1, min(len(y), side * side // tall))
        self.buffers = x.new_empty(sheets, self.tall * self.wide)

    def __iter__(self) -> Iterator[tuple[slice, slice, list[Tensor]]]:
        for rows in slabs(len(self.x), self.tall):
            for cols in slabs(len(self.y), self.wide):
                shape = (rows.stop - rows.start, cols.stop - cols.start)
                yield rows, cols, [buffer[: shape[0] * shape[1]].view(shape) for buffer in self.buffers]

    def go_on(self, rows: slice, cols: slice, k: int, sheet: Tensor, last: Tensor | None) -> None:
        """The products of prefix ``k`` from those of the last one."""
        x, y = self.x[rows, self.parts[k]], self.y[cols, self.parts[k]].T
        if last is None:
            torch.mm(x, y, out=sheet)
        elif last is sheet:
            sheet.addmm_(x, y)
        else:
            torch.addmm(last, x, y, out=sheet)


def _lse(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    (*ids, dims, columns) = given
    who = Who(ids[0], ids[1], ids[2], ids[3], False)
    hidden, tiles = Uncounted(who), _Tiles(x, y, dims, 2)
    rows, cols = x.new_zeros(a.shape), x.new_zeros(len(b), len(y) if columns else 0)
    for at, on, (products, scores) in tiles:
        for k in range(len(dims)):
            tiles.go_on(at, on, k, products, products if k else None)
            _exponentials(products, a[k, at], b[k, on], scores)
            hidden.hide(scores, at, on, 0.0)
            rows[k, at] += scores.sum(1)
            if columns:
                cols[k, on] += scores.sum(0)
    return rows.double().log(), cols.double().log()


def _exponentials(products: Tensor, a: Tensor, b: Tensor, out: Tensor) -> Tensor:
    return torch.mul(products, a[:, None], out=out).mul_(b).exp_()


def _lse_gradient(by_rows: Tensor, by_cols: Tensor, rows: Tensor, cols: Tensor, *given: Any) -> tuple[Tensor, ...]:
    x, y, a, b, *rest = given
    who, (dims, needs) = Who(rest[0], rest[1], rest[2], rest[3], False), rest[4:]
    # of each row (column) what an exponential counts for, by both factors
    shares = [(by * (-torch.where(t == -torch.inf, 0, t)).exp()).to(x.dtype) for by, t in ((by_rows, rows), (by_cols, cols))]
    left = torch.stack([shares[0] * a, a], 2) if len(cols.T) else (shares[0] * a)[..., None]
    right = torch.stack([b, shares[1] * b], 1) if len(cols.T) else b[:, None]
    dx, dy, da, db = (torch.zeros_like(t) if need else t.new_empty(0) for t, need in zip((x, y, a, b), needs, strict=True))
    hidden, tiles = Uncounted(who), _Tiles(x, y, dims, len(dims) + 3)
    for at, on, sheets in tiles:
        *products, scores, share, total = sheets
        for k in range(len(dims)):
            tiles.go_on(at, on, k, products[k], products[k - 1] if k else None)
        for k in reversed(range(len(dims))):
            e = hidden.hide(_exponentials(products[k], a[k, at], b[k, on], scores), at, on, 0.0)
            last = k == len(dims) - 1
            slope = torch.mm(left[k, at], right[k][:, on], out=total if last else share).mul_(e)
            if not last:
                total.add_(slope)
            if needs[2] or needs[3]:
                by_factor = torch.mul(slope, products[k], out=scores)
                if needs[2]:
                    da[k, at] += by_factor.sum(1)
                if needs[3]:
                    db[k, on] += by_factor.sum(0)
            part = tiles.parts[k]
            if needs[0]:
                dx[at, part].addmm_(total, y[on, part])
            if needs[1]:
                dy[on, part].addmm_(total.T, x[at, part])
    return dx, dy, _per(da, a), _per(db, b)


def _per(by_factor: Tensor, factor: Tensor) -> Tensor:
    """The gradient of a factor, from that times the factor; 0 for one that is 0, which only a row without direction has."""
    return by_factor.div_(torch.where(factor == 0, torch.inf, factor)) if len(by_factor) else by_factor


def _lse_fake(x: Tensor, y: Tensor, a: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    columns = len(y) if given[-1] else 0
    return a.new_empty(a.shape, dtype=torch.float64), a.new_empty(len(a), columns, dtype=torch.float64)


def _lse_gradient_fake(*given: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(t) if need else t.new_empty(0) for t, need in zip(given[4:8], given[-1], strict=True))


_GIVEN = "Tensor x, Tensor y, Tensor a, Tensor b, Tensor row_id, Tensor col_id, Tensor row_slot, Tensor col_slot, int[] dims"
_prefix_lse = define("prefix_lse", f"({_GIVEN}, bool columns) -> (Tensor, Tensor)", _lse, _lse_fake)
_prefix_lse_gradient = define(
    "prefix_lse_gradient",
    f"(Tensor by_rows, Tensor by_cols, Tensor rows, Tensor cols, {_GIVEN}, bool[] needs) -> (Tensor, Tensor, Tensor, Tensor)",
    _lse_gradient,
    _lse_gradient_fake,
)


def _formula(x: Tensor, y: Tensor, a: Tensor, b: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    """The same from scores that are kept: what higher derivatives differentiate."""
    (*ids, dims, columns) = given
    who = Who(ids[0], ids[1], ids[2], ids[3], False)
    seen = counted(who)
    rows, cols = [], []
    for k, d in enumerate(dims):
        scores = ((x[:, :d] * a[k, :, None]) @ (y[:, :d] * b[k, :, None]).T).double()
        rows.append(log_sum_where(scores, seen, 1))
        cols.append(log_sum_where(scores, seen, 0) if columns else scores.new_empty(0))
    return torch.stack(rows), torch.stack(cols)


class _Lse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _prefix_lse(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:8], *output)
        ctx.dims = inputs[8]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *call, rows, cols = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:4])
        found = apply(_LseGradient, *grads, rows, cols, *call, ctx.dims, needs)
        return *as_given(found, call, needs), *(None,) * 6


class _LseGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _prefix_lse_gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2], *inputs[4:12])
        ctx.dims, ctx.needs, ctx.columns = inputs[12], inputs[13], inputs[3].numel() > 0

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by_rows, by_cols, *call = ctx.saved_tensors

        def formula(*primal: Tensor) -> tuple[Tensor, Tensor]:
            return _formula(*primal, *call[4:], ctx.dims, ctx.columns)

        (row_ups, col_ups), every = second(formula, call[:4], ctx.needs, (by_rows, by_cols), grads)
        return row_ups, col_ups, None, None, *every, *(None,) * 6
