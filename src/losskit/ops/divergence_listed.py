"""The scores of a few listed classes of each row and the log-sum-exp of all others, from a projection that is not kept."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..core.check import wide
from .autograd import apply, as_given, define, second
from .blocks import DEFAULT_MEMORY, row_blocks
from .divergence import ROW, rows_at_a_time, softmax
from .divergence_heads import FORWARD, Side, Tower, plain_scores, runs
from .work import chosen

__all__ = ["Listed", "listed_scores", "unlisted"]

_GATHERED = 8 << 20  # bytes of gathered weight rows at a time


class Listed(NamedTuple):
    """A head, and K classes of each of its rows; ``listed`` says which of the K entries are there.

    ``kept`` (N,) bool: the other rows are dropped before the first product; what they hold does not matter.
    """

    head: Side
    classes: Tensor
    """(N, K) in [0, C), also where nothing is listed."""
    listed: Tensor
    """(N, K) bool, True somewhere in each row that is kept."""
    kept: Tensor | None
    temperature: float = 1.0
    memory: int = DEFAULT_MEMORY


def listed_scores(call: Listed, *, others: bool) -> tuple[Tensor, Tensor]:
    """Scores / T of the listed classes (N, K), and the log-sum-exp of the rest (N,) if ``others``, in float64; else 0.

    Without the rest only the listed rows of the weight are read. The backward pass computes the scores again.
    Differentiable twice and more, by torch.func too; the second derivative keeps N x C.
    """
    own, rest = apply(
        _Scores,
        *call.head[:3], _repeated(call.classes, call.listed), call.listed, call.kept,
        call.temperature, call.head.softcap, call.memory, others,
    )  # fmt: skip
    return own, rest


def unlisted(scores: Tensor, index: Tensor, listed: Tensor, temperature: float) -> Tensor:
    """The log-sum-exp of the scores / T (*, C) that are not listed, (*, 1) in float64; -inf if there is none."""
    lowest = torch.finfo(scores.dtype).min
    some = listed.any(-1, keepdim=True)
    index = _repeated(index, listed)
    # where nothing is listed, the scores are written over themselves
    others = scores.scatter(-1, index, torch.where(some, lowest, scores.gather(-1, index)))
    top = others.detach().amax(-1, keepdim=True)
    rest = wide(top) / temperature + wide(((others - top) / temperature).exp().sum(-1, keepdim=True).log())
    return torch.where(top > lowest, rest, -torch.inf)


def _repeated(index: Tensor, listed: Tensor) -> Tensor:
    """``index`` in which an entry that is not there repeats one that is."""
    there = index.gather(-1, listed.int().argmax(-1, keepdim=True))
    return torch.where(listed, index, there)


class _Call:
    """One call: the rows that count, their classes, and the head they are scores of."""

    def __init__(
        self, side: Side, index: Tensor, listed: Tensor, kept: Tensor | None, form: tuple[float, int], needs: Sequence[bool]
    ) -> None:
        self.temperature, self.memory = form
        self.dtype = torch.promote_types(side.input.dtype, torch.float32)
        rows = None if kept is None else chosen(kept)
        self.index, self.listed = (t if rows is None else t[rows] for t in (index, listed))
        self.tower, self.side = Tower(side, rows, self.dtype, self.memory, needs), side
        self.gradient = any(needs)

    def runs(self) -> Iterator[slice]:
        """Rows whose scores are ready; where a gradient is wanted, theirs takes their place before the next are asked for."""
        classes, device = len(self.side.weight), self.index.device
        at_once = rows_at_a_time(classes, self.dtype, device, self.memory // 4)
        memory = self.memory - at_once * classes * ROW - self.tower.beside
        memory = memory if self.gradient or device.type != "cpu" else min(memory, FORWARD)
        for block in row_blocks(len(self.index), self.tower.products.row_bytes, memory):
            self.tower.open(block)
            yield from runs(block, at_once)
            if self.gradient:
                self.tower.close()

    def others(self, scores: Tensor, run: slice) -> tuple[Tensor, Tensor]:
        """The softmax of the classes that are not listed, in place of the scores, and its log-sum-exp."""
        lowest = torch.finfo(scores.dtype).min
        scores.div_(self.temperature).scatter_(1, self.index[run], lowest)
        p, lse = softmax(scores)
        return p, torch.where(scores.amax(1) > lowest, lse + self.tower.shift / self.temperature, -torch.inf)

    def gathered(self, dtype: torch.dtype) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Some rows, and the weights of their classes (n, K, D)."""
        width = self.index.shape[1] * self.side.weight.shape[1] * dtype.itemsize
        for rows in row_blocks(len(self.index), width, min(_GATHERED, self.memory)):
            yield rows, self.tower.products.x[rows].to(dtype), self.side.weight[self.index[rows]].to(dtype)

    def own(self) -> tuple[Tensor, Tensor | None]:
        """The scores of the listed classes from gathered weights, and their derivative through the softcap."""
        own = self.index.new_empty(self.index.shape, dtype=torch.float64)
        for rows, x, weights in self.gathered(torch.float64):
            own[rows] = (weights @ x.unsqueeze(2)).squeeze(2)
        if self.side.bias is not None:
            own += self.side.bias.double()[self.index]
        if not self.side.softcap:
            return own, None
        own /= self.side.softcap
        return own.tanh() * self.side.softcap, own.cosh().square().reciprocal()


def _scores(
    x: Tensor, w: Tensor, bias: Tensor | None, index: Tensor, listed: Tensor, kept: Tensor | None,
    temperature: float, softcap: float, memory: int, others: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    call = _Call(Side(x, w, bias, softcap), index, listed, kept, (temperature, memory), (False,) * 3)
    gathers = not others or call.tower.products.rounded
    own = call.own()[0] if gathers else index.new_empty(call.index.shape, dtype=torch.float64)
    rest = own.new_empty(len(own) if others else 0)
    for run in call.runs() if others else ():
        scores, _ = call.tower.scores(run)
        if not gathers:
            own[run] = scores.gather(1, call.index[run]).double() + call.tower.shift
        rest[run] = call.others(scores, run)[1]
    own = torch.where(call.listed, own / temperature, 0)
    return call.tower.scattered(own), call.tower.scattered(rest) if others else rest


def _slopes(
    by_own: Tensor, by_rest: Tensor, x: Tensor, w: Tensor, bias: Tensor | None, index: Tensor, listed: Tensor,
    kept: Tensor | None, temperature: float, softcap: float, memory: int, others: bool, needs: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Gradients of x, w, bias (empty where not needed) from those of the scores, computed again."""
    call = _Call(Side(x, w, bias, softcap), index, listed, kept, (temperature, memory), needs)
    rows, tower = call.tower.rows, call.tower
    own_by = torch.where(call.listed, by_own if rows is None else by_own[rows], 0) / temperature
    if not others:
        return _of_listed(call, own_by)
    rest_by = (by_rest if rows is None else by_rest[rows]) / temperature
    for run in call.runs():
        scores, steep = tower.scores(run)
        slope = call.others(scores, run)[0].mul_(rest_by[run].to(call.dtype).unsqueeze(1))
        slope.scatter_(1, call.index[run], 0).scatter_add_(1, call.index[run], own_by[run].to(call.dtype))
        tower.put(run, slope, steep)
    return tower.gradients()


def _of_listed(call: _Call, by: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same where only the listed scores have a gradient: their rows of the weight, and no others."""
    steep = call.own()[1] if call.side.softcap else None
    by = by if steep is None else by * steep
    narrow, tower = by.to(call.dtype), call.tower
    dw = tower.dx.new_zeros(call.side.weight.shape if tower.needs[1] else 0)
    db = tower.slope.to(tower.wide)
    for rows, x, weights in call.gathered(call.dtype):
        if tower.needs[0]:
            tower.dx[rows] = (narrow[rows].unsqueeze(1) @ weights).squeeze(1)
        if tower.needs[1]:
            dw.index_add_(0, call.index[rows].flatten(), (narrow[rows].unsqueeze(2) * x.unsqueeze(1)).flatten(0, 1))
    if tower.needs[2]:
        db.index_add_(0, call.index.flatten(), by.flatten().to(db.dtype))
    return tower.scattered(tower.dx) if tower.needs[0] else tower.dx, dw, db


def _scores_fake(x: Tensor, w: Tensor, bias: Any, index: Tensor, *others: Any) -> tuple[Tensor, ...]:
    return x.new_empty(index.shape, dtype=torch.float64), x.new_empty(len(x) if others[-1] else 0, dtype=torch.float64)


def _slopes_fake(by_own: Any, by_rest: Any, x: Tensor, w: Tensor, *others: Any) -> tuple[Tensor, ...]:
    dtype, shapes = torch.promote_types(x.dtype, torch.float32), (x.shape, w.shape, w.shape[:1])
    return tuple(x.new_empty(shape if need else (0,), dtype=dtype) for shape, need in zip(shapes, others[-1], strict=True))


_CALL = "Tensor x, Tensor w, Tensor? bias, Tensor index, Tensor listed, Tensor? kept"
_FORM = "float temperature, float softcap, int memory, bool others"
_SCORES = define("listed_scores", f"({_CALL}, {_FORM}) -> (Tensor, Tensor)", _scores, _scores_fake)
_SLOPES = define(
    "listed_slopes",
    f"(Tensor by_own, Tensor by_rest, {_CALL}, {_FORM}, bool[] needs) -> (Tensor, Tensor, Tensor)",
    _slopes,
    _slopes_fake,
)


def _plain(call: Sequence[Any], options: Sequence[Any]) -> Callable[..., tuple[Tensor, ...]]:
    """The same from scores that are kept: what higher derivatives differentiate."""
    (index, listed, kept), (temperature, softcap, _, others) = call[3:6], options

    def values(x: Tensor, w: Tensor, bias: Tensor | None) -> tuple[Tensor, ...]:
        scores = plain_scores(Side(x, w, bias, softcap), kept, torch.promote_types(x.dtype, torch.float32))
        there = listed if kept is None else listed & kept.unsqueeze(-1)
        own = torch.where(there, wide(scores.gather(-1, index)) / temperature, 0)
        if not others:
            return (own,)
        rest = unlisted(scores, index, listed, temperature).squeeze(-1)
        return own, rest if kept is None else torch.where(kept, rest, 0)

    return values


class _Scores(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _SCORES(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.options = inputs[6:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        needs = list(ctx.needs_input_grad[:3])
        # Dynamo takes no Function inside a backward, and differentiates once
        slopes = _SLOPES if torch.compiler.is_compiling() else functools.partial(apply, _Slopes)
        saved = ctx.saved_tensors  # read once: checkpointing allows no more
        return *as_given(slopes(*grads, *saved, *ctx.options, needs), saved, needs), *(None,) * 7


class _Slopes(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(*given: Any) -> Any:
        return _SLOPES(*given)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:8])
        ctx.options, ctx.needs = inputs[8:-1], inputs[-1]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        by_own, by_rest, *call = ctx.saved_tensors
        ups = (by_own, by_rest) if ctx.options[-1] else (by_own,)
        back, every = second(_plain(call, ctx.options), call[:3], ctx.needs, ups, grads)
        return back[0], back[1] if ctx.options[-1] else None, *every, *(None,) * 8
