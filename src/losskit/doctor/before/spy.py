"""Looks on while losses are called: torch's, losskit's, and differences that broadcast in a loss written by hand."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from typing_extensions import Self

from ...core.card import CATALOGUE
from ...core.watch import watching
from ..evidence.calls import LossCall
from .calls import as_loss_calls
from .provenance import above, user_line
from .refuse import refuse
from .unseen import put_on, take_off, unseen

__all__ = ["LOSSES", "Recorded", "Spy"]

_NAMES = (
    "binary_cross_entropy", "binary_cross_entropy_with_logits", "cosine_embedding_loss", "cross_entropy", "ctc_loss",
    "gaussian_nll_loss", "hinge_embedding_loss", "huber_loss", "kl_div", "l1_loss", "linear_cross_entropy", "margin_ranking_loss",
    "mse_loss", "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "nll_loss", "poisson_nll_loss",
    "smooth_l1_loss", "soft_margin_loss", "triplet_margin_loss", "triplet_margin_with_distance_loss",
)  # fmt: skip
LOSSES: Mapping[Any, str] = {getattr(F, name): name for name in _NAMES if hasattr(F, name)}
# what a loss written by hand makes of prediction and target
_WRITTEN: Mapping[Any, str] = {
    **dict.fromkeys((torch.sub, torch.subtract, torch.rsub, Tensor.sub, Tensor.subtract, Tensor.__sub__, Tensor.__rsub__), "sub"),
    **dict.fromkeys((torch.mul, torch.multiply, Tensor.mul, Tensor.multiply, Tensor.__mul__, Tensor.__rmul__), "mul"),
}
_WATCHED: Mapping[Any, str] = {**LOSSES, **_WRITTEN}


@dataclass
class Recorded:
    """One call as it happened; ``value`` is still on the graph."""

    name: str
    home: str
    tensors: dict[str, Tensor]
    options: dict[str, Any]
    where: str
    upstream: dict[str, tuple[str, ...]] = field(default_factory=dict)
    needs_grad: dict[str, bool] = field(default_factory=dict)
    dims: dict[str, dict[str, int]] = field(default_factory=dict)
    value: Tensor | None = None
    error: str = ""


class Spy:
    """Records every loss that is called in its block, each once: what a loss calls inside is not a call of its own.

    Torch's losses are seen in any dress (modules, functions, lambdas), but not inside compiled code. ``guard`` lets a class or a
    probability out of range raise on CUDA too, before a kernel does; it costs a synchronisation for each call. ``model`` is
    what may be compiled: its compiled parts are called as if nobody looked, since they would be compiled again for the spy.
    ``most`` is for a block without a known end: only so many calls are kept, the newest, and none of their graphs.
    Blocks may end in any order, and in the middle of function modes of the user's own.
    """

    def __init__(self, *, guard: bool = False, model: nn.Module | None = None, most: int | None = None) -> None:
        self.calls: list[Recorded] = []
        self.problems: list[str] = []
        """What could not be recorded; the user's code never learns of it."""
        self._guard = guard
        self._model = model
        self._most = most
        self._busy = False
        self._off = True
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        mode, self._off = _Mode(self), False
        self._stack.enter_context(watching(self._watch))
        if self._model is not None:
            self._stack.enter_context(unseen(self._model, mode))
        self._stack.callback(take_off, mode)
        put_on(mode)
        return self

    def __exit__(self, *problem: object) -> None:
        self._off = True  # another thread's stack of modes is out of reach
        self._stack.close()

    def seen(self, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A call of any function of torch: done, and recorded if it is a loss."""
        name = None if self._busy or self._off else _WATCHED.get(func)
        if name is None:
            return func(*args, **kwargs)
        if func not in LOSSES:
            return self._written(name, func, args, kwargs)
        arguments = _bound(func, args, kwargs)
        return self._looked_at(name, "torch", arguments, lambda: func(*args, **kwargs))

    def finish(self, total: Tensor | None = None, *, per_sample: bool = True) -> tuple[LossCall, ...]:
        """The calls, detached, each with d total / d value where ``total`` still has its graph; forgets the graph."""
        calls, self.calls = self.calls, []
        return as_loss_calls(calls, total, per_sample=per_sample)

    def _watch(self, name: str, arguments: Mapping[str, Any], call: Callable[[], Tensor]) -> Tensor:
        if self._off:
            return call()
        before, self._busy = self._busy, True
        try:
            return self._looked_at(name, "losskit", {**_defaults(name), **arguments}, call)
        finally:
            self._busy = before

    def _looked_at(self, name: str, home: str, arguments: Mapping[str, Any], call: Callable[[], Tensor]) -> Tensor:
        noted = self._noted(name, home, arguments)
        try:
            if self._guard and noted is not None:
                refuse(noted.name, noted.tensors, noted.options)
            value = call()
        except Exception as problem:
            if noted is not None:
                noted.error = f"{type(problem).__name__}: {problem}".strip().split("\n")[0]
            raise
        if noted is not None:
            noted.value = value if self._most is None else value.detach()
        return value

    def _written(self, name: str, func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """A column against a row of the same length, one of them a prediction: the pattern of a broadcast by accident."""
        value = func(*args, **kwargs)
        if len(args) == 2 and _column_and_row(args[0], args[1]):
            noted = self._noted(name, "written", {"input": args[0], "target": args[1]})
            if noted is not None:
                noted.value = value if self._most is None else value.detach()
        return value

    def _noted(self, name: str, home: str, arguments: Mapping[str, Any]) -> Recorded | None:
        try:
            tensors = {k: v for k, v in arguments.items() if isinstance(v, Tensor)}
            options = {k: v for k, v in arguments.items() if not isinstance(v, Tensor)}
            noted = Recorded(name, home, {k: v.detach() for k, v in tensors.items()}, options, user_line())
            for key, tensor in tensors.items():
                noted.needs_grad[key] = tensor.requires_grad
                noted.upstream[key], noted.dims[key] = above(tensor)
        except Exception as problem:  # e.g. tensors under torch.func: training goes on without being looked at
            self.problems.append(f"{name}: {type(problem).__name__}: {problem}")
            return None
        self.calls.append(noted)
        if self._most is not None and len(self.calls) > self._most:
            del self.calls[0]
        return noted


class _Mode(TorchFunctionMode):
    """Hands every function of torch to the spy; off while the spy answers."""

    def __init__(self, spy: Spy) -> None:
        super().__init__()
        self._spy = spy

    def __torch_function__(
        self, func: Any, types: Sequence[Any], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if torch.compiler.is_compiling():  # the user's own compiled function: the compiler must not trace the spy
            return func(*args, **(kwargs or {}))
        return self._spy.seen(func, args, kwargs or {})


def _column_and_row(one: Any, other: Any) -> bool:
    if not isinstance(one, Tensor) or not isinstance(other, Tensor):
        return False
    column, row = (one, other) if one.dim() == 2 else (other, one)
    if column.dim() != 2 or row.dim() != 1 or column.shape[1] != 1 or column.shape[0] != row.shape[0] or len(row) < 2:
        return False
    return one.requires_grad != other.requires_grad


@cache
def _signature(func: Any) -> inspect.Signature:
    return inspect.signature(func)


def _bound(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name, defaults included; torch's two old words for the reduction become its one new word."""
    try:
        bound = _signature(func).bind_partial(*args, **kwargs)
    except TypeError:  # the call itself says so
        return dict(kwargs)
    bound.apply_defaults()
    given = dict(bound.arguments)
    average, each = given.pop("size_average", None), given.pop("reduce", None)
    if average is not None or each is not None:
        given["reduction"] = "none" if each is False else "sum" if average is False else "mean"
    return given


def _defaults(name: str) -> Mapping[str, Any]:
    card = CATALOGUE.get(name)
    return {} if card is None else card.options
