"""Row heads: what a loss makes of (own, rest) of one row, with the first derivative written out.

A fused op runs below autograd, so it needs both at once. Elsewhere a head is ordinary algebra: ``HEADS[name]``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["HEADS", "Row", "Slopes", "objective", "slopes"]


_FAR = 800.0  # sigmoid(-_FAR) is 0 in float64: a target that is ruled out must not make 0 * inf of it


class Slopes(NamedTuple):
    """The derivatives of a row's objective, each (n,)."""

    own: Tensor
    rest: Tensor


class Row(NamedTuple):
    """weight * head(own - rest) + smooth * lse + z_loss * lse^2, one for each row: the tensors are (n,)."""

    head: str
    options: Sequence[float]
    own: Tensor
    rest: Tensor
    weight: Tensor
    smooth: Tensor | None
    z_loss: float


def _nll(u: Tensor, options: Sequence[float]) -> Tensor:
    """-log p, u = log(p / (1 - p))."""
    return -F.logsigmoid(u)


def _nll_slope(u: Tensor, options: Sequence[float]) -> Tensor:
    return -torch.sigmoid(-u)


def _focal(u: Tensor, options: Sequence[float]) -> Tensor:
    """-(1 - p)^gamma log p; as a power of the sigmoid its gradient is NaN for gamma < 1 where 1 - p is 0."""
    return torch.exp(options[0] * F.logsigmoid((-u).clamp(max=_FAR))) * -F.logsigmoid(u)


def _focal_slope(u: Tensor, options: Sequence[float]) -> Tensor:
    faded = torch.exp(options[0] * F.logsigmoid(-u))
    return -faded * (torch.sigmoid(-u) - options[0] * torch.sigmoid(u) * F.logsigmoid(u.clamp(min=-_FAR)))


Head = Callable[[Tensor, Sequence[float]], Tensor]
HEADS: dict[str, tuple[Head, Head]] = {"nll": (_nll, _nll_slope), "focal": (_focal, _focal_slope)}
"""name -> (value, derivative), both of u = own - rest and the head's options."""


def objective(row: Row) -> Tensor:
    """The value of each row, (n,)."""
    value = row.weight * HEADS[row.head][0](row.own - row.rest, row.options)
    if row.smooth is not None or row.z_loss:
        lse = torch.logaddexp(row.own, row.rest)
        value = value + lse * ((0.0 if row.smooth is None else row.smooth) + row.z_loss * lse)
    return value


def slopes(row: Row) -> Slopes:
    """The derivatives of :func:`objective`."""
    u = row.own - row.rest
    by_own = row.weight * HEADS[row.head][1](u, row.options)
    by_rest = -by_own
    if row.smooth is not None or row.z_loss:
        pull = 2 * row.z_loss * torch.logaddexp(row.own, row.rest)
        pull = pull if row.smooth is None else pull + row.smooth
        by_own, by_rest = by_own + pull * torch.sigmoid(u), by_rest + pull * torch.sigmoid(-u)
    return Slopes(by_own, by_rest)
