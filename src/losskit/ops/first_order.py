"""A plain formula with a faster first derivative: what losses on the hot path are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .autograd import eagerly

__all__ = ["Found", "Kernel", "by_list", "first_order", "lean"]

# of (input, *others): the value, what is saved for backward, and pull(gradient of the value, *saved) -> gradient of the input
Found = tuple[Tensor, tuple[Tensor | None, ...], Callable[..., Tensor]]
Kernel = Callable[..., Found]


def first_order(formula: Callable[..., Tensor], kernel: Kernel, input: Tensor, *others: Tensor | None) -> Tensor:
    """``formula(input, *others)``, differentiated with respect to ``input`` by ``kernel``.

    ``kernel(input, *others)`` returns the value, the tensors to be saved, and ``pull(grad, *saved)``, the gradient of
    ``input`` from that of the value; it runs without autograd. What it needs later it hands over as saved and never
    keeps in a closure: only what torch knows of is freed by backward, offloaded by hooks, dropped by a checkpoint.
    The formula itself runs wherever more than a first derivative in eager mode is asked for: under torch.compile,
    torch.func, double backward, or when one of ``others`` wants a gradient. So the two must agree, and the laws hold
    both against the same reference.
    """
    wanted = input.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()
    if not wanted or any(t is not None and t.requires_grad for t in others):
        return formula(input, *others)
    value: Tensor = eagerly(_FirstOrder, lambda: formula(input, *others), formula, kernel, input, *others)
    return value


class _FirstOrder(torch.autograd.Function):
    # ctx-first on purpose: with setup_context, apply() inspects signatures at every call (40 us)
    @staticmethod
    def forward(ctx: Any, formula: Callable[..., Tensor], kernel: Kernel, input: Tensor, *others: Tensor | None) -> Tensor:
        value, saved, ctx.pull = kernel(input, *others)
        ctx.formula, ctx.others = formula, len(others)
        ctx.save_for_backward(input, *others, *saved)
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        input, *rest = ctx.saved_tensors
        others, saved = rest[: ctx.others], rest[ctx.others :]
        none = (None,) * ctx.others
        if not torch.is_grad_enabled():
            return None, None, ctx.pull(grads[0], *saved), *none
        value = ctx.formula(input, *others)
        (slope,) = torch.autograd.grad(value, input, grads[0], create_graph=True)
        return None, None, slope, *none


def lean(formula: Callable[..., Tensor], kernel: Kernel, input: Tensor, *others: Tensor | None) -> Tensor:
    """``first_order`` for a formula that is dense: where no gradient is wanted, too, the kernel gives the value."""
    wanted = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in (input, *others))
    if wanted or torch.compiler.is_compiling():
        return first_order(formula, kernel, input, *others)
    value: Tensor = eagerly(_Value, lambda: formula(input, *others), kernel, input, *others)
    return value


class _Value(torch.autograd.Function):
    """Nothing but the kernel's value; applied, so that torch.func refuses it."""

    @staticmethod
    def forward(ctx: Any, kernel: Kernel, *tensors: Tensor) -> Tensor:
        return kernel(*tensors)[0]


def by_list(grad: Tensor, slope: Tensor) -> Tensor:
    """A ``pull`` for values of lists whose derivative ``slope`` is taken along.

    Shape:      grad (B,), slope (B, L) -> (B, L) in the dtype of the slope
    """
    return slope * grad.unsqueeze(-1).to(slope.dtype)
