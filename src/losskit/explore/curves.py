"""The curve of a loss: value and gradient while one prediction moves and everything else stays."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.card import Card
from ..core.domain import ClassIndex, Interval, Sizes

__all__ = ["Curve", "curve"]

_SIZES: dict[str, int] = {"C": 2, "M": 8, "Q": 3}


@dataclass(frozen=True)
class Curve:
    """``value`` and ``gradient`` of a loss at each ``x``; ``axis`` says what x is."""

    axis: str
    x: Tensor
    value: Tensor
    gradient: Tensor


def curve(card: Card, *, low: float = -6.0, high: float = 6.0, points: int = 121) -> Curve:
    """Move one prediction of ``card`` from ``low`` to ``high`` (float64); the gradient is autograd's.

    For class scores the target's score moves and the other stays 0; for everything else the prediction moves and the
    target stays 0, or 1 where the loss needs a positive target.
    """
    x = torch.linspace(low, high, points, dtype=torch.float64, requires_grad=True)
    sizes = Sizes((points,), dict(_SIZES))
    if card.task == "segmentation":
        sizes.lead = (points, 1)
    tensors: list[Tensor] = []
    axis = ""
    for name in card.tensors:
        domain = card.sample[name]
        shape = domain.size(sizes) or ()
        if domain.kind == "float" and not axis:
            axis = "score of the right class, the other is 0" if domain.shape.endswith("C") else name
            tensors.append(_moving(x, shape))
        elif isinstance(domain, ClassIndex):
            tensors.append(torch.zeros(shape, dtype=torch.long))
        elif isinstance(domain, Interval) and (domain.low >= 0):
            tensors.append(torch.ones(shape, dtype=torch.float64))
        else:
            tensors.append(torch.zeros(shape, dtype=torch.float64))
    required = {n: card.sample[n].draw(torch.Generator().manual_seed(0), sizes) for n, v in card.options.items() if _needed(v)}
    value = card.function(*tensors, **required, **_given(card), reduction="none").reshape(points, -1).mean(-1)
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return Curve(axis, x.detach(), value.detach(), gradient)


def _moving(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x along the first axis and, where there are more, in the first place of the last one."""
    if len(shape) == 1:
        return x
    column = x.reshape(-1, *[1] * (len(shape) - 1))
    still = torch.zeros((*shape[:-1], shape[-1] - 1), dtype=x.dtype)
    return torch.cat([column.expand(*shape[:-1], 1), still], -1)


def _needed(default: object) -> bool:
    return isinstance(default, type)  # inspect.Parameter.empty: an option without a default


def _given(card: Card) -> dict[str, object]:
    """The first variant's plain numbers, for a loss that cannot run on its defaults (gaussian_nll_loss: a variance)."""
    return {k: v for k, v in card.variants[0].items() if not hasattr(v, "draw")}
