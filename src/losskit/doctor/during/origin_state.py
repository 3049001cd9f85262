"""A model and its optimizer as they are now, kept so that they can be put back."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Kept", "first_bad", "kept", "named_state"]


def named_state(modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> Iterator[tuple[str, str, Tensor]]:
    """Every tensor that outlives a step: (what it is, its name, the tensor), weights first, each once.

    The first module is the model, another one the criterion.
    """
    names: dict[int, str] = {}
    for at, module in enumerate(modules):
        prefix = "loss_fn" if at else ""
        for name, weight in module.named_parameters(prefix):
            if id(weight) not in names:
                names[id(weight)] = name
                yield "weight", name, weight
    for at, module in enumerate(modules):
        for name, buffer in module.named_buffers("loss_fn" if at else ""):
            yield "buffer", name, buffer
    if optimizer is None:
        return
    held = _held(optimizer)
    for at, parameter in enumerate(held):
        if id(parameter) not in names:
            names[id(parameter)] = f"optimizer parameter {at}"
            yield "weight", names[id(parameter)], parameter
    for parameter in held:
        for key, value in optimizer.state.get(parameter, {}).items():
            if isinstance(value, Tensor):
                yield "optimizer", f"{key} of {names[id(parameter)]}", value


@dataclass(frozen=True)
class Kept:
    """Copies of all that a step changes."""

    tensors: tuple[Tensor, ...]
    copies: tuple[Tensor, ...]
    states: tuple[dict[str, Any] | None, ...] = ()
    """Of each parameter that the optimizer holds, in order; None where it has none yet."""
    groups: tuple[dict[str, Any], ...] = ()
    step: int | None = None

    @classmethod
    def of(cls, modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None, step: int | None = None) -> Kept:
        """Copies lie on the devices of what they copy."""
        tensors = tuple(t for kind, _, t in named_state(modules, optimizer) if kind != "optimizer")
        copies = tuple(t.detach().clone() for t in tensors)
        if optimizer is None:
            return cls(tensors, copies, step=step)
        states = tuple(_copied(optimizer.state[p]) if p in optimizer.state else None for p in _held(optimizer))
        groups = tuple(_copied({k: v for k, v in group.items() if k != "params"}) for group in optimizer.param_groups)
        return cls(tensors, copies, states, groups, step)

    def put_back(self, optimizer: torch.optim.Optimizer | None) -> None:
        """Into the same tensors, so that whoever holds them sees it."""
        with torch.no_grad():
            for tensor, value in zip(self.tensors, self.copies, strict=True):
                tensor.copy_(value)
            if optimizer is None:
                return
            # not load_state_dict: it casts states to the dtype of their parameters
            for parameter, saved in zip(_held(optimizer), self.states, strict=True):
                if saved is None:
                    optimizer.state.pop(parameter, None)
                else:
                    _fill(optimizer.state[parameter], saved)
            for group, saved in zip(optimizer.param_groups, self.groups, strict=True):
                _fill(group, saved, besides=("params",))


def _held(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _copied(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v.detach().clone() if isinstance(v, Tensor) else copy.deepcopy(v) for k, v in values.items()}


def _fill(live: MutableMapping[str, Any], saved: Mapping[str, Any], besides: tuple[str, ...] = ()) -> None:
    for key in [k for k in live if k not in saved and k not in besides]:
        del live[key]
    for key, value in saved.items():
        here = live.get(key)
        if isinstance(value, Tensor) and isinstance(here, Tensor) and here.shape == value.shape:
            here.copy_(value)
        else:
            live[key] = value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


@contextmanager
def kept(modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> Generator[None, None, None]:
    """Weights, buffers, gradients, the optimizer's state and the random numbers are afterwards what they were."""
    before = Kept.of(modules, optimizer)
    grads = [(t, t.grad, None if t.grad is None else t.grad.detach().clone()) for t in before.tensors]
    put_back = _random_numbers()
    try:
        yield
    finally:
        before.put_back(optimizer)
        for tensor, grad, value in grads:
            tensor.grad = grad
            if grad is not None and value is not None:
                grad.detach().copy_(value)
        put_back()


def _random_numbers() -> Callable[[], None]:
    """Where every generator stands; calling it puts them back."""
    cpu, python = torch.get_rng_state(), random.getstate()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    numpy: Any = sys.modules.get("numpy")  # nobody has drawn from it where it is not loaded
    drawn = None if numpy is None else numpy.random.get_state()

    def put_back() -> None:
        torch.set_rng_state(cpu)
        random.setstate(python)
        if cuda:
            torch.cuda.set_rng_state_all(cuda)
        if numpy is not None:
            numpy.random.set_state(drawn)

    return put_back


def first_bad(modules: Sequence[nn.Module], optimizer: torch.optim.Optimizer | None) -> tuple[str, str, Tensor] | None:
    """The first weight, buffer or optimizer state that is not finite: (what it is, its name, the tensor).

    A frozen weight or a buffer may hold -inf: masks of attention do.
    """
    for kind, name, tensor in named_state(modules, optimizer):
        if not (tensor.is_floating_point() or tensor.is_complex()) or bool(torch.isfinite(tensor.detach()).all()):
            continue
        mask = kind == "buffer" or (kind == "weight" and not tensor.requires_grad)
        if not mask or bool((torch.isnan(tensor.detach()) | torch.isposinf(tensor.detach())).any()):
            return kind, name, tensor
    return None
