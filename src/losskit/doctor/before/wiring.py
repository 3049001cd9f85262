"""How loss, parameters and optimizer hang together: one backward pass, then one step that is taken back."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..evidence.wiring import Parameter, Wiring
from ..norms import norm, real
from ..step import Step
from .company import homes
from .entries import loss_of, same_randomness
from .pull import Pull, pull

__all__ = ["look_at_wiring"]

_PASSES = 3  # a branch that is taken at random has had its chance then
_ALIKE = 0.9  # cosine of a weight and its moving average
_OWNERS = 32  # modules without a gradient that are tried one by one
_FINITE, _ZERO, _BAD, _NONE = "finite", "zero", "non-finite", "none"


Known = Mapping[int, tuple[str, str, Tensor]]
"""By identity: home, name and the parameter itself."""


def look_at_wiring(
    step: Step,
    batch: Any,
    optimizer: Any = None,
    *,
    scaler: Any = None,
    seed: int = 0,
    budget_s: float = 10.0,
) -> Wiring:
    """One backward pass from no gradients (more, with other random numbers, while some get none), and a step of each optimizer.

    ``optimizer`` may be a list of them. What is changed is not taken back: stand inside of ``untouched``.
    """
    until = time.perf_counter() + budget_s
    optimizers = [o for o in (optimizer if isinstance(optimizer, (list, tuple)) else [optimizer]) if o is not None]
    with same_randomness(seed):
        total = step(batch)
    known, learns = homes(step, total), total.requires_grad
    del total  # its graph holds every activation
    seen = _Seen(known, _rates(optimizers) if optimizers else None, dict.fromkeys(known, (_NONE, 0.0)))
    wiring = Wiring(
        parameters=(),
        loss_requires_grad=learns,
        foreign=_foreign(optimizers, known),
        learning_rates=tuple(float(g["lr"]) for o in optimizers for g in o.param_groups if "lr" in g),
        optimizer=" and ".join(type(o).__name__ for o in optimizers),
        maximize=any(bool(g.get("maximize")) for o in optimizers for g in o.param_groups),
    )
    if not learns:
        return replace(wiring, parameters=seen.parameters())
    seen.grads, passes = _gradients(step, batch, known, scaler, seed)
    seen.felt = _felt(step, batch, known, seen.grads, seed, until)
    if all(kind != _BAD for kind, _ in seen.grads.values()):
        seen.pulled = pull(optimizers, {i: p for i, (_, _, p) in known.items()}, lambda: step(batch))
    error, slope = seen.pulled.error, seen.pulled.slope
    return replace(wiring, parameters=seen.parameters(), step_error=error, slope_of_step=slope, passes=passes)


@dataclass
class _Seen:
    known: Known
    rates: Mapping[int, float] | None
    grads: Mapping[int, tuple[str, float]]
    felt: Mapping[int, float] = field(default_factory=dict)
    pulled: Pull = field(default_factory=Pull)

    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(self._parameter(i) for i in self.known)

    def _parameter(self, i: int) -> Parameter:
        home, name, p = self.known[i]
        values, (kind, length) = p.detach(), self.grads[i]
        return Parameter(
            name=name,
            numel=p.numel(),
            requires_grad=p.requires_grad,
            optimized=None if self.rates is None else i in self.rates,
            grad=kind,
            grad_norm=length,
            weight_norm=norm(values),
            finite=bool(values.isfinite().all()),
            dtype=str(p.dtype).removeprefix("torch."),
            moved=self.pulled.moved.get(i),
            lost=self.pulled.lost.get(i),
            lr=(self.rates or {}).get(i),
            fan_in=p.numel() // p.shape[0] if p.dim() > 1 and p.shape[0] else 0,
            home=home,
            felt=self.felt.get(i),
            twin=_twin(i, self.known, self.grads) if self.felt.get(i) else "",
        )


def _rates(optimizers: Sequence[Any]) -> dict[int, float]:
    return {id(p): float(group.get("lr", 0.0)) for one in optimizers for group in one.param_groups for p in group["params"]}


def _foreign(optimizers: Sequence[Any], known: Known) -> tuple[tuple[int, ...], ...]:
    every = {id(p): p for one in optimizers for group in one.param_groups for p in group["params"]}
    return tuple(tuple(p.shape) for i, p in every.items() if i not in known)


def _gradients(step: Step, batch: Any, known: Known, scaler: Any, seed: int) -> tuple[dict[int, tuple[str, float]], int]:
    """What kind of gradient each parameter gets, with its norm; the gradients of the first pass stay where they are."""
    tensors = {i: p for i, (_, _, p) in known.items()}
    scale = float(scaler.get_scale()) if scaler is not None and scaler.is_enabled() else 1.0
    found: dict[int, tuple[str, float]] = {}
    first: dict[int, Tensor | None] = {}
    number = 0
    for number in range(_PASSES):
        while True:
            _clear(tensors.values())
            with same_randomness(seed + number):
                torch.autograd.backward(step(batch).float() * scale)
            here = {i: _kind(p, scale) for i, p in tensors.items()}
            if scale <= 1 or all(kind != _BAD for kind, _ in here.values()):
                break
            scale /= 16  # a scaler begins too high on purpose and comes down by itself
        found = {i: one if found.get(i, (_NONE, 0.0))[0] == _NONE else found[i] for i, one in here.items()}
        if number == 0:
            first = {i: p.grad for i, p in tensors.items()}
        if all(kind != _NONE for i, (kind, _) in found.items() if tensors[i].requires_grad):
            break
    for i, p in tensors.items():
        p.grad = first[i]
    return found, number + 1


def _clear(tensors: Iterable[Tensor]) -> None:
    for p in tensors:
        p.grad = None


def _kind(p: Tensor, scale: float) -> tuple[str, float]:
    grad = p.grad
    if grad is None:
        return _NONE, 0.0
    values = grad.coalesce().values() if grad.is_sparse else grad
    if scale != 1:
        values.mul_(1 / scale)
    length = norm(values)
    if not math.isfinite(length):
        return _BAD, length
    return (_FINITE if length > 0 else _ZERO), length


def _felt(
    step: Step,
    batch: Any,
    known: Known,
    grads: Mapping[int, tuple[str, float]],
    seed: int,
    until: float,
) -> dict[int, float]:
    """How much the loss changes with parameters without gradient: it does where the graph is cut, not where they are unused."""
    without = [
        i for i, (kind, _) in grads.items() if kind == _NONE and known[i][2].requires_grad and known[i][2].is_floating_point()
    ]
    if not without:
        return {}

    def change(ids: Sequence[int]) -> float:
        return _change([known[i][2] for i in ids], lambda: _value(step, batch, seed), seed)

    if not change(without):
        return dict.fromkeys(without, 0.0)
    owners: dict[str, list[int]] = {}
    for i in without:
        owners.setdefault(known[i][1].rpartition(".")[0], []).append(i)
    felt: dict[int, float] = {}
    for ids in list(owners.values())[:_OWNERS]:
        if time.perf_counter() > until:
            break
        felt.update(dict.fromkeys(ids, change(ids)))
    return felt


def _value(step: Step, batch: Any, seed: int) -> float:
    return loss_of(step, batch, seed)


@torch.no_grad()
def _change(tensors: Sequence[Tensor], value: Callable[[], float], seed: int) -> float:
    """Relative change of the loss; 0 if it is not above that of two equal evaluations."""
    plain, again = value(), value()
    before = [p.detach().clone() for p in tensors]
    made = torch.Generator().manual_seed(seed)
    for p in tensors:
        spread = float(p.float().std()) if p.numel() > 1 else 0.0
        noise = torch.randn(p.shape, generator=made).to(p.device, p.dtype)
        p.add_(noise * (spread or 0.1))
    other = value()
    for p, values in zip(tensors, before, strict=True):
        p.copy_(values)
    noise_floor = 10 * abs(plain - again) + 1e-6 * abs(plain)
    return abs(other - plain) / max(abs(plain), 1e-12) if abs(other - plain) > noise_floor else 0.0


def _twin(i: int, known: Known, grads: Mapping[int, tuple[str, float]]) -> str:
    """The student of a teacher: a name that differs in one component, the same shape, nearly the same values, and a gradient."""
    _, name, p = known[i]
    for j, (_, other, q) in known.items():
        if q.shape == p.shape and grads[j][0] == _FINITE and _differ(name, other) == 1 and _alike(p, q):
            return other
    return ""


def _differ(name: str, other: str) -> int:
    parts, theirs = name.split("."), other.split(".")
    return sum(map(str.__ne__, parts, theirs)) + abs(len(parts) - len(theirs))


def _alike(p: Tensor, q: Tensor) -> bool:
    one, other = (real(x).double().flatten() for x in (p, q))
    return bool(one @ other >= _ALIKE * one.norm() * other.norm())
