"""A step function that optimizes itself: what its backward pass found, and what its optimizer was left with."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.optim.optimizer import register_optimizer_step_pre_hook

from ..evidence.wiring import Parameter, Wiring
from ..norms import norm as norm_of

__all__ = ["Inner", "watch_inner"]


@dataclass
class Inner:
    """What happened to gradients while the user's code ran, by identity of the parameters."""

    before: set[int] = field(default_factory=set)
    """Parameters that already had a gradient when the first backward pass came to them."""
    arrived: dict[int, float] = field(default_factory=dict)
    """Norm of the gradient right after it was accumulated."""
    gone: set[int] = field(default_factory=set)
    """Parameters whose gradient was there and is none, or zero, at the optimizer's step."""
    optimizers: list[Any] = field(default_factory=list)

    @property
    def ran(self) -> bool:
        """Whether backward() was called."""
        return bool(self.arrived)

    def wiring(self, named: Mapping[str, Tensor]) -> Wiring:
        """As evidence."""
        held = {id(p): float(g.get("lr", 0.0)) for o in self.optimizers for g in o.param_groups for p in g["params"]}
        known = {id(p) for p in named.values()}
        return Wiring(
            parameters=tuple(self._parameter(name, p, held) for name, p in named.items()),
            loss_requires_grad=True,
            foreign=(),
            grads_before=len(self.before & known),
            cleared_between=bool(self.gone) and self.gone >= (self.arrived.keys() & held.keys()),
            learning_rates=tuple(float(g["lr"]) for o in self.optimizers for g in o.param_groups if "lr" in g),
            optimizer=" and ".join(type(o).__name__ for o in self.optimizers),
            maximize=any(bool(g.get("maximize")) for o in self.optimizers for g in o.param_groups),
            own_step=True,
        )

    def _parameter(self, name: str, p: Tensor, held: Mapping[int, float]) -> Parameter:
        norm = self.arrived.get(id(p))
        grad = "none" if norm is None else "zero" if norm == 0 else "finite" if norm < float("inf") else "non-finite"
        values = p.detach()
        return Parameter(
            name=name,
            numel=p.numel(),
            requires_grad=p.requires_grad,
            optimized=id(p) in held if self.optimizers else None,
            grad=grad,
            grad_norm=norm or 0.0,
            weight_norm=norm_of(values),
            finite=bool(values.isfinite().all()),
            dtype=str(p.dtype).removeprefix("torch."),
            lr=held.get(id(p)),
        )


@contextmanager
def watch_inner(named: Mapping[str, Tensor]) -> Generator[Inner, None, None]:
    """Watch backward passes and optimizer steps that are made in the block."""
    inner = Inner()
    handles: list[Any] = [register_optimizer_step_pre_hook(_at_step(inner, named))]
    for p in named.values():
        if p.requires_grad and p.is_leaf:
            handles.append(p.register_hook(_coming(inner, p)))
            handles.append(p.register_post_accumulate_grad_hook(partial(_arrived, inner)))
    try:
        yield inner
    finally:
        for handle in handles:
            handle.remove()


def _coming(inner: Inner, p: Tensor) -> Callable[[Tensor], None]:
    def look(_grad: Tensor) -> None:
        if id(p) not in inner.arrived and p.grad is not None and bool(p.grad.any()):
            inner.before.add(id(p))

    return look


def _arrived(inner: Inner, p: Tensor) -> None:
    if p.grad is not None:
        inner.arrived[id(p)] = norm_of(p.grad)


def _at_step(inner: Inner, named: Mapping[str, Tensor]) -> Callable[..., None]:
    def look(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if all(optimizer is not one for one in inner.optimizers):
            inner.optimizers.append(optimizer)
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        for p in named.values():
            lost = p.grad is None or not bool(p.grad.any())
            if id(p) in held and inner.arrived.get(id(p), 0.0) > 0 and lost:
                inner.gone.add(id(p))

    return look
