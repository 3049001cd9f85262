"""Pair statistics in eager mode, past torch's registration of ops: at a few hundred rows that would be most of the time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .autograd import apply, as_given, batched, scaled, without_autocast
from .pair_ops import BODIES

__all__ = ["DIRECT", "plainly"]

Second = Callable[..., Any]


def plainly(*given: Any) -> bool:
    """Whether these are tensors of numbers in eager mode, not stand-ins of a compiler or a transformation."""
    return all(type(t) in (Tensor, nn.Parameter) for t in given if isinstance(t, Tensor))


def _on(device: torch.device, name: str) -> Callable[..., Any]:
    return without_autocast(BODIES[name][device.type == "cuda"])


def _once(*grads: Tensor) -> bool:
    """Whether a backward pass is one that nobody differentiates, for one gradient at a time."""
    return not torch.is_grad_enabled() and not any(batched(g) for g in grads)


# ctx-first on purpose: with setup_context, apply() inspects signatures at every call (40 us)
class _Lse(torch.autograd.Function):
    """Of what ``pair_lse`` is given, behind the Function that is differentiated again."""

    @staticmethod
    def forward(ctx: Any, again: Second, *given: Any) -> Any:
        rows, cols = _on(given[0].device, "lse")(*given)
        ctx.save_for_backward(*given[:10], rows, cols)
        ctx.again, ctx.options = again, given[10:]
        return rows, cols

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        *call, rows, cols = ctx.saved_tensors
        needs = list(ctx.needs_input_grad[1:3])
        once = _once(*grads)
        run = _on(call[0].device, "lse_gradient") if once else ctx.again
        found = run(*grads, rows, cols, *call, *ctx.options[:-1], needs)
        return None, *as_given(found, call, needs), *(None,) * 14


class _Sum(torch.autograd.Function):
    """Of what ``pair_sum`` is given."""

    @staticmethod
    def forward(ctx: Any, again: Second, *given: Any) -> Any:
        ctx.save_for_backward(*given[:8])
        ctx.again, ctx.options = again, given[8:]
        return _on(given[0].device, "sum")(*given)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        call = ctx.saved_tensors
        needs = [ctx.needs_input_grad[i] for i in (1, 2, 7, 8)]
        run = _on(call[0].device, "sum_gradient") if _once(*grads) else ctx.again
        found = run(grads[0], *call, *ctx.options, needs)
        dx, dy, dt, dc = as_given(found, (*call[:2], *call[6:]), needs)
        return None, dx, dy, *(None,) * 4, dt, dc, *(None,) * 5


class _Total(torch.autograd.Function):
    """Of what ``pair_total`` is given: the gradient is taken along."""

    @staticmethod
    def forward(ctx: Any, again: Second, *given: Any) -> Any:
        value, *found = _on(given[0].device, "total")(*given)
        ctx.save_for_backward(*found, *given[:9])
        ctx.again, ctx.options, ctx.needs = again, given[9:14], given[14]
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        saved = ctx.saved_tensors
        found, call = saved[:4], saved[5:]
        primal, ids = (*call[:2], *call[6:]), call[2:6]
        each: Sequence[Tensor | None]
        if _once(*grads):
            each = scaled(grads[0], found, primal, ctx.needs)
        else:
            each = as_given(
                apply(ctx.again, grads[0], *found, saved[4], *primal, *ids, ctx.options, ctx.needs), primal, ctx.needs
            )
        return None, None, *each[:2], *(None,) * 4, *each[2:], *(None,) * 6


DIRECT: dict[str, Any] = {"lse": _Lse, "sum": _Sum, "total": _Total}
"""A Function for each of them; its first argument is the one that its gradient is differentiated by."""
