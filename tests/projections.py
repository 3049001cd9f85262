"""Projections drawn for the tests of fused heads, and their losses in float64."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

import losskit

__all__ = ["drawn", "errors", "off", "truth"]


def drawn(
    n: int, d: int, v: int, dtype: torch.dtype, std: float = 1.0, *, trained: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, weights and targets whose scores have the given deviation; of a model that has learned, if ``trained``."""
    generator = torch.Generator().manual_seed(n + d + v)
    x = torch.randn(n, d, generator=generator)
    w = torch.randn(v, d, generator=generator) * (std / math.sqrt(d))
    y = torch.randint(v, (n,), generator=generator)
    if trained and n:
        x = 0.7 * x + w[y] * (math.sqrt(d) / std * 0.5)
    return x.to(dtype).requires_grad_(), w.to(dtype).requires_grad_(), y


def truth(x: Tensor, w: Tensor, y: Tensor, bias: Tensor | None = None, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Loss, dX and dW in float64 from the same operands."""
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    scores = wide[0] @ wide[1].T
    loss = losskit.cross_entropy(scores if bias is None else scores + bias.double(), y, **options)
    return loss.detach(), *torch.autograd.grad(loss, wide)


def off(got: Tensor, wanted: Tensor) -> float:
    """Relative error in the Frobenius norm."""
    return float((got.double() - wanted).norm() / wanted.norm())


def errors(x: Tensor, w: Tensor, y: Tensor, **options: Any) -> tuple[float, float, float]:
    loss = losskit.linear_cross_entropy(x, w, y, **options)
    got = (loss.detach(), *torch.autograd.grad(loss, (x, w)))
    options.pop("memory", None)
    a, b, c = (off(g, t) for g, t in zip(got, truth(x, w, y, **options), strict=True))
    return a, b, c
