"""What belongs to a training besides its model: criteria, optimizers and other models that its functions refer to."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from torch import Tensor, nn

from ..step import Step
from .traverse import HOLDERS, reached

__all__ = ["company", "homes", "is_criterion", "leaves"]

_DEEP = 4  # a partial of a method of an object that holds a list


def company(step: Step) -> tuple[Any, ...]:
    """Modules, optimizers, schedulers and scalers that the loss function or the step function refers to, the model left out."""
    found = [one for function in (step.loss_fn, step.step) for _, one in _referred(function, "", _DEEP)]
    return tuple({id(one): one for one in found if one is not step.model}.values())


def homes(step: Step, total: Tensor) -> dict[int, tuple[str, str, Tensor]]:
    """Every parameter that matters, by identity: its home (see evidence), its name, itself."""
    found: dict[int, tuple[str, str, Tensor]] = {id(p): ("model", name, p) for name, p in step.model.named_parameters()}
    for function in (step.loss_fn, step.step):
        for path, one in _referred(function, "", _DEEP):
            if isinstance(one, nn.Module):
                home = "criterion" if one is step.loss_fn or is_criterion(one) else "other"
                named = one.named_parameters(prefix=path or "loss_fn")
                for name, parameter in named:
                    found.setdefault(id(parameter), (home, name, parameter))
    strangers = {i: p for i, p in leaves(total).items() if i not in found}
    hidden = {id(one) for one in reached([step.model])} if strangers else set()
    for number, (i, p) in enumerate(strangers.items()):
        found[i] = ("hidden" if i in hidden else "loose", f"unregistered {number} {tuple(p.shape)}", p)
    return found


def is_criterion(module: nn.Module) -> bool:
    """Whether a module is a loss, by its class or its name."""
    names = [kind.__name__ for kind in type(module).__mro__]
    return any(name.endswith(("Loss", "Criterion")) for name in names)


def leaves(total: Tensor) -> dict[int, Tensor]:
    """The nn.Parameters that the loss hangs on."""
    found: dict[int, Tensor] = {}
    seen, waiting = set(), [total.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        variable = getattr(node, "variable", None)
        if isinstance(variable, nn.Parameter):
            found[id(variable)] = variable
        waiting += [after for after, _ in node.next_functions]
    if isinstance(total, nn.Parameter):
        found[id(total)] = total
    return found


def _referred(one: Any, path: str, deep: int) -> Iterator[tuple[str, Any]]:
    """Holders of state inside a function: its closure, the globals that it names, its defaults, the object that it belongs to."""
    if isinstance(one, HOLDERS):
        yield path, one
        return
    if deep == 0 or one is None or isinstance(one, (Tensor, type, types.ModuleType, str, int, float)):
        return
    for name, inner in _parts(one):
        yield from _referred(inner, f"{path}.{name}" if path else name, deep - 1)


def _parts(one: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(one, functools.partial):
        yield from _numbered([one.func, *one.args])
        yield from one.keywords.items()
    elif isinstance(one, types.MethodType):
        yield "", one.__self__
        yield "", one.__func__
    elif isinstance(one, types.FunctionType):
        yield from _of_function(one)
    elif isinstance(one, Mapping):
        yield from ((str(k), v) for k, v in list(one.items())[:100])
    elif isinstance(one, (list, tuple)):
        yield from _numbered(list(one)[:100])
    else:
        yield from getattr(one, "__dict__", {}).items()


def _numbered(values: list[Any]) -> Iterator[tuple[str, Any]]:
    """Places as names."""
    return ((str(i), value) for i, value in enumerate(values))


def _of_function(function: types.FunctionType) -> Iterator[tuple[str, Any]]:
    if function.__module__.partition(".")[0] in ("torch", "losskit"):
        return
    code = function.__code__
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        with suppress(ValueError):  # not yet filled
            yield name, cell.cell_contents
    for name in _names_of(code):
        if name in function.__globals__:
            yield name, function.__globals__[name]
    yield from _numbered(list(function.__defaults__ or ()))


def _names_of(code: types.CodeType) -> list[str]:
    inner = [one for one in code.co_consts if isinstance(one, types.CodeType)]
    return [*code.co_names, *(name for one in inner for name in _names_of(one))]
