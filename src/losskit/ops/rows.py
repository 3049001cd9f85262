"""The row pass over a block of scores: the statistics of each row, and the gradient in place of the scores."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Coefficients", "Form", "Found", "Low", "Visit", "sweep"]

_CACHED = 2 << 20  # bytes of rows worked on at a time: what a core's second-level cache holds (measured 16 rows of 32768)
# A score z of bfloat16 is 2^-9 z off, and its row's gradient sqrt(q) times that of its own size, q the score's probability:
# above this z^2 q the lost digits are worth computing (dX and dW: 1.9e-3 off at most, as measured, 1.7e-3 by the last rounding).
_ROUNDED = 1.0


class Found(NamedTuple):
    """What the pass saw in a run of rows, each (n,) in float64."""

    rest: Tensor
    """logsumexp of the scores that are not the target's."""
    spread: Tensor | None
    """Entropy of the softmax over those scores."""
    drift: Tensor | None
    """Sum of c times the scores, c of :class:`Form`."""
    top: Tensor | None
    """Which of them is the largest, and"""
    peak: Tensor | None
    """its score."""


class Coefficients(NamedTuple):
    """The gradient of a row's scores: others * q + spread * entr(q) + tilt * c, plus own in the target's place, each (n,).

    ``own`` None leaves the target's share to the caller, who adds it where it is not rounded.
    """

    others: Tensor
    own: Tensor | None
    spread: Tensor | None = None
    tilt: Tensor | None = None


Visit = Callable[[slice, Found], Coefficients | None]
Low = Callable[[slice], Tensor]


@dataclass
class Form:
    """How products become scores: softcap * tanh(scale * (product + bias) / softcap); and the pass's own memory.

    ``tilt`` (V,) is c of the coefficients; ``entropy`` and ``top`` say which statistics are wanted besides rest.
    """

    dtype: torch.dtype
    result: torch.dtype
    """Of the gradient: narrower than the scores where the next product wants it so."""
    scale: float
    softcap: float | None
    bias: Tensor | None
    tilt: Tensor | None
    entropy: bool
    top: bool
    rows: int
    scratch: list[Tensor]

    @staticmethod
    def rows_at_a_time(classes: int, dtype: torch.dtype, limit: int) -> int:
        """How many rows fit the cache, and at most ``limit`` bytes."""
        return max(1, min(_CACHED, limit) // (classes * dtype.itemsize))

    def buffer(self, which: int, like: Tensor) -> Tensor:
        """Memory for the rows at hand, made once."""
        while len(self.scratch) <= which:
            self.scratch.append(like.new_empty(self.rows, like.shape[-1], dtype=self.dtype))
        return self.scratch[which][: len(like)]

    def apply(self, products: Tensor) -> Tensor | None:
        """Scores in place of products; with a softcap also the scores' derivative with respect to the products / scale."""
        if self.bias is not None:
            products.add_(self.bias)
        if self.scale != 1:
            products.mul_(self.scale)
        if self.softcap is None:
            return None
        steep = self.buffer(1, products).copy_(products.div_(self.softcap))
        products.tanh_().mul_(self.softcap)
        return steep.cosh_().square_().reciprocal_()  # 1 - tanh^2 cancels where tanh is near 1


def sweep(block: Tensor, low: Low | None, form: Form, index: Tensor, visit: Visit, slope: Tensor | None) -> Tensor:
    """Visit the rows of ``block`` (n, V) in runs that fit the cache; the gradient, in its place, if ``visit`` gives coefficients.

    ``low(rows)`` are the digits that rounding took from the block, asked for where they matter. ``slope`` (V,) collects
    the gradient's column sums.
    """
    own = index.unsqueeze(-1)
    for start in range(0, len(block), form.rows):
        rows = slice(start, min(start + form.rows, len(block)))
        steep, found, scores = _statistics(block, low, form, rows, own[rows])
        coefficients = visit(rows, found)
        if coefficients is None:
            continue
        _gradient(scores, coefficients, form, own[rows], steep)
        if slope is not None:
            slope.add_(scores.sum(0))
        if scores.data_ptr() != block[rows].data_ptr():
            block[rows].copy_(scores)
    return block if block.dtype == form.result else block.to(form.result)


def _statistics(block: Tensor, low: Low | None, form: Form, rows: slice, own: Tensor) -> tuple[Tensor | None, Found, Tensor]:
    """What is seen in some rows, and the softmax over the scores that are not the target's."""
    scores, steep, drift, peak, top = _scores(block[rows], None, form, own)
    mass = _softmax(scores)
    # the gradient of an entropy has no large term at the target, beside which rounding is small
    if low is not None and (form.entropy or bool((peak.square() > _ROUNDED * mass).any())):
        scores, steep, drift, peak, top = _scores(block[rows], low(rows), form, own)
        mass = _softmax(scores)
    rest = peak.double() + mass.double().log()
    spread = None
    if form.entropy:
        logs = torch.special.entr(scores, out=form.buffer(2 if form.softcap else 1, scores))
        spread = logs.sum(1).double()
    return steep, Found(rest, spread, drift, top, None if top is None else peak.double()), scores


def _softmax(scores: Tensor) -> Tensor:
    """The softmax in place of the scores (faster than exp alone); the sum of exp(score - peak) of each row."""
    torch.softmax(scores, 1, out=scores)
    return scores.amax(1).reciprocal()  # the largest probability holds the sum, to the last digit


def _scores(
    products: Tensor, digits: Tensor | None, form: Form, own: Tensor
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor, Tensor | None]:
    """The scores, the target's out of the way; their slope through the softcap, their drift, the largest of the others."""
    scores = products if products.dtype == form.dtype else form.buffer(0, products).copy_(products)
    if digits is not None:
        scores.add_(digits)
    steep = form.apply(scores)
    drift = None if form.tilt is None else (scores @ form.tilt).double()
    scores.scatter_(1, own, torch.finfo(form.dtype).min)
    peak, top = scores.max(1) if form.top else (scores.amax(1), None)
    return scores, steep, drift, peak, top


def _gradient(scores: Tensor, by: Coefficients, form: Form, own: Tensor, steep: Tensor | None) -> None:
    def column(values: Tensor) -> Tensor:
        return values.to(form.dtype).unsqueeze(1)

    if by.spread is None:
        scores.mul_(column(by.others))
    else:
        entropies = form.buffer(2 if form.softcap else 1, scores)
        scores.mul_(column(by.others)).addcmul_(entropies, column(by.spread))
    scores.scatter_(1, own, 0)
    if by.tilt is not None and form.tilt is not None:
        scores.addcmul_(column(by.tilt), form.tilt)
    if steep is not None:
        scores.mul_(steep)
    if by.own is not None:
        scores.scatter_add_(1, own, column(by.own))
