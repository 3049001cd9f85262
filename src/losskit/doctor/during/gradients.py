"""What happens to the gradients between two steps: their norm, whether they were clipped, cleared or left over."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ..before.optimizers import inner_optimizer
from . import clips
from .order import Order

__all__ = ["Gradients", "parameters_of", "total_norm"]

KEPT_CLIPS = 200  # enough for a median, and 2 numbers each
SMALLEST_SCALE = 16.0  # below this it is no gradient scaler's factor: those start at 2^16 and halve
WAYS = ("parameters", "named_parameters", "named_modules")  # to parameters; a model may have its own
_OWN, _CHILDREN = "_parameters", "_modules"  # of a module, as torch keeps them
_NORMS = "_foreach_norm"  # what get_total_norm itself calls


class Gradients:
    """Watches between ``open`` and ``close``: the optimizer's steps, torch's clip function, one parameter's gradient at times."""

    def __init__(self, model: nn.Module, optimizer: Any, scaler: Any) -> None:
        self.model, self.optimizer, self.scaler = model, inner_optimizer(optimizer), scaler
        self.steps = self.cleared_between = self.grads_before = 0
        self.clipped_scaled: float | None = None
        self.muted = False
        """Whether the monitor itself calls the model at the moment; hooks stand aside then."""
        self.on_step: list[Callable[[], None]] = []
        """Called once after the next step of the optimizer."""
        self._clips: deque[tuple[float, Tensor]] = deque(maxlen=KEPT_CLIPS)
        self._clip: tuple[float, Tensor, int] | None = None
        self._handles: list[RemovableHandle] = []
        self._clipped: tuple[float, Tensor] | None = None
        self._watched: Tensor | None = None
        self._leaf: RemovableHandle | None = None
        self._fired = self._alive = self._stale = False
        self._steps_at_arming = 0
        self.order = Order(model)

    # ------------------------------------------------------------------ on and off

    def open(self) -> None:
        """Begin to watch."""
        if isinstance(self.optimizer, torch.optim.Optimizer):
            self._handles += [
                self.optimizer.register_step_pre_hook(self._before_step),
                self.optimizer.register_step_post_hook(self._after_step),
            ]
        clips.listen(self._heard_clip)

    def close(self) -> None:
        """Leave everything as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        self._drop_watched()
        clips.forget(self._heard_clip)

    # ------------------------------------------------------------------ norms and clips

    def norm(self) -> Tensor | None:
        """The norm of all gradients before a clip, a tensor where they are; None without any. Call it after backward."""
        clip, self._clip = self._clip, None
        # a parameter that was frozen after a training keeps the gradient of then
        grads = [p.grad for p in parameters_of(self.model) if p.grad is not None and p.requires_grad]
        if not grads:
            return None
        whole = clip is not None and clip[2] >= len(grads)  # a clip of some parameters has the norm of some
        norm = clip[1] if clip is not None and whole else total_norm(grads, self.model)
        scale = self.scale() if self._scaled() else None
        return norm if scale is None else norm / scale.to(norm.device)

    def scale(self) -> Tensor | None:
        """The gradient scaler's factor where it lies, unread."""
        found = getattr(self.scaler, "_scale", None)
        return found if isinstance(found, Tensor) else None

    @property
    def scales(self) -> bool:
        """Whether a gradient scaler is at work, which leaves out steps that overflow."""
        return self.scaler is not None and bool(self.scaler.is_enabled())

    def rate(self) -> float | None:
        """The largest learning rate of all groups; None where it lies on a device, since that would have to be waited for."""
        rates = [group["lr"] for group in getattr(self.optimizer, "param_groups", ())]
        known = [float(rate) for rate in rates if not (isinstance(rate, Tensor) and rate.device.type != "cpu")]
        return max(known, default=None)

    def _scaled(self) -> bool:
        """Whether the gradients still carry the scaler's factor: its stage is 0 until ``unscale_``."""
        if not self.scales:
            return False
        states = getattr(self.scaler, "_per_optimizer_states", {})
        stage = states.get(id(self.optimizer), {}).get("stage") if id(self.optimizer) in states else None
        return stage is None or getattr(stage, "value", 0) == 0

    @property
    def maximizes(self) -> bool:
        """Whether the optimizer is told to climb."""
        return any(group.get("maximize") for group in getattr(self.optimizer, "param_groups", ()))

    @property
    def clip_ratios(self) -> tuple[float, ...]:
        """max_norm / norm of the clips seen last; waits for the device."""
        if not self._clips:
            return ()
        seen = tuple(self._clips)
        norms = torch.stack([norm.detach().double().reshape(()).cpu() for _, norm in seen]).tolist()
        pairs = zip(seen, norms, strict=True)
        return tuple(limit / norm for (limit, _), norm in pairs if norm > 0 and math.isfinite(norm))

    def _heard_clip(self, parameters: Sequence[Tensor], max_norm: float, norm: Tensor) -> None:
        """A clip of some parameters somewhere in the process, its limit, and the norm that it found."""
        own = {id(p) for p in self.model.parameters()}
        count = sum(p.grad is not None and id(p) in own for p in parameters)
        if not count or self.muted:
            return  # of another model
        self._clip = max_norm, norm, count
        if math.isfinite(max_norm):
            self._clipped = max_norm, norm
            self._clips.append(self._clipped)

    # ------------------------------------------------------------------ order of backward, zero_grad and step

    def arm(self) -> None:
        """Look closely at the next step: at one gradient before and after its backward pass, and at the clip."""
        self._drop_watched()
        trained = (p for p in self.model.parameters() if p.requires_grad)
        with_grad = (p for p in trained if p.grad is not None and not p.grad.is_sparse)
        self._watched = next(with_grad, next((p for p in self.model.parameters() if p.requires_grad), None))
        self._fired = self._alive = self._stale = False
        self._steps_at_arming = self.steps
        if self._watched is not None:
            self._leaf = self._watched.register_hook(self._before_accumulation)

    def _drop_watched(self) -> None:
        if self._leaf is not None:
            self._leaf.remove()
        self._watched = self._leaf = None

    def _before_accumulation(self, grad: Tensor) -> None:
        """A gradient is about to be added: is that of a step that was already taken still there?"""
        if self._watched is None or self.muted:
            return
        old = self._watched.grad
        left = old is not None and bool((old != 0).any())
        # a pass for another network's step (a generator's) may come first: what counts is whether it is cleared before the step
        self._stale = left and (self._stale if self._fired else self.steps > self._steps_at_arming)
        self._fired, self._alive = True, bool((grad != 0).any())

    def _before_step(self, _: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> None:
        self.order.before_step(args, kwargs or {})
        if self._watched is None or not self._fired:
            return
        grad = self._watched.grad
        self.grads_before += int(self._stale)
        self.cleared_between += int(self._alive and (grad is None or not bool((grad != 0).any())))
        if self._clipped is not None:
            self._compare_scales(*self._clipped)

    def _compare_scales(self, limit: float, norm: Tensor) -> None:
        """Gradients that are smaller by the scale than the clip left them were clipped with the scale in them."""
        grads = [p.grad for p in self.model.parameters() if p.grad is not None]
        left = min(limit, float(norm))
        now = float(total_norm(grads, self.model)) if grads else 0.0
        if not (math.isfinite(left) and math.isfinite(now) and left > 0 and now > 0):
            return
        fused = getattr(self.optimizer, "grad_scale", None)  # the optimizer itself is about to unscale
        factor = float(fused) if isinstance(fused, Tensor) else left / now
        if factor >= SMALLEST_SCALE and abs(math.log2(factor) - round(math.log2(factor))) < 0.02:
            self.clipped_scaled = factor

    def _after_step(self, *_: Any) -> None:
        self.steps += 1
        self.order.after_step()
        self._clip = self._clipped = None
        if self._fired:
            self._drop_watched()
        waiting, self.on_step = self.on_step, []
        for call in waiting:
            call()


def total_norm(grads: list[Tensor], model: nn.Module) -> Tensor:
    """The norm of all of them, a 0-d tensor; of a sharded model by its own library."""
    sparse = [g.coalesce().values() if g.is_sparse else g for g in grads]
    clip = getattr(model, "clip_grad_norm_", None)
    if callable(clip) and type(model).__name__ == "FullyShardedDataParallel":
        found = clip(math.inf)
        assert isinstance(found, Tensor)  # that of FSDP 1
        return found.detach()
    first = sparse[0]
    if first.device.type in ("cpu", "cuda") and all(_alike(g, first) for g in sparse):
        with torch.no_grad():  # as get_total_norm does it, less the groups by device and format
            together: Tensor = torch.linalg.vector_norm(torch.stack(getattr(torch, _NORMS)(sparse)))
        return together
    norm = torch.nn.utils.get_total_norm(sparse)
    gather: Any = getattr(norm, "full_tensor", None)  # DTensor, as FSDP 2 has gradients
    whole: Tensor = norm if gather is None else gather()
    return whole.detach()


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether both are plain tensors of one device and format."""
    return type(one) is type(other) is Tensor and one.dtype == other.dtype and one.device == other.device


def parameters_of(model: nn.Module) -> list[nn.Parameter]:
    """``model.parameters()`` without the names that it makes on the way: half of the time, at every step."""
    if any(getattr(type(model), way) is not getattr(nn.Module, way) for way in WAYS):
        return list(model.parameters())
    found: list[nn.Parameter] = []
    seen, waiting = set[int](), [model]
    while waiting:
        module = waiting.pop()
        if id(module) in seen:
            continue
        seen.add(id(module))
        own: Mapping[str, nn.Parameter | None] = getattr(module, _OWN)
        for p in own.values():
            if p is not None and id(p) not in seen:
                seen.add(id(p))
                found.append(p)
        children: Mapping[str, nn.Module | None] = getattr(module, _CHILDREN)
        waiting += [one for one in reversed(list(children.values())) if one is not None]
    return found
