"""One batch on many ranks: gathering rows and adding over ranks, with the gradients of one process.

Every function here is the true adjoint of itself: the gradient that reaches a rank's rows is that of the sum of all ranks'
losses. Where each rank returns the same global mean, the mean over ranks of the gradients (what DDP and FSDP take) is the
gradient of that mean, for encoders, temperatures and biases alike; nothing is ever multiplied by the number of ranks.
All ranks must call the same losses in the same order, with or without rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from .core.check import ShapeError, working

__all__ = ["Gathered", "first_row", "gather_rows", "logsumexp_over_ranks", "sum_over_ranks"]

P = ParamSpec("P")
T = TypeVar("T")

_AXES = 6  # after the first; what a header has room for
_DTYPES = (torch.int64, torch.float64, torch.float32, torch.bfloat16, torch.float16)  # what rows travel in


class Gathered(NamedTuple):
    """The rows of all ranks, in the order of the ranks, and where those of this rank begin."""

    rows: Tensor
    start: int


def gather_rows(rows: Tensor, group: dist.ProcessGroup | None) -> Gathered:
    """All ranks' rows, (n, ...) -> (sum of n, ...): as many of each rank as it has, none too.

    Backward adds what all ranks have for a row and brings it back to its rank. Without a group: the rows themselves.
    The ranks first tell each other how many rows they have, for which the host waits on CUDA. Integers and bool travel too,
    without a gradient. If one rank's rows need a gradient, those of all take part in backward.

    Raises:     ShapeError, TypeError on every rank if the ranks' rows have other last axes or dtypes.
    """
    return Gathered(rows, 0) if group is None else _gather_rows(rows, group)


def first_row(rows: Tensor, group: dist.ProcessGroup | None) -> int:
    """Where this rank's rows begin among those of all ranks; only their numbers travel."""
    return 0 if group is None else _first_row(rows, group)


def sum_over_ranks(value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """The sum of every rank's ``value``, on every rank; backward sums too. Half precision is added in float32."""
    return value if group is None else _sum_over_ranks(value, group)


def logsumexp_over_ranks(value: Tensor, group: dist.ProcessGroup | None) -> Tensor:
    """log(sum over ranks of exp(value)), element by element: -inf on a rank that has nothing to add."""
    return value if group is None else _logsumexp_over_ranks(value, group)


def _eager(function: Callable[P, T]) -> Callable[P, T]:
    """A break in a graph of torch.compile, which cannot hold what depends on other ranks' sizes."""

    @functools.wraps(function)
    def run(*args: P.args, **options: P.kwargs) -> T:
        if not torch.compiler.is_compiling():
            return function(*args, **options)
        disable: Any = torch.compiler.disable  # not before: it loads the compiler, which takes seconds
        disabled: Callable[P, T] = disable(function)
        return disabled(*args, **options)

    return run


@_eager
def _gather_rows(rows: Tensor, group: dist.ProcessGroup) -> Gathered:
    travels = rows.detach().contiguous() if rows.is_floating_point() else rows.long()
    sizes, needed = _agreed(travels, rows.requires_grad and torch.is_grad_enabled(), group)
    start = sum(sizes[: dist.get_rank(group)])
    if not rows.is_floating_point():
        return Gathered(_gather(travels, sizes, group).to(rows.dtype), start)
    if needed and not rows.requires_grad:
        rows = travels.requires_grad_()  # the others wait for this rank in backward
    return Gathered(_apply(_Gather, rows, sizes, group), start)


@_eager
def _first_row(rows: Tensor, group: dist.ProcessGroup) -> int:
    sizes, _ = _agreed(rows.detach(), False, group)
    return sum(sizes[: dist.get_rank(group)])


@_eager
def _sum_over_ranks(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    _rank(group)
    return _apply(_Sum, value, group)


@_eager
def _logsumexp_over_ranks(value: Tensor, group: dist.ProcessGroup) -> Tensor:
    _rank(group)
    wide = _adding(value)
    top = wide.detach().clone(memory_format=torch.contiguous_format)
    dist.all_reduce(top, dist.ReduceOp.MAX, group)
    top = torch.where(top.isfinite(), top, 0)
    total = _sum_over_ranks(torch.exp(wide - top), group)
    empty = total == 0
    return torch.where(empty, -torch.inf, torch.log(torch.where(empty, 1, total)) + top).to(value.dtype)


def _apply(function: Any, *given: Any) -> Tensor:
    """torch leaves ``apply`` untyped."""
    found: Tensor = function.apply(*given)
    return found


def _adding(value: Tensor) -> Tensor:
    """In a dtype that sums keep their digits in."""
    return working(value)[0] if value.is_floating_point() else value


def _check_kind(group: object) -> None:
    # what a rank outside of a new group gets for it is a number
    if not isinstance(group, dist.ProcessGroup) and group is not dist.GroupMember.NON_GROUP_MEMBER:
        remedy = "torch.distributed.group.WORLD is all ranks"
        raise TypeError(f'"group" must be a torch.distributed.ProcessGroup, got {type(group).__name__}: {remedy}')


def _rank(group: dist.ProcessGroup) -> int:
    """This process's place in the group; raises where it has none, which torch passes over in silence."""
    _check_kind(group)
    rank = dist.get_rank(group)
    if rank < 0:
        raise ValueError('"group" does not hold this rank: call the loss with a group that does, or with group=None')
    return rank


def _agreed(rows: Tensor, needed: bool, group: dist.ProcessGroup) -> tuple[list[int], bool]:
    """How many rows each rank has, and whether any of them needs a gradient; all ranks raise if the rows do not fit."""
    _rank(group)
    if not 0 < rows.ndim <= _AXES + 1:
        raise ShapeError(f"rows have shape {tuple(rows.shape)}, expected 1 to {_AXES + 1} axes")
    last = list(rows.shape[1:])
    header = [len(rows), int(needed), _DTYPES.index(rows.dtype), len(last), *last, *[0] * (_AXES - len(last))]
    mine = torch.tensor(header, device=rows.device)
    every = mine.new_empty(dist.get_world_size(group), len(header))
    dist.all_gather(list(every.unbind()), mine, group)
    sizes: list[int] = []
    shapes: list[tuple[int, ...]] = []
    dtypes: list[torch.dtype] = []
    for count, _, dtype, axes, *dims in every.tolist():
        sizes.append(count)
        shapes.append((count, *dims[:axes]))
        dtypes.append(_DTYPES[dtype])
    for rank, (shape, dtype) in enumerate(zip(shapes, dtypes, strict=True)):
        if shape[1:] != shapes[0][1:]:
            raise ShapeError(
                f"rows have shape {shapes[0]} on rank 0 and {shape} on rank {rank}, expected the same axes after the first on"
                f" all ranks: a rank without rows brings torch.empty{(0, *shapes[0][1:])}"
            )
        if dtype != dtypes[0]:
            raise TypeError(f"rows have dtype {dtypes[0]} on rank 0 and {dtype} on rank {rank}, expected one dtype on all ranks")
    return sizes, bool(every[:, 1].any())


def _padded(rows: Tensor, size: int) -> Tensor:
    """(n, ...) -> (size, ...): collectives take equal shares."""
    if len(rows) == size:
        return rows.contiguous()
    return torch.cat([rows, rows.new_zeros(size - len(rows), *rows.shape[1:])])


def _gather(rows: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
    ranks, size, last = len(sizes), max(sizes), rows.shape[1:]
    every = rows.new_empty(ranks * size, *last)
    shares = every.view(ranks, size, *last)
    if size:
        dist.all_gather(list(shares.unbind()), _padded(rows, size), group)
    if min(sizes) == size:
        return every  # what came is not copied again
    return torch.cat([part[:n] for part, n in zip(shares, sizes, strict=True)])


def _scatter(rows: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
    """This rank's part of the sum over ranks; half precision is added in float32 and rounded once."""
    size = max(sizes)
    shares = [_padded(part, size) for part in _adding(rows).split(sizes)]
    mine = torch.empty_like(shares[0])
    if size:
        dist.reduce_scatter(mine, shares, group=group)
    return mine[: sizes[dist.get_rank(group)]].to(rows.dtype)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
        return _gather(rows.detach(), sizes, group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.sizes, ctx.group = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _apply(_Scatter, grads[0], ctx.sizes, ctx.group), None, None


class _Scatter(torch.autograd.Function):
    @staticmethod
    def forward(rows: Tensor, sizes: list[int], group: dist.ProcessGroup) -> Tensor:
        return _scatter(rows.detach(), sizes, group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.sizes, ctx.group = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _apply(_Gather, grads[0], ctx.sizes, ctx.group), None, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(value: Tensor, group: dist.ProcessGroup) -> Tensor:
        total = _adding(value.detach()).clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total.to(value.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        _, ctx.group = inputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        return _apply(_Sum, grads[0], ctx.group), None
