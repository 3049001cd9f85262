"""One step of an optimizer, looked at and taken back: which way it goes, and what rounding leaves of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from ..norms import norm, real

__all__ = ["Pull", "pull"]

_HALF = (torch.float16, torch.bfloat16)
_LONGER = 1024.0  # a step that is so much longer is not lost in rounding, and tells how long the real one should be


@dataclass(frozen=True)
class Pull:
    """What one step did, by the identity of the parameters."""

    moved: Mapping[int, float] = field(default_factory=dict)
    lost: Mapping[int, float] = field(default_factory=dict)
    slope: float | None = None
    error: str = ""


def pull(optimizers: Sequence[Any], tensors: Mapping[int, Tensor], loss: Callable[[], Tensor]) -> Pull:
    """A first step with the gradients that are there, weight decay off; a rate that a schedule holds at 0 is set to its first.

    Weights come back; the optimizers' states do not.
    """
    if not optimizers:
        return Pull()
    before = {i: p.detach().clone() for i, p in tensors.items()}
    grads = {i: p.grad for i, p in tensors.items()}  # an optimizer with a closure makes new ones
    try:
        with _bare(optimizers, 1.0):
            _stepped(optimizers, loss)
    except Exception as problem:  # whatever a user's optimizer raises is what we want to know
        _back(tensors, before)
        return Pull(error=f"{type(problem).__name__}: {problem}".split("\n")[0])
    moved, slope = _looked_at(tensors, before, grads)
    _back(tensors, before)
    for i, p in tensors.items():
        p.grad = grads[i]
    halves = {i: p for i, p in tensors.items() if p.dtype in _HALF and p.grad is not None}
    return Pull(moved, _lost(optimizers, halves, before, loss) if halves else {}, slope)


@contextmanager
def _bare(optimizers: Sequence[Any], times: float, *, steady: bool = False) -> Generator[None, None, None]:
    """The optimizers without decay; ``steady``: with steps as long as momentum makes them after a while."""
    groups = [group for one in optimizers for group in one.param_groups]
    kept = [dict(group) for group in groups]
    for group in groups:
        if isinstance(group.get("weight_decay"), (int, float)):
            group["weight_decay"] = 0.0
        if "lr" in group:
            rate = float(group["lr"]) or float(group.get("initial_lr", 0.0))
            momentum = float(group.get("momentum", 0.0)) if steady else 0.0
            group["lr"] = rate * times / (1 - momentum if momentum < 1 else 1)
        if "max_iter" in group:
            group["max_iter"] = 1  # of L-BFGS: later ones may turn away from the first gradient
    try:
        yield
    finally:
        for group, values in zip(groups, kept, strict=True):
            group.update(values)


def _stepped(optimizers: Sequence[Any], loss: Callable[[], Tensor]) -> None:
    for one in optimizers:
        state = dict(one.state)
        one.state.clear()
        try:
            _step(one, loss)
        except (KeyError, IndexError):  # e.g. Adagrad makes its state when it is made, not at the first step
            one.state.update(state)
            _step(one, loss)


def _step(one: Any, loss: Callable[[], Tensor]) -> None:
    def closure() -> Tensor:
        with torch.enable_grad():
            one.zero_grad()
            value = loss()
            torch.autograd.backward(value)
        return value

    if isinstance(one, torch.optim.LBFGS):
        one.step(closure)
        return
    one.step()


@torch.no_grad()
def _back(tensors: Mapping[int, Tensor], before: Mapping[int, Tensor]) -> None:
    for i, p in tensors.items():
        p.copy_(before[i])


def _looked_at(
    tensors: Mapping[int, Tensor], before: Mapping[int, Tensor], grads: Mapping[int, Tensor | None]
) -> tuple[dict[int, float], float | None]:
    """How far each moved; the cosine between gradient and change, None if nothing moved."""
    moved: dict[int, float] = {}
    dot = up = along = 0.0
    for i, p in tensors.items():
        change = real(p.detach() - before[i]).float()
        moved[i] = norm(change)
        grad = grads[i]
        if grad is None:
            continue
        grad = real(grad.to_dense() if grad.is_sparse else grad).float()
        dot += float((grad * change).sum(dtype=torch.float64))
        up += float(grad.double().square().sum())
        along += moved[i] ** 2
    return moved, dot / (up * along) ** 0.5 if up * along > 0 else None


def _lost(
    optimizers: Sequence[Any], tensors: Mapping[int, Tensor], before: Mapping[int, Tensor], loss: Callable[[], Tensor]
) -> dict[int, float]:
    """Of weights in half precision: the share that a steady run should move and does not; none where rounding is by chance."""
    changes: list[dict[int, Tensor]] = []
    memories: list[dict[int, list[Tensor]]] = []
    for seed, times in enumerate((1.0, _LONGER, _LONGER)):
        torch.manual_seed(seed)
        try:
            with _bare(optimizers, times, steady=True):
                _stepped(optimizers, loss)
        except Exception:  # a longer step is a convenience: without it nothing is said of rounding
            return {}
        changes.append({i: (p.detach().float() - before[i].float()) / times for i, p in tensors.items()})
        memories.append({i: _memory(optimizers, p) for i, p in tensors.items()})
        _back(tensors, before)
    came, wanted, again = changes
    if not all(torch.equal(wanted[i], again[i]) for i in tensors):
        return {}
    moving = [i for i in tensors if bool(wanted[i].any())]
    return {i: 0.0 if _kept(memories[0][i], before[i], came[i], wanted[i]) else _share(wanted[i], came[i]) for i in moving}


def _memory(optimizers: Sequence[Any], p: Tensor) -> list[Tensor]:
    """What the optimizers remember of a weight, as large as the weight."""
    states = [one.state.get(p, {}) for one in optimizers]
    return [s for state in states for s in state.values() if isinstance(s, Tensor) and s.shape == p.shape]


def _kept(memory: Sequence[Tensor], before: Tensor, came: Tensor, wanted: Tensor) -> bool:
    """Whether the optimizer remembers what rounding took: as a compensation, or in a copy of the weights with more digits."""
    rest, whole = wanted - came, before.float() + wanted
    near = 0.5 * float(wanted.norm())
    return any(
        float((s.float() - one).norm()) <= near or float((s.float() + rest).norm()) <= near
        for s in memory
        for one in (rest, whole)
    )


def _share(wanted: Tensor, came: Tensor) -> float:
    due = wanted != 0
    return float((due & (came == 0)).sum()) / int(due.sum())
