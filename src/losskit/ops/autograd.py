"""What every fused op needs to meet PyTorch: its registration, its vmap, its second derivative, the last scaling of gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .blocks import slabs
from .cuda import ends

__all__ = ["apply", "as_given", "batched", "define", "eagerly", "scaled", "second", "without_autocast"]


def apply(function: Any, *given: Any) -> Any:
    """torch leaves ``apply`` untyped."""
    return function.apply(*given)


def eagerly(function: Any, otherwise: Callable[[], Any], *given: Any) -> Any:
    """``function.apply(*given)``; ``otherwise()`` inside torch.func, which sees through no Function without setup_context."""
    try:
        return function.apply(*given)
    except RuntimeError as problem:
        if "setup_context" not in str(problem):
            raise
        return otherwise()


def as_given(found: Sequence[Tensor], primal: Sequence[Any], needs: Sequence[bool]) -> list[Tensor | None]:
    """The gradients in the dtype of what they are gradients of, None where nobody asked."""
    return [g.to(t.dtype) if need else None for g, t, need in zip(found, primal[: len(needs)], needs, strict=True)]


def second(
    plain: Callable[..., Any], primal: Sequence[Any], needs: Sequence[bool], ups: Sequence[Tensor], grads: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], list[Tensor | None]]:
    """The vjp of the vjp of ``plain(*primal)``: gradients of ``ups`` and of the primals for ``grads`` of the needed ones."""
    chosen = [i for i, need in enumerate(needs) if need]

    def first(ups: tuple[Tensor, ...], *some: Tensor) -> tuple[Tensor, ...]:
        def value(*some: Tensor) -> Any:
            every = list(primal)
            for i, t in zip(chosen, some, strict=True):
                every[i] = t
            return plain(*every)

        _, pull, *_ = torch.func.vjp(value, *some)
        pulled: tuple[Tensor, ...] = pull(ups)
        return pulled

    found, pull, *_ = torch.func.vjp(first, tuple(ups), *(primal[i] for i in chosen))
    back, *by_primal = pull(tuple(grads[i].to(t.dtype) for i, t in zip(chosen, found, strict=True)))
    every: list[Tensor | None] = [None] * len(primal)
    for i, t in zip(chosen, by_primal, strict=True):
        every[i] = t
    return back, every


def batched(by: Tensor) -> bool:
    """Whether autograd runs a batch of backward passes at once (is_grads_batched), which takes nothing in place."""
    found: bool = torch._C._functorch.is_legacy_batchedtensor(by)  # pyright: ignore  # nothing public says so
    return found


def scaled(by: Tensor, found: Sequence[Tensor], primal: Sequence[Any], needs: Sequence[bool]) -> list[Tensor | None]:
    """The saved gradients times a number, rounded once, in the dtype of what they are gradients of.

    In place where the graph will not be used again: a weight gradient can be the largest tensor of a step.
    """
    again: bool = torch._C._autograd._get_current_graph_task_keep_graph()  # pyright: ignore  # nothing public says so
    results: list[Tensor | None] = []
    for gradient, like, need in zip(found, primal[: len(needs)], needs, strict=True):
        if not need:
            results.append(None)
            continue
        factor = by.to(gradient.dtype)
        if gradient.dtype == like.dtype:
            results.append(gradient * factor if again else gradient.mul_(factor))
            continue
        out = torch.empty_like(gradient, dtype=like.dtype)
        results.append(out)
        if gradient.is_contiguous() and (fused := ends(gradient)) is not None:
            fused.scale(gradient, factor, out)
            continue
        # a CPU rounds by way of a copy of the whole part
        for part in slabs(len(gradient), 1024 if gradient.device.type == "cpu" else max(len(gradient), 1)):
            torch.mul(gradient[part], factor, out=out[part])
    return results


def without_autocast(body: Callable[..., Any]) -> Callable[..., Any]:
    """``body`` as it is outside of autocast: the dtype of a score is the op's own business."""

    def run(*given: Any) -> Any:
        with torch.autocast(given[0].device.type, enabled=False):
            return body(*given)

    return run


def define(name: str, schema: str, body: Callable[..., Any], fake: Callable[..., Any]) -> Any:
    """An op of this library: untouched by autocast, under vmap a loop, since one call is long enough to pay for itself."""
    op: Any = torch.library.custom_op(f"losskit::{name}", without_autocast(body), mutates_args=(), schema=schema)

    def rule(info: Any, in_dims: tuple[Any, ...], *given: Any) -> tuple[Any, Any]:
        calls = [
            op(*(v.select(d, i) if isinstance(d, int) else v for v, d in zip(given, in_dims, strict=True)))
            for i in range(info.batch_size)
        ]
        if isinstance(calls[0], Tensor):
            return torch.stack(calls), 0
        stacked = tuple(torch.stack(column) for column in zip(*calls, strict=True))
        return stacked, (0,) * len(stacked)

    op.register_vmap(rule)
    op.register_fake(fake)
    return op
