"""float64 numbers and slopes of losses, for the figures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["best_constant", "column", "floats", "slope"]


def column(*numbers: float) -> Tensor:
    """Numbers as a float64 tensor (N,)."""
    return torch.tensor(numbers, dtype=torch.float64)


def floats(tensor: Tensor) -> list[float]:
    """A tensor (N,) as numbers."""
    return [float(number) for number in tensor.detach().reshape(-1)]


def slope(loss: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    """The gradient of a sum of losses at a tensor, by autograd."""
    moving = at.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(loss(moving).sum(), moving)
    return gradient


def best_constant(loss: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    """Where the slope of a convex loss of one number changes its sign."""
    for _ in range(200):  # every halving until the ends meet in float64
        middle = (low + high) / 2
        low, high = (low, middle) if float(slope(loss, column(middle))) > 0 else (middle, high)
    return (low + high) / 2
