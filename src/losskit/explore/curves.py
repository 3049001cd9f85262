"""The curve of a loss: value and gradient while one prediction moves and everything else stays."""

from __future__ import annotations

import inspect
from dataclasses import dataclass

import torch
from torch import Tensor

from ..core.card import Card
from ..core.domain import ClassIndex, Domain, Interval, LinearWeight, Sizes
from .angles import AXIS, turned
from .lifted import AXIS as LIFTED
from .lifted import is_of_lists, lifted

__all__ = ["Curve", "curve"]

_SIZES: dict[str, int] = {"C": 2, "D": 2, "E": 2, "K": 1, "M": 8, "Q": 3}


@dataclass(frozen=True)
class Curve:
    """``value`` and ``gradient`` of a loss at each ``x``; ``axis`` says what x is."""

    axis: str
    x: Tensor
    value: Tensor
    gradient: Tensor


def curve(card: Card, *, low: float = -6.0, high: float = 6.0, points: int = 121) -> Curve:
    """Move one prediction of ``card`` from ``low`` to ``high`` (float64); the gradient is autograd's.

    For class scores the target's score moves and the others stay 0; for everything else the prediction moves and the
    target stays 0, or 1 where the loss does not take 0. A loss whose predictions are bounded starts inside. Of embeddings
    only angles matter: there one vector turns by half a circle. Of lists the relevant item moves past others.
    """
    if card.task == "embedding":
        return Curve(AXIS, *turned(card, points))
    if is_of_lists(card):
        x = torch.linspace(low, high, points, dtype=torch.float64, requires_grad=True)
        return Curve(LIFTED, x.detach(), *lifted(card, x))
    moving = next(n for n in card.tensors if card.sample[n].kind == "float")
    bound = card.sample[moving]
    if isinstance(bound, Interval) and bound.low > low:
        low = bound.low + 0.2  # at the bound itself the rest of the curve would be flat beside it
    x = torch.linspace(low, high, points, dtype=torch.float64, requires_grad=True)
    value, gradient = _drawn(card, moving, x, 0.0)
    if not gradient.any():  # a relative error is flat against a target of 0
        value, gradient = _drawn(card, moving, x, 1.0)
    axis = "score of the right class, the others are 0" if bound.shape.endswith(("C", "D")) else moving
    return Curve(axis, x.detach(), value, gradient)


def _drawn(card: Card, moving: str, x: Tensor, at: float) -> tuple[Tensor, Tensor]:
    """Value and gradient along x, everything else at ``at`` where its domain holds that."""
    value = torch.cat([_at(card, moving, piece, at) for piece in (x.split(1) if "whole_batch" in card.laws else [x])])
    (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient


def _at(card: Card, moving: str, x: Tensor, at: float) -> Tensor:
    """The loss, one value a point, of a batch in which ``moving`` is x and everything else stays."""
    sizes = Sizes((len(x), 1) if card.task == "segmentation" else (len(x),), dict(_SIZES))
    tensors = [
        _moving(x, card.sample[n].size(sizes) or ()) if n == moving else _still(card.sample[n], sizes, at) for n in card.tensors
    ]
    options = {n: _still(card.sample[n], sizes, at) for n, default in card.options.items() if default is inspect.Parameter.empty}
    for name, chosen in card.variants[0].items():  # for a loss that cannot run on its defaults alone
        if name not in card.tensors:
            options[name] = _still(chosen, sizes, at) if isinstance(chosen, Domain) else chosen
    return card.function(*tensors, **options, reduction="none").reshape(len(x), -1).mean(-1)


def _still(domain: Domain, sizes: Sizes, at: float) -> Tensor:
    """A tensor of zeros; of ones where the domain does not hold 0; drawn where it holds neither."""
    shape = domain.size(sizes) or ()
    if isinstance(domain, ClassIndex):
        return torch.zeros(shape, dtype=torch.long)
    if isinstance(domain, LinearWeight):  # a feature for each class: the scores are the input
        return torch.eye(*shape, dtype=torch.float64)
    zero, one = (torch.full((1,), number, dtype=torch.float64) for number in (at, 1.0))
    if domain.within(zero) and not (isinstance(domain, Interval) and domain.low >= 0):
        return zero.expand(shape)
    return one.expand(shape) if domain.within(one) else domain.draw(torch.Generator().manual_seed(0), sizes)


def _moving(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x along the first axis and, where there are more, in the first place of the last one."""
    if len(shape) == 1:
        return x
    column = x.reshape(-1, *[1] * (len(shape) - 1))
    still = torch.zeros((*shape[:-1], shape[-1] - 1), dtype=x.dtype)
    return torch.cat([column.expand(*shape[:-1], 1), still], -1)
