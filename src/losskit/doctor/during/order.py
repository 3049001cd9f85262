"""Whether ``monitor.step`` comes after the optimizer's step: the gradients that it looks at are used up then, or gone."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["SEEN", "Order"]

CALLS = 8  # calls that are looked at: the lines of a loop stay in their order
SEEN = 2  # late ones that are told: one may be a batch without a backward pass
MOST = 0.5  # of the trained parameters have a gradient at a step of the whole model


class Order:
    """Compares the gradients at each of the first calls with what the optimizer's step left: a backward pass changes them."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.looked = self.late = 0
        self.cleared = 0
        """Late calls at which the gradients were gone or 0."""
        self._trained: list[Tensor] = []
        self._left: list[tuple[Tensor, weakref.ref[Tensor], int]] = []
        self._news = False

    @property
    def watches(self) -> bool:
        """Whether there is still something to find out."""
        return self.looked < CALLS

    def before_step(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """The optimizer is about to step; one that is given a closure makes its gradients itself."""
        closure = any(callable(one) for one in (*args, *kwargs.values()))
        ours = [] if closure or not self.watches else list(self.model.parameters())
        trained = [p for p in ours if p.requires_grad]
        self._trained = [p for p in trained if p.grad is not None]
        # inside of a backward pass, where no graph is built, an optimizer is fused into it: no monitor could come before
        if not torch.is_grad_enabled() or len(self._trained) < MOST * len(trained):
            self._trained = []
        self._left = []

    def after_step(self) -> None:
        """Remember the gradients as the step left them: which tensors, how often written to."""
        # a clip or unscale_ writes before the step; no reference keeps a cleared gradient's memory
        left = [(p, p.grad) for p in self._trained if p.grad is not None]
        self._left = [(p, weakref.ref(grad), grad._version) for p, grad in left]

    def asked(self) -> None:
        """The monitor is called: was there a backward pass since the optimizer's step?"""
        trained, left = self._trained, {id(p): (grad(), version) for p, grad, version in self._left}
        self._trained, self._left = [], []
        if not self.watches or not trained:
            return  # no step since the last call, or one without gradients
        self.looked += 1
        known = {id(p) for p in trained}
        if any(p.grad is not None and id(p) not in known for p in self.model.parameters() if p.requires_grad):
            return
        states = {_state(p.grad, *left.get(id(p), (None, 0))) for p in trained}
        if "new" not in states:
            self.late += 1
            self.cleared += "used" not in states
            self._news = self.late == SEEN

    def news(self) -> bool:
        """True once, when it is sure that calls come late."""
        news, self._news = self._news, False
        return news


def _state(grad: Tensor | None, left: Tensor | None, version: int) -> str:
    """Of a gradient beside what the step left: "used", "cleared", or "new" from a backward pass."""
    if grad is None:
        return "cleared"
    if grad is not left:
        return "new"
    if grad._version == version:
        return "used"
    # zero_grad(set_to_none=False) writes once, and so does a backward pass that adds to a gradient
    own: Any = getattr(grad, "to_local", lambda: grad)()  # a shard alone: the ranks need not wait for each other
    return "cleared" if grad._version == version + 1 and not bool((own != 0).any()) else "new"
