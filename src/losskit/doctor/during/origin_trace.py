"""Every operation of a forward pass, with what was not finite in its inputs and outputs; and which of them came first."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.weak import WeakIdKeyDictionary

from ..step import tensors_in
from .origin_lines import line_now
from .origin_ops import (
    WRITERS,
    Marks,
    Spots,
    empty_count,
    extremes,
    finite_when_wider,
    marks,
    masked_row,
    readable,
    spots,
)

__all__ = ["Module", "Op", "Trace", "origin", "walked"]

_HALF = (torch.float16, torch.bfloat16)
_TRAIL = 6  # operations in a trail: enough to see the formula
_VIEWS = frozenset({
    "alias", "clone", "detach", "expand", "lift_fresh", "permute", "select", "slice", "split", "squeeze", "t", "transpose",
    "unsafe_view", "unsqueeze", "view",
})  # fmt: skip


@dataclass(frozen=True)
class Module:
    """Where an operation stands."""

    name: str = ""
    kind: str = ""
    inside: bool = False
    """Whether it is the model or a part of it, not the criterion."""


@dataclass(eq=False)
class Op:
    """One operation. What is below ``marks`` is known only where its output is not finite."""

    order: int
    name: str
    where: str
    module: Module
    parents: tuple[Op, ...]
    marks: Marks = Marks.CLEAN
    inputs: tuple[tuple[Op | None, Marks], ...] = ()
    """What of its inputs is not finite, and what made it; None for what was there before the pass."""
    shape: tuple[int, ...] = ()
    spots: Spots | None = None
    """Of its first output that is not finite; None where a NaN was handed to it: it is not the first."""
    largest: float | None = None
    lowest: float | None = None
    masked_row: bool = False
    empty_count: bool = False
    finite_in: tuple[str, ...] = ()

    @property
    def from_outside(self) -> bool:
        """Whether it was handed a bad tensor that neither batch nor model holds: weights of classes, a constant."""
        return any(made is None and (Marks.NAN | Marks.POSITIVE) & what for made, what in self.inputs)

    def trail(self) -> tuple[str, ...]:
        """The operations that led here, nearest last; what only changes a shape is left out."""
        chain: list[str] = []
        at: Op | None = self
        while at is not None and len(chain) < _TRAIL:
            place = at.where or at.module.name
            if at.name not in _VIEWS or at is self:
                chain.append(f"{at.name} ({place})" if place else at.name)
            computed = [one for one in at.parents if one.parents] or at.parents
            at = max(computed, key=lambda one: one.order, default=None)
        return tuple(reversed(chain))


@dataclass
class _Made:
    op: Op | None
    marks: Marks
    version: int


@dataclass(eq=False)
class Trace(TorchDispatchMode):
    """Looks at every operation below autograd while it is entered."""

    stack: list[Module] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def __post_init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self._made = WeakIdKeyDictionary()
        self._written: dict[int, Op] = {}  # by storage: a view that was written to changes what others see

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        inputs = [(t, self._seen(t)) for t in tensors_in([args, kwargs])]
        output = func(*args, **kwargs)
        made_by = tuple(seen.op for _, seen in inputs if seen.op is not None)
        module = self.stack[-1] if self.stack else Module()
        op = Op(len(self.ops), readable(func.name()), line_now(), module, made_by)
        self.ops.append(op)
        handed_on = any(seen.op is not None and Marks.NAN in seen.marks for _, seen in inputs)
        for tensor in tensors_in(output) or _changed(func, args, kwargs):
            found = marks(tensor)
            self._made[tensor] = _Made(op, found, _version(tensor))
            if func._schema.is_mutable:
                self._written[_storage(tensor)] = op
            if found and not op.marks and not handed_on:
                _describe(op, found, tensor, func, args, kwargs)
                op.empty_count = Marks.NAN in found and empty_count(op.name, args, output, [one.name for one in made_by])
            op.marks |= found
        if op.marks:
            op.inputs = tuple((seen.op, seen.marks) for _, seen in inputs if seen.marks)
        return output

    def _seen(self, tensor: Tensor) -> _Made:
        made: _Made | None = self._made.get(tensor)
        if made is None:
            made = _Made(None, marks(tensor), _version(tensor))
        elif made.version != _version(tensor):
            made = _Made(self._written.get(_storage(tensor), made.op), marks(tensor), _version(tensor))
        self._made[tensor] = made
        return made

    def of(self, tensor: Tensor) -> Op | None:
        """The operation that made it."""
        return self._seen(tensor).op


def _changed(func: Any, args: Any, kwargs: Any) -> list[Tensor]:
    """Arguments that an operation writes to: the fused and foreach ones of optimizers return nothing."""
    found: list[Tensor] = []
    for at, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            found += tensors_in(args[at] if at < len(args) else kwargs.get(argument.name))
    return found


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _storage(tensor: Tensor) -> int:
    try:
        return tensor.untyped_storage().data_ptr()
    except (RuntimeError, NotImplementedError):  # sparse and wrapper tensors have none
        return 0


def _describe(op: Op, found: Marks, tensor: Tensor, func: Any, args: Any, kwargs: Any) -> None:
    op.shape, op.spots = tuple(tensor.shape), spots(tensor)
    op.largest, op.lowest = extremes(op.name, args)
    op.masked_row = Marks.NAN in found and masked_row(op.name, args, kwargs)
    if not op.masked_row:
        wider = (torch.float32, torch.float64) if tensor.dtype in _HALF else (torch.float64,)
        op.finite_in = tuple(str(d).removeprefix("torch.") for d in wider if finite_when_wider(func, args, kwargs, d))


def origin(last: Op) -> Op:
    """The earliest operation that made the values of ``last`` not finite: the first with finite inputs, masks left aside."""
    found: list[Op] = []
    waiting, seen = [last], {id(last)}  # not by recursion: a recurrent net is deeper than Python's stack
    while waiting:
        op = waiting.pop()
        causes = [made for made, what in op.inputs if made is not None and made.order < op.order and not _meant(made, what)]
        if op.masked_row or not causes:
            found.append(op)
            continue
        waiting += [one for one in causes if id(one) not in seen]
        seen |= {id(one) for one in causes}
    return min(found, key=lambda one: one.order)


def _meant(op: Op, what: Marks) -> bool:
    """Whether infinities were written as constants and handed on as they are: a mask."""
    if Marks.NAN in what:
        return False
    waiting, seen = [op], {id(op)}
    while waiting:
        one = waiting.pop()
        if one.marks != what or (not one.inputs and one.name not in WRITERS):
            return False
        above = [made for made, _ in one.inputs if made is not None and made.order < one.order and id(made) not in seen]
        waiting += above
        seen |= {id(made) for made in above}
    return True


@contextmanager
def walked(modules: Sequence[nn.Module], stack: list[Module]) -> Generator[None, None, None]:
    """Keep ``stack`` at the module that runs; the first of ``modules`` is the model, another one the criterion."""
    handles = []
    for at, whole in enumerate(modules):
        for name, module in whole.named_modules(prefix="loss_fn" if at else ""):
            here = Module(name.replace("_orig_mod.", ""), type(module).__name__, inside=at == 0)

            def enter(*_: object, here: Module = here) -> None:
                stack.append(here)

            def leave(*_: object) -> None:
                stack.pop()

            handles.append(module.register_forward_pre_hook(enter, prepend=True))
            handles.append(module.register_forward_hook(leave, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        stack.clear()
