"""One forward and backward pass under observation; and the same without it, in any format."""

from __future__ import annotations

import copy
import sys
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
import torch.utils.checkpoint
from torch import Tensor, nn

from ..step import Step
from .origin_backward import Backward, Node, NodeModules
from .origin_batch import mapped
from .origin_ops import marks
from .origin_state import kept, named_state
from .origin_trace import Module, Op, Trace, origin, walked

__all__ = ["Pass", "Patient", "fails", "finite_formats", "observed"]

_REENTRANT = "CheckpointFunction"
_LARGEST_COPY = 2**31  # bytes of weights that are copied into another format; above, one operation must do


@dataclass(frozen=True)
class Patient:
    """What is run, and what it may change."""

    step: Step
    optimizer: torch.optim.Optimizer | None

    @classmethod
    def of(cls, step: Step, optimizer: torch.optim.Optimizer | None) -> Patient:
        """Without the wrapper of data-parallel training: other ranks do not take part."""
        if isinstance(step.model, nn.parallel.DistributedDataParallel):
            step = replace(step, model=step.model.module)
        return cls(step, optimizer)

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The model, and the criterion if it is a module."""
        return (self.step.model, *([self.step.loss_fn] if isinstance(self.step.loss_fn, nn.Module) else []))

    def leaves(self) -> dict[str, Tensor]:
        """Everything that gets a gradient, by name."""
        weights = ((name, t) for kind, name, t in named_state(self.modules, self.optimizer) if kind == "weight")
        return {name: t for name, t in weights if t.requires_grad}

    def kept(self) -> AbstractContextManager[None]:
        """Leaves no trace."""
        return kept(self.modules, self.optimizer)

    def owner(self, name: str) -> Module:
        """The module that holds a weight or a buffer of that name."""
        path = name.rpartition(".")[0]
        for at, whole in enumerate(self.modules):
            for here, module in whole.named_modules(prefix="loss_fn" if at else ""):
                if here == path:
                    return Module(here.replace("_orig_mod.", ""), type(module).__name__, inside=at == 0)
        return Module()


@dataclass
class Pass:
    """What one pass showed; at most one of ``op`` and ``node`` is where it went wrong."""

    loss: float | None = None
    op: Op | None = None
    node: Node | None = None
    module: Module = field(default_factory=Module)
    leaf: str = ""
    """The weight whose gradient is not finite."""
    grad: Tensor | None = None
    """The gradient that the node handed on."""
    grads: dict[str, Tensor] | None = None
    problem: str = ""

    @property
    def fine(self) -> bool:
        """Whether loss and gradients are finite."""
        return self.op is None and self.node is None and not self.leaf and not self.problem


def observed(patient: Patient, batch: Any) -> Pass:
    """Forward and backward with a look at every value; the caller keeps the state."""
    stack: list[Module] = []
    trace = Trace(stack)
    with ExitStack() as around:
        around.enter_context(_quietly())
        # its tracebacks name the forward line of a node; set_ does not warn as detect_anomaly does
        around.enter_context(torch.autograd.set_detect_anomaly(True, check_nan=False))
        around.enter_context(walked(patient.modules, stack))
        nodes = NodeModules(patient.modules, stack)
        around.callback(nodes.close)
        around.enter_context(trace)
        try:
            loss = patient.step(batch)
        except Exception as problem:  # whatever the user's code raises is his, not ours
            bad = next((op for op in reversed(trace.ops) if op.marks), None)
            return Pass(op=None if bad is None else origin(bad), problem=f"{type(problem).__name__}: {problem}")
        last = trace.of(loss)
    value = float(loss.detach().double())
    if marks(loss):
        return Pass(value, op=None if last is None else origin(last), leaf="" if last is not None else "loss")
    return _backward(patient, loss, Pass(value), nodes)


def _backward(patient: Patient, loss: Tensor, seen: Pass, nodes: NodeModules) -> Pass:
    if not loss.requires_grad:
        return seen
    leaves = patient.leaves()
    backward = Backward(loss)
    try:
        grads = _grads(loss, list(leaves.values()))
    except RuntimeError as problem:  # the step has already used its graph up
        seen.problem = f"{type(problem).__name__}: {problem}"
        return seen
    finally:
        backward.close()
    seen.grads = {name: grad for name, grad in zip(leaves, grads, strict=True) if grad is not None}
    bad = [name for name, grad in seen.grads.items() if marks(grad)]
    if not bad:
        return seen
    seen.leaf, seen.grad = bad[0], seen.grads[bad[0]]
    origins = [(first, name) for name in bad if (first := backward.origin(leaves[name])) is not None]
    if origins:
        (seen.node, seen.grad), seen.leaf = min(origins, key=_first_run)
        seen.module = nodes.of.get(seen.node.node, Module())
    return seen


def _first_run(found: tuple[tuple[Node, Tensor], str]) -> int:
    return found[0][0].order


def _grads(loss: Tensor, leaves: Sequence[Tensor]) -> Sequence[Tensor | None]:
    if not leaves:
        return []
    # not backward(): the hooks of others at the leaves would count this pass
    return torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True)


@contextmanager
def _quietly() -> Generator[None, None, None]:
    """With gradients, everything run as it was written, and without the warnings that the user has already had."""
    # what is not loaded has compiled nothing
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    reentrant = torch.utils.checkpoint.CheckpointFunction
    setattr(torch.utils.checkpoint, _REENTRANT, _NotCheckpointed)  # its inner graph is hidden
    try:
        with warnings.catch_warnings(), torch.enable_grad(), eager:
            warnings.simplefilter("ignore")
            yield
    finally:
        setattr(torch.utils.checkpoint, _REENTRANT, reentrant)


class _NotCheckpointed:
    """Stands in for torch's reentrant checkpoint and keeps the graph: one batch has the memory."""

    @staticmethod
    def apply(function: Callable[..., Any], _preserve: bool, *args: Any) -> Any:
        return function(*args)


def fails(patient: Patient, batch: Any) -> bool:
    """Whether loss or gradients of the batch are not finite; leaves no trace."""
    with patient.kept(), _quietly():
        loss = patient.step(batch)
        if marks(loss):
            return True
        leaves = list(patient.leaves().values()) if loss.requires_grad else []
        return any(marks(grad) for grad in _grads(loss, leaves) if grad is not None)


def finite_formats(patient: Patient, batch: Any, dtypes: Sequence[torch.dtype]) -> tuple[str, ...] | None:
    """In which of the formats loss and gradients of the batch are finite; None if that cannot be tried."""
    if sum(p.numel() * 8 for p in patient.step.model.parameters()) > _LARGEST_COPY:
        return None
    found = []
    try:
        for dtype in dtypes:
            loss_fn = patient.step.loss_fn
            other = copy.deepcopy(loss_fn).to(dtype) if isinstance(loss_fn, nn.Module) else loss_fn
            twin = Patient(Step(copy.deepcopy(patient.step.model).to(dtype), other, patient.step.step), None)
            if not fails(twin, mapped(batch, partial(_as, dtype))):
                found.append(str(dtype).removeprefix("torch."))
    except Exception:  # a model that cannot be copied or has formats of its own: what one operation showed must do
        return None
    return tuple(found)


def _as(dtype: torch.dtype, tensor: Tensor) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
