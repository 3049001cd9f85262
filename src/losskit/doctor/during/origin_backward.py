"""Every node of a backward pass, with what was not finite in its gradients; and which of them came first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..step import tensors_in
from .origin_lines import line_of_stack
from .origin_ops import marks, readable
from .origin_trace import Module

__all__ = ["Backward", "Node", "NodeModules"]


@dataclass(eq=False)
class Node:
    """One node of the graph, as the backward pass saw it."""

    node: Any
    order: int = -1
    above: list[tuple[Node, int]] = field(default_factory=list)
    """Nodes that hand it a gradient, and by which of their inputs."""
    bad_out: bool = False
    """Whether a gradient that came in is not finite already."""
    bad_in: dict[int, Tensor] = field(default_factory=dict)
    """Gradients that it hands on and that are not finite."""

    @property
    def name(self) -> str:
        """ "SqrtBackward0" as "sqrt"."""
        words = "".join(f"_{c.lower()}" if c.isupper() else c for c in type(self.node).__name__.rpartition("Backward")[0])
        return readable(words.strip("_")) if words else str(self.node.name())

    @property
    def where(self) -> str:
        """The line of the forward pass that made it."""
        return line_of_stack(self.node.metadata.get("traceback_", ()))

    @property
    def largest(self) -> float | None:
        """Largest finite magnitude of what it kept of the forward pass."""
        return max((float(t.abs().amax()) for t in self._saved()), default=None)

    @property
    def lowest(self) -> float | None:
        """Lowest value of what it kept of the forward pass."""
        return min((float(t.amin()) for t in self._saved()), default=None)

    def _saved(self) -> list[Tensor]:
        kept = [getattr(self.node, name, None) for name in dir(self.node) if name.startswith("_saved_")]
        floats = [t.detach() for t in tensors_in(kept) if t.is_floating_point() and t.layout == torch.strided]
        finite = [t[torch.isfinite(t)].double() for t in floats]
        return [t for t in finite if t.numel()]


class Backward:
    """Hooks on every node above a loss."""

    def __init__(self, loss: Tensor) -> None:
        self.nodes: dict[Any, Node] = {}
        self._count = 0
        self._handles: list[Any] = []
        waiting = [loss.grad_fn] if loss.grad_fn is not None else []
        while waiting:
            node = waiting.pop()
            here = self._of(node)
            for below, _ in node.next_functions:
                if below is None:
                    continue
                if below not in self.nodes:
                    waiting.append(below)
                self._of(below)
            for at, (below, _) in enumerate(node.next_functions):
                if below is not None and (here, at) not in self.nodes[below].above:
                    self.nodes[below].above.append((here, at))

    def _of(self, node: Any) -> Node:
        if node not in self.nodes:
            self.nodes[node] = here = Node(node)
            if type(node).__name__ != "AccumulateGrad":
                self._handles.append(node.register_hook(partial(self._ran, here)))
        return self.nodes[node]

    def _ran(self, here: Node, ins: Sequence[Tensor | None], outs: Sequence[Tensor | None]) -> None:
        here.order = self._count
        self._count += 1
        here.bad_out = any(marks(t) for t in outs if t is not None)
        here.bad_in = {at: t.detach() for at, t in enumerate(ins) if t is not None and marks(t)}

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()

    def origin(self, leaf: Tensor) -> tuple[Node, Tensor] | None:
        """The first node, of those that the leaf's gradient came through, with a finite gradient in and another one out."""
        start = next((n for key, n in self.nodes.items() if getattr(key, "variable", None) is leaf), None)
        if start is None:
            return None
        found: list[tuple[Node, Tensor]] = []
        waiting, seen = [start], {id(start)}
        while waiting:
            here = waiting.pop()
            for node, at in here.above:
                if at not in node.bad_in:
                    continue
                if not node.bad_out or not any(a.bad_in.get(i) is not None for a, i in node.above):
                    found.append((node, node.bad_in[at]))
                elif id(node) not in seen:
                    seen.add(id(node))
                    waiting.append(node)
        return min(found, key=lambda one: one[0].order, default=None)


class NodeModules:
    """Which module made each node: what stands above a module's outputs and not above its inputs is its own."""

    def __init__(self, modules: Sequence[nn.Module], stack: list[Module]) -> None:
        self.of: dict[Any, Module] = {}
        self._stack = stack
        self._handles = []
        for whole in modules:
            for module in whole.modules():
                self._handles.append(module.register_forward_pre_hook(self._before, with_kwargs=True, prepend=True))
                self._handles.append(module.register_forward_hook(self._after, prepend=True))

    def _before(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        self._claim([args, kwargs])

    def _after(self, module: nn.Module, args: Any, output: Any) -> None:
        self._claim(output)

    def _claim(self, values: Any) -> None:
        """Nodes that nobody has claimed belong to the module that runs now."""
        here = self._stack[-1] if self._stack else Module()
        outputs = values if not hasattr(values, "__dict__") or isinstance(values, (Tensor, dict)) else vars(values)
        waiting = [t.grad_fn for t in tensors_in(outputs) if t.grad_fn is not None]
        while waiting:
            node = waiting.pop()
            if node in self.of:
                continue
            self.of[node] = here
            waiting += [below for below, _ in node.next_functions if below is not None]

    def close(self) -> None:
        """Take the hooks off."""
        for handle in self._handles:
            handle.remove()
