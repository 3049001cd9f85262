"""The weights around one step of a live run."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..evidence.wiring import Parameter
from ..norms import norm, real

__all__ = ["Weights"]

SAMPLE = 65_536  # elements of a parameter that are copied: exact up to 256 x 256, a sample beyond


class Weights:
    """The weights before a step, to be held against those after it; of a large parameter a sample."""

    def __init__(self, model: nn.Module, optimizer: Any) -> None:
        self.rates = {id(p): float(g["lr"]) for g in getattr(optimizer, "param_groups", ()) for p in g["params"]}
        self.known = bool(self.rates)
        self.named = list(model.named_parameters())
        with torch.no_grad():
            self.before = [_sample(p).clone() for _, p in self.named]
            self.grads = [None if p.grad is None or p.grad.is_sparse else _sample(p.grad).clone() for _, p in self.named]
            self.norms = [(None if p.grad is None else _norm(p.grad), _norm(p)) for _, p in self.named]

    @torch.no_grad()
    def after(self) -> tuple[Parameter, ...]:
        """Each parameter, with how far it has moved since."""
        pieces = zip(self.named, self.before, self.grads, self.norms, strict=True)
        return tuple(self._parameter(name, p, old, grad, *norms) for (name, p), old, grad, norms in pieces)

    def _parameter(
        self, name: str, p: Tensor, old: Tensor, grad: Tensor | None, grad_norm: float | None, weight_norm: float
    ) -> Parameter:
        new = _sample(p)
        change = _distance(real(new), real(old)) if new.shape == old.shape else math.nan
        told = None if grad is None else grad != 0
        count = 0 if told is None else int(torch.count_nonzero(told))
        reached = count > 0
        rate = self.rates.get(id(p))
        stepped = rate is not None and rate > 0  # what the optimizer does not touch is not lost in rounding
        lost = int(torch.count_nonzero((new == old) & told)) / count if told is not None and reached and stepped else None
        kind = "none" if grad_norm is None else "non-finite" if not math.isfinite(grad_norm) else "finite"
        scale = math.sqrt(p.numel() / max(new.numel(), 1))
        return Parameter(
            name=name,
            numel=p.numel(),
            requires_grad=p.requires_grad,
            optimized=id(p) in self.rates if self.known else None,
            grad="zero" if kind == "finite" and grad_norm == 0 else kind,
            grad_norm=grad_norm or 0.0,
            weight_norm=weight_norm,
            finite=bool(torch.isfinite(new).all()),
            dtype=str(p.dtype).removeprefix("torch."),
            moved=change * scale if reached else None,  # rows that no gradient reached say nothing
            lost=lost,
            lr=rate,
            fan_in=p[0].numel() if p.dim() > 1 else 0,
        )


def _sample(value: Tensor) -> Tensor:
    """At most so many elements, evenly spread."""
    flat = _local(value).reshape(-1)
    return flat[:: -(-flat.numel() // SAMPLE)] if flat.numel() > SAMPLE else flat


def _local(value: Tensor) -> Tensor:
    """This rank's part of a DTensor, any other tensor as it is."""
    local: Any = getattr(value, "to_local", None)
    part: Tensor = value if local is None else local()
    return part.detach()


def _distance(new: Tensor, old: Tensor) -> float:
    """The norm of the difference; half precision is widened before it is taken."""
    exact = new.dtype in (torch.float32, torch.float64)
    return norm(new - old if exact else new.double() - old.double())


def _norm(value: Tensor) -> float:
    if value.numel() == 0:
        return 0.0
    dense = value.coalesce().values() if value.is_sparse else value
    whole = real(_local(dense))
    return float(torch.linalg.vector_norm(whole, dtype=torch.float64 if whole.dtype == torch.float64 else torch.float32))
