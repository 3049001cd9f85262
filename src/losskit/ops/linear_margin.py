"""(own, rest) of a projection whose scores are never kept, and sums of row losses made of them: differentiable."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from . import linear_ops
from .autograd import apply, as_given, batched, scaled, second
from .blocks import DEFAULT_MEMORY, product
from .heads import Row, objective
from .margin import margin

__all__ = ["Head", "Projected", "Statistics", "linear_margin", "linear_total", "wants_gradient"]


class Projected(NamedTuple):
    """A projection and how its products become scores: softcap * tanh(scale * (input @ weight.T + bias) / softcap).

    ``kept`` (N,) bool: the other rows are dropped before the first product; what they hold does not matter.
    """

    input: Tensor
    """(N, D)"""
    weight: Tensor
    """(V, D), of the dtype of ``input``"""
    bias: Tensor | None
    """(V,)"""
    target: Tensor
    """(N,) class indices in [0, V)"""
    kept: Tensor | None = None
    scale: float = 1.0
    softcap: float | None = None
    memory: int = DEFAULT_MEMORY
    """Bytes for scores and the row pass's own memory; one row is the least."""


class Statistics(NamedTuple):
    """Of each row, (N,) in float64; 0 for rows that are not kept."""

    own: Tensor
    rest: Tensor
    drift: Tensor | None
    """The sum of the scores times ``tilt``."""
    entropy: Tensor | None
    top: Tensor | None
    """The class with the largest score (int64)."""


class Head(NamedTuple):
    """weight * head(own - rest) + z_loss * lse^2 + sum(tilt) * lse - tilt @ scores, summed over the rows."""

    name: str
    options: Sequence[float]
    weight: Tensor
    """(N,)"""
    tilt: Tensor | None = None
    """(V,)"""
    z_loss: float = 0.0


def linear_margin(call: Projected, *, tilt: Tensor | None = None, entropy: bool = False, top: bool = False) -> Statistics:
    """The target's score and the log-sum-exp of the others, row by row, from blocks of scores that are not kept.

    The backward pass computes the scores again: four products of N x V x D in all, three where the sum is what is
    wanted (:func:`linear_total`). Differentiable twice and more, by torch.func too; the second derivative keeps N x V.
    """
    given = (call.input, call.weight, call.bias, call.target, call.kept, tilt)
    if tilt is not None and tilt.requires_grad and not top:  # the op has no gradient of it
        own, rest, drift, *h = _plain_rows(*given, call.scale, call.softcap or 0.0, entropy)
        return Statistics(own, rest, drift, h[0] if h else None, None)
    own, rest, drift, h, best = _run(
        _Rows, linear_ops.rows, call, (*given, call.scale, call.softcap or 0.0, call.memory, entropy, top)
    )
    return Statistics(own, rest, None if tilt is None else drift, h if entropy else None, best if top else None)


def linear_total(call: Projected, head: Head) -> Tensor:
    """The sum over rows of a head's objective, 0-d in float64, its gradient computed on the way: three products."""
    needs = [t is not None and t.requires_grad for t in (call.input, call.weight, call.bias)]
    given = (
        call.input, call.weight, call.bias, call.target, call.kept, head.tilt, head.weight,
        head.name, list(head.options), head.z_loss, call.scale, call.softcap or 0.0, call.memory, needs,
    )  # fmt: skip
    total: Tensor = _run(_Total, linear_ops.total, call, given)[0]
    return total


def wants_gradient(call: Projected, *others: Tensor | None) -> bool:
    """Whether a gradient is wanted of the projection, and of nothing else: then :func:`linear_total` is the faster way."""
    if not torch.is_grad_enabled() or any(t is not None and t.requires_grad for t in others):
        return False
    return any(t is not None and t.requires_grad for t in (call.input, call.weight, call.bias))


def _run(function: Any, op: Any, call: Projected, given: tuple[Any, ...]) -> Any:
    # Dynamo fails at mark_non_differentiable where no gradient is wanted; in eager mode the Function makes jvp raise
    return op(*given) if torch.compiler.is_compiling() and not wants_gradient(call) else apply(function, *given)


def _of(plain: Callable[..., Any], rest: Sequence[Any], options: Sequence[Any]) -> Callable[..., Any]:
    return lambda *primal: plain(*primal, *rest, *options)


def _plain_rows(
    x: Tensor, w: Tensor, bias: Tensor | None, index: Tensor, kept: Tensor | None, tilt: Tensor | None,
    scale: float, softcap: float, entropy: bool,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The same from scores that are kept: what higher derivatives differentiate."""
    dtype = torch.promote_types(x.dtype, torch.float32)
    x = x.to(dtype) if kept is None else torch.where(kept.unsqueeze(-1), x.to(dtype), 0)
    scores = product(x, w.to(dtype).T)
    scores = scale * (scores if bias is None else scores + bias.to(dtype))
    scores = softcap * torch.tanh(scores / softcap) if softcap else scores
    found = [*margin(scores, index)]
    if tilt is not None:
        found.append((scores * tilt).sum(-1).double())
    if entropy:
        log_p = torch.log_softmax(scores, -1)
        found.append(-torch.where(log_p == -torch.inf, 0, log_p.exp() * log_p).sum(-1).double())
    return tuple(found if kept is None else (torch.where(kept, t, 0) for t in found))


class _Rows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return linear_ops.rows(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:6], output[1], output[3])
        ctx.options = inputs[6:9]
        ctx.mark_non_differentiable(output[4])

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *call, rest, entropy = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[:3])
        # Dynamo takes no Function inside a backward, and differentiates once
        gradient = linear_ops.rows_gradient if torch.compiler.is_compiling() else functools.partial(apply, _RowsGradient)
        found = gradient(*grads[:4], rest, entropy, *call, *ctx.options, needs)
        return *as_given(found, call, needs), *(None,) * 8


class _RowsGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return linear_ops.rows_gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:4], *inputs[6:12])
        ctx.options = (*inputs[12:14], inputs[5].numel() > 0)
        ctx.needs = inputs[15]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        saved = ctx.saved_tensors
        slopes, call = saved[:4], saved[4:]
        ups = [g for g, wanted in zip(slopes, (True, True, call[5] is not None, ctx.options[-1]), strict=True) if wanted]
        back = second(_of(_plain_rows, call[3:], ctx.options), call[:3], ctx.needs, ups, grads)
        by, (dx, dw, db) = iter(back[0]), back[1]
        places = (True, True, call[5] is not None, ctx.options[-1])
        return *(next(by) if wanted else None for wanted in places), None, None, dx, dw, db, *(None,) * 7


def _plain_total(
    x: Tensor, w: Tensor, bias: Tensor | None, index: Tensor, kept: Tensor | None, tilt: Tensor | None, weight: Tensor,
    head: str, options: Sequence[float], z_loss: float, scale: float, softcap: float,
) -> tuple[Tensor]:  # fmt: skip
    own, rest, *drift = _plain_rows(x, w, bias, index, kept, tilt, scale, softcap, False)
    row = Row(head, options, own, rest, weight.double(), None, z_loss)
    value = objective(row)
    if tilt is not None:
        value = value + tilt.double().sum() * torch.logaddexp(own, rest) - drift[0]
    return ((value if kept is None else torch.where(kept, value, 0)).sum(),)


class _Total(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return linear_ops.total(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*output[1:], *inputs[:7])
        ctx.options = inputs[7:12]
        ctx.needs = inputs[13]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # or backward makes zeros of the size of every gradient

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, saved = grads[0], ctx.saved_tensors  # read once: checkpointing allows no more
        if by is None:
            return (None,) * 14
        if torch.compiler.is_compiling():  # Dynamo takes no Function inside a backward, and differentiates once
            found = as_given([t * by.to(t.dtype) for t in saved[:3]], saved[3:], ctx.needs)
        elif torch.is_grad_enabled() or batched(by):  # is_grads_batched
            found = as_given(apply(_TotalGradient, by, *saved, ctx.options, ctx.needs), saved[3:], ctx.needs)
        else:
            found = scaled(by, saved[:3], saved[3:], ctx.needs)
        return *found, *(None,) * 11


class _TotalGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(by: Tensor, dx: Tensor, dw: Tensor, db: Tensor, *others: Any) -> Any:
        return dx * by.to(dx.dtype), dw * by.to(dw.dtype), db * by.to(db.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[4:11])
        ctx.options, ctx.needs = inputs[11], inputs[12]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call = ctx.saved_tensors
        (by_ups,), every = second(_of(_plain_total, call[3:], ctx.options), call[:3], ctx.needs, (by,), grads)
        return by_ups, None, None, None, *every, *(None,) * 6
