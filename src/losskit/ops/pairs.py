"""Statistics over all pairs of two sets of vectors whose scores are never kept: differentiable, in rows and in columns."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .autograd import apply, as_given, batched, eagerly, scaled, second
from .blocks import product
from .logsum import log_sum_where
from .pair_direct import DIRECT, plainly
from .pair_forms import BENDS, FORMS
from .pair_ops import pair_lse, pair_lse_gradient, pair_sum, pair_sum_gradient, pair_total
from .pair_sets import Who, counted
from .pair_tiles import Gate

__all__ = ["Curve", "Pairs", "pair_logsumexp", "pair_sums", "pair_total_sum"]


class Pairs(NamedTuple):
    """Two sets of vectors, whose scores are ``x @ y.T``, and which of their pairs count."""

    x: Tensor
    """(N, D), float32 or float64"""
    y: Tensor
    """(M, D), of the dtype of ``x``"""
    who: Who
    narrow: str = ""
    """"bfloat16" or "float16": what the operands of products may be rounded to where the products are not; "" for no."""
    memory: int = 0
    """Bytes for tiles of scores; 0 for what suits the device."""


class Curve(NamedTuple):
    """A form of :mod:`pair_forms` by name, its parameters, and the numbers of rows and columns that it knows."""

    name: str
    params: Sequence[float] = ()
    t: Tensor | None = None
    """(N,)"""
    c: Tensor | None = None
    """(M,)"""


def pair_logsumexp(
    pairs: Pairs, *, columns: bool = False, bend: str = "", params: Sequence[float] = (), gate: Gate | None = None
) -> tuple[Tensor, Tensor]:
    """log-sum-exp over the pairs that count, of every row (N,) and, with ``columns``, of every column (M,); float64.

    One that has no pair is -inf, without a gradient. The backward pass makes the scores again: four products of
    N x M x D in all, for rows and columns together. Differentiable twice; the second derivative keeps N x M.
    """
    gates = (None,) * 4 if gate is None else tuple(t.detach() for t in gate)
    given = (pairs.x, pairs.y, *pairs.who[:4], *gates, pairs.who.same, bend, list(params), pairs.narrow, pairs.memory, columns)
    direct = DIRECT["lse"], functools.partial(apply, _LseGradient)
    rows, cols = _run(_Lse, direct, pair_lse, given, pairs.x, pairs.y)
    return rows, cols


def pair_sums(pairs: Pairs, curve: Curve) -> Tensor:
    """The sum of a curve of the score over the pairs of every row that count, (N,) in float64."""
    options = (pairs.who.same, curve.name, list(curve.params), pairs.narrow, pairs.memory)
    given = (pairs.x, pairs.y, *pairs.who[:4], curve.t, curve.c, *options)
    direct = DIRECT["sum"], functools.partial(apply, _SumGradient)
    total: Tensor = _run(_Sum, direct, pair_sum, given, pairs.x, pairs.y, curve.t, curve.c)
    return total


def pair_total_sum(pairs: Pairs, curve: Curve, weight: Tensor) -> Tensor:
    """``weight @ pair_sums(pairs, curve)``, 0-d in float64, its gradient computed on the way: three products.

    ``weight`` (N,) has no gradient.
    """
    learnable = (pairs.x, pairs.y, curve.t, curve.c)
    needs = [t is not None and t.requires_grad and torch.is_grad_enabled() for t in learnable]
    if not any(needs):
        return weight.double() @ pair_sums(pairs, curve)
    given = (
        weight.detach(), pairs.x, pairs.y, *pairs.who[:4], curve.t, curve.c,
        pairs.who.same, curve.name, list(curve.params), pairs.narrow, pairs.memory, needs,
    )  # fmt: skip
    total: Any = _run(_Total, (DIRECT["total"], _TotalGradient), None, given, *learnable)
    whole: Tensor = total if isinstance(total, Tensor) else total[0]
    return whole


def _run(function: Any, direct: tuple[Any, Any], op: Any, given: tuple[Any, ...], *learnable: Tensor | None) -> Any:
    # Dynamo fails at Functions whose output needs no gradient; in eager mode the Function makes jvp raise
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in learnable)
    if torch.compiler.is_compiling():
        return apply(function, *_distinct(given)) if wanted else op(*given)
    if not wanted or not plainly(*given):
        return apply(function, *given)
    return eagerly(direct[0], lambda: apply(function, *given), direct[1], *given)


def _distinct(given: tuple[Any, ...]) -> list[Any]:
    """Dynamo refuses a Function that is given a tensor twice."""
    found: list[Any] = []
    for value in given:
        again = isinstance(value, Tensor) and any(value is other for other in found)
        found.append(value.clone() if again else value)
    return found


def _plain_lse(x: Tensor, y: Tensor, *given: Any) -> tuple[Tensor, Tensor]:
    """The same from scores that are kept: what higher derivatives differentiate."""
    ids, gate, (same, curve, params, _, _, columns) = given[:4], given[4:8], given[8:]
    scores = product(x, y.T).double()
    scores = BENDS[curve].value(scores, params) if curve else scores
    seen = counted(Who(ids[0], ids[1], ids[2], ids[3], same))
    above = product(gate[0], gate[1].T) if gate[0] is not None else None
    rows = log_sum_where(scores, seen if above is None else seen & ~(above > gate[2][:, None]), 1)
    if not columns:
        return rows, rows.new_empty(0)
    return rows, log_sum_where(scores, seen if above is None else seen & ~(above > gate[3]), 0)


class _Lse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return pair_lse(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:10], *output)
        ctx.options = inputs[10:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *call, rows, cols = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:2])
        gradient = pair_lse_gradient if torch.compiler.is_compiling() else functools.partial(apply, _LseGradient)
        found = gradient(*grads, rows, cols, *call, *ctx.options[:-1], needs)
        return *as_given(found, call, needs), *(None,) * 14


class _LseGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return pair_lse_gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2], *inputs[4:14])
        ctx.options = (*inputs[14:19], len(inputs[3]) > 0)
        ctx.needs = inputs[19]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by_rows, by_cols, *call = ctx.saved_tensors
        plain = _of(_plain_lse, call[2:], ctx.options)
        (row_ups, col_ups), (dx, dy) = second(plain, call[:2], ctx.needs, (by_rows, by_cols), grads)
        return row_ups, col_ups, None, None, dx, dy, *(None,) * 14


def _of(plain: Callable[..., Any], rest: Sequence[Any], options: Sequence[Any]) -> Callable[..., Any]:
    return lambda *primal: plain(*primal, *rest, *options)


def _plain_sum(x: Tensor, y: Tensor, t: Tensor | None, c: Tensor | None, *given: Any) -> tuple[Tensor]:
    ids, (same, curve, params, _, _) = given[:4], given[4:]
    none = x.new_empty(0)
    row, col = none if t is None else t[:, None].to(x.dtype), none if c is None else c[None].to(x.dtype)
    seen = counted(Who(ids[0], ids[1], ids[2], ids[3], same))
    scores = torch.where(seen, product(x, y.T), 0)  # what does not count may be where a curve has no slope
    return (torch.where(seen, FORMS[curve].value(scores, row, col, params), 0).sum(1, dtype=torch.float64),)


def _by_primal(x: Tensor, y: Tensor, a: Tensor, b: Tensor, c: Tensor, d: Tensor, t: Any, u: Any) -> tuple[Any, Any]:
    """The tensors that have gradients, and the ids."""
    return (x, y, t, u), (a, b, c, d)


class _Sum(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return pair_sum(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:8])
        ctx.options = inputs[8:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        call = ctx.saved_tensors
        needs = [ctx.needs_input_grad[i] for i in (0, 1, 6, 7)]
        gradient = pair_sum_gradient if torch.compiler.is_compiling() else functools.partial(apply, _SumGradient)
        found = gradient(grads[0], *call, *ctx.options, needs)
        dx, dy, dt, dc = as_given(found, _by_primal(*call)[0], needs)
        return dx, dy, *(None,) * 4, dt, dc, *(None,) * 5


class _SumGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return pair_sum_gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:9])
        ctx.options, ctx.needs = inputs[9:14], inputs[14]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call = ctx.saved_tensors
        primal, ids = _by_primal(*call)
        (by_ups,), (dx, dy, dt, dc) = second(_of(_plain_sum, ids, ctx.options), primal, ctx.needs, (by,), grads)
        return by_ups, dx, dy, *(None,) * 4, dt, dc, *(None,) * 6


class _Total(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return pair_total(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*output[1:], *inputs[:9])
        ctx.options, ctx.needs = inputs[9:14], inputs[14]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, saved = grads[0], ctx.saved_tensors
        if by is None:
            return (None,) * 15
        found, (primal, ids) = saved[:4], _by_primal(*saved[5:])
        if torch.compiler.is_compiling():
            each = as_given([t * by.to(t.dtype) for t in found], primal, ctx.needs)
        elif torch.is_grad_enabled() or batched(by):
            given = (by, *found, saved[4], *primal, *ids, ctx.options, ctx.needs)
            each = as_given(apply(_TotalGradient, *given), primal, ctx.needs)
        else:
            each = scaled(by, found, primal, ctx.needs)
        return None, *each[:2], *(None,) * 4, *each[2:], *(None,) * 6


class _TotalGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(by: Tensor, *given: Any) -> Any:
        return tuple(t * by.to(t.dtype) for t in given[:4])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[5:14])
        ctx.options, ctx.needs = inputs[14:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, weight, *call = ctx.saved_tensors

        def plain(*primal: Any) -> tuple[Tensor]:
            return (weight.double() @ _plain_sum(*primal, *call[4:], *ctx.options)[0],)

        (by_ups,), every = second(plain, call[:4], ctx.needs, (by,), grads)
        return by_ups, *(None,) * 5, *every, *(None,) * 6
