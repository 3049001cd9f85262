"""Two heads against each other by blocks of scores that are not kept: the op, and how it meets autograd."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from .autograd import apply, as_given, batched, define, scaled, second
from .blocks import DEFAULT_MEMORY, row_blocks
from .divergence import ROW, Form, Kind, row_values, rows_at_a_time, visit
from .divergence_heads import FORWARD, Side, Tower, plain_scores, runs
from .work import chosen

__all__ = ["Pair", "divergence_total", "divergences", "wants_gradient"]


class Pair(NamedTuple):
    """Two heads of as many rows and classes, and how they are compared: see ``divergence.terms``.

    ``kept`` (N,) bool: the other rows are dropped before the first product; what they hold does not matter.
    """

    student: Side
    teacher: Side
    kept: Tensor | None
    kind: Kind
    share: float = 0.0
    temperature: float = 1.0
    memory: int = DEFAULT_MEMORY
    """Bytes for the scores of both and the row pass's own memory; one row is the least."""

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """Input, weight and bias of the student, then of the teacher."""
        return *self.student[:3], *self.teacher[:3]

    @property
    def options(self) -> tuple[Any, ...]:
        """As the op takes them."""
        caps = [self.student.softcap, self.teacher.softcap]
        return self.kind, self.share, self.temperature, caps, self.memory


def divergences(pair: Pair) -> Tensor:
    """T^2 times the divergence of each row, (N,) in float64; 0 for rows that are not kept.

    The backward pass computes the scores again. Differentiable twice and more, by torch.func too; the second derivative
    keeps N x C.
    """
    values: Tensor = apply(_Rows, *pair.tensors, pair.kept, *pair.options)
    return values


def divergence_total(pair: Pair, weight: Tensor) -> Tensor:
    """The sum over rows of ``weight`` (N,) times the divergence, 0-d in float64, its gradient computed on the way."""
    needs = [t is not None and t.requires_grad for t in pair.tensors]
    total: Tensor = apply(_Total, *pair.tensors, pair.kept, weight, *pair.options, needs)[0]
    return total


def wants_gradient(pair: Pair, weight: Tensor) -> bool:
    """Whether a gradient is wanted of the heads and not of the rows' weights: then :func:`divergence_total` is faster."""
    wanted = any(t is not None and t.requires_grad for t in pair.tensors)
    return torch.is_grad_enabled() and wanted and not weight.requires_grad


def _divergence(
    x: Tensor, w: Tensor, bias: Tensor | None, y: Tensor, v: Tensor, c: Tensor | None, kept: Tensor | None,
    weight: Tensor | None, kind: Kind, share: float, temperature: float, softcaps: Sequence[float], memory: int,
    needs: Sequence[bool],
) -> tuple[Tensor, ...]:  # fmt: skip
    """The value of each row, and the gradients of the sum of ``weight`` times the values; empty where not needed."""
    rows = None if kept is None else chosen(kept)
    sides = Side(x, w, bias, softcaps[0]), Side(y, v, c, softcaps[1])
    dtype = torch.promote_types(torch.promote_types(x.dtype, y.dtype), torch.float32)
    towers = [Tower(side, rows, dtype, memory, n) for side, n in zip(sides, (needs[:3], needs[3:]), strict=True)]
    form = Form(kind, share, temperature, (any(needs[:3]), any(needs[3:])), _ruled_out(bias, c))
    at_once = rows_at_a_time(len(w), dtype, x.device, memory // 4)
    by = None if weight is None else temperature * (weight if rows is None else weight[rows]).double()
    value = x.new_empty(len(towers[0].products.x), dtype=torch.float64)
    memory -= at_once * len(w) * ROW + sum(tower.beside for tower in towers)
    memory = memory if any(needs) or x.device.type != "cpu" else min(memory, FORWARD)
    for block in row_blocks(len(value), sum(tower.products.row_bytes for tower in towers), memory):
        for tower in towers:
            tower.open(block)
        for run in runs(block, at_once):
            value[run] = _compared(form, towers, run, None if by is None else by[run])
        for tower, wanted in zip(towers, form.slopes, strict=True):
            if wanted:
                tower.close()
    return towers[0].scattered(value), *towers[0].gradients(), *towers[1].gradients()


def _compared(form: Form, towers: Sequence[Tower], run: slice, by: Tensor | None) -> Tensor:
    """The values of some rows; the gradients of their scores, where they are wanted, are left in place of the scores."""
    (student, bent), (teacher, curved) = (tower.scores(run) for tower in towers)
    seen = visit(form, student, teacher)
    for tower, slope, steep in zip(towers, (seen.student, seen.teacher), (bent, curved), strict=True):
        if slope is not None and by is not None:
            tower.put(run, slope.mul_(by.to(slope.dtype).unsqueeze(1)), steep)
    return seen.value


def _ruled_out(bias: Tensor | None, other: Tensor | None) -> Tensor | None:
    if bias is None or other is None:
        return None
    both = (bias == -torch.inf) & (other == -torch.inf)
    return both if both.device.type != "cpu" or bool(both.any()) else None


def _fake(x: Tensor, w: Tensor, bias: Any, y: Tensor, v: Tensor, *others: Any) -> tuple[Tensor, ...]:
    found, needs = [x.new_empty(len(x), dtype=torch.float64)], others[-1]
    for at, (rows, classes) in enumerate(((x, w), (y, v))):
        dtype = torch.promote_types(rows.dtype, torch.float32)
        shapes = rows.shape, classes.shape, classes.shape[:1]
        found += [
            rows.new_empty(shape if need else (0,), dtype=dtype)
            for shape, need in zip(shapes, needs[3 * at : 3 * at + 3], strict=True)
        ]
    return tuple(found)


_OP = define(
    "divergence",
    "(Tensor x, Tensor w, Tensor? bias, Tensor y, Tensor v, Tensor? c, Tensor? kept, Tensor? weight, str kind, float share, "
    "float temperature, float[] softcaps, int memory, bool[] needs) "
    "-> (Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor)",
    _divergence,
    _fake,
)


def _plain(call: Sequence[Any], options: Sequence[Any]) -> Callable[..., tuple[Tensor]]:
    """The same of the student's and the teacher's tensors, from scores that are kept: what higher derivatives differentiate."""
    kept, (kind, share, temperature, caps, _) = call[6], options

    def values(*primal: Any) -> tuple[Tensor]:
        sides = Side(*primal[:3])._replace(softcap=caps[0]), Side(*primal[3:])._replace(softcap=caps[1])
        dtype = torch.promote_types(torch.promote_types(primal[0].dtype, primal[3].dtype), torch.float32)
        found = temperature**2 * row_values(kind, share, temperature, *(plain_scores(s, kept, dtype) for s in sides)).value
        return ((found if kept is None else torch.where(kept, found, 0)).double(),)

    return values


class _Rows(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _OP(*given[:7], None, *given[7:], [False] * 6)[0]

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:7])
        ctx.options = inputs[7:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        needs = list(ctx.needs_input_grad[:6])
        # Dynamo takes no Function inside a backward, and differentiates once
        gradient = _gradient if torch.compiler.is_compiling() else functools.partial(apply, _Gradient)
        saved = ctx.saved_tensors  # read once: checkpointing allows no more
        return *as_given(gradient(grads[0], *saved, *ctx.options, needs), saved, needs), *(None,) * 6


def _gradient(by: Tensor, *given: Any) -> Any:
    return _OP(*given[:7], by, *given[7:])[1:]


class _Gradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _gradient(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:8])
        ctx.options, ctx.needs = inputs[8:-1], inputs[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call = ctx.saved_tensors
        (back,), every = second(_plain(call, ctx.options), call[:6], ctx.needs, (by,), grads)
        return back, *every, *(None,) * 7


class _Total(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        values, *gradients = _OP(*given)
        return (values * given[7]).sum(), *gradients

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*output[1:], *inputs[:8])
        ctx.options, ctx.needs = inputs[8:-1], inputs[-1]
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)  # else zeros of the size of every gradient

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, saved = grads[0], ctx.saved_tensors
        if by is None:
            return (None,) * 14
        if torch.compiler.is_compiling():  # Dynamo takes no Function inside a backward, and differentiates once
            found = as_given([gradient * by.to(gradient.dtype) for gradient in saved[:6]], saved[6:], ctx.needs)
        elif torch.is_grad_enabled() or batched(by):
            found = as_given(apply(_Scaled, by, *saved, ctx.options, ctx.needs), saved[6:], ctx.needs)
        else:
            found = scaled(by, saved[:6], saved[6:], ctx.needs)
        return *found, *(None,) * 8


class _Scaled(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(by: Tensor, *given: Any) -> Any:
        return tuple(gradient * by.to(gradient.dtype) for gradient in given[:6])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(inputs[0], *inputs[7:15])
        ctx.options, ctx.needs = inputs[15:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by, *call, weight = ctx.saved_tensors
        (back,), every = second(_plain(call, ctx.options), call[:6], ctx.needs, (by * weight,), grads)
        return (back * weight).sum(), *(None,) * 6, *every, *(None,) * 4
