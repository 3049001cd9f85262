"""A head block by block: the scores of the rows that count, and the gradients gathered from those of the scores."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .blocks import largest, product, projection
from .work import usable

__all__ = ["FORWARD", "Side", "Tower", "plain_scores", "runs"]

FORWARD = 48 << 20  # bytes of scores at a time without a gradient: more is fresh memory for every call, as dear as the arithmetic
_PIECE = 256  # rows of lost digits at a time


class Side(NamedTuple):
    """A head: softcap * tanh((input @ weight.T + bias) / softcap)."""

    input: Tensor
    """(N, D)"""
    weight: Tensor
    """(C, D), of the dtype of ``input``"""
    bias: Tensor | None = None
    """(C,)"""
    softcap: float = 0.0
    """0 for none."""


class Tower:
    """One head in one call: ``open`` a block, read its ``scores``, ``put`` their gradient in their place, ``close`` it."""

    def __init__(self, side: Side, rows: Tensor | None, dtype: torch.dtype, memory: int, needs: Sequence[bool]) -> None:
        x, w = side.input if rows is None else side.input[rows], side.weight
        self.products = projection(x, usable(w))
        self.rows, self.full, self.dtype, self.softcap, self.needs = rows, len(side.input), dtype, side.softcap, needs
        self.shift, self.bias = x.new_zeros((), dtype=torch.float64), None
        if side.bias is not None:
            if not side.softcap:  # a common offset would take the digits of the scores
                self.shift = largest(side.bias.double())
            self.bias = (side.bias.double() - self.shift).to(dtype)
        self.wide = torch.promote_types(x.dtype, torch.float32)
        self.dx = x.new_empty(x.shape if needs[0] else 0, dtype=self.wide)
        self.slope = w.new_zeros(len(w) if needs[2] else 0, dtype=torch.float64)
        self.block, self.part, self.space = slice(0), self.dx, self.dx
        self.lost = slice(0), self.dx
        self.piece = min(_PIECE, max(1, memory // 16 // self.products.row_bytes))
        self.beside = self.products.beside(memory // 2) + self.piece * self.products.row_bytes * self.products.rounded
        """Bytes that are held beside blocks."""

    def open(self, block: slice) -> None:
        """Compute the scores of some rows."""
        if self.part is self.dx:  # the first block is the largest
            self.space = self.products.block(block.stop - block.start)
        self.block, self.lost = block, (slice(0), self.dx)
        self.part = self.products.scores(block, self.space[: block.stop - block.start])

    def scores(self, run: slice) -> tuple[Tensor, Tensor | None]:
        """Some rows of the block in ``dtype``, less ``shift``, and their derivative through the softcap."""
        held = self._of(run)
        scores = held if held.dtype == self.dtype else held.to(self.dtype)
        if self.products.rounded:  # the difference of two rounded scores would have no digits
            scores.add_(self._lost(run))
        if self.bias is not None:
            scores.add_(self.bias)
        if not self.softcap:
            return scores, None
        steep = scores.div_(self.softcap).cosh().square_().reciprocal_()  # 1 - tanh^2 cancels where tanh is near 1
        return scores.tanh_().mul_(self.softcap), steep

    def put(self, run: slice, slope: Tensor, steep: Tensor | None) -> None:
        """The gradient of some rows' scores in place of them."""
        if steep is not None:
            slope.mul_(steep)
        if self.needs[2]:
            self.slope.add_(slope.sum(0))
        self._of(run).copy_(slope)

    def close(self) -> None:
        """Gather what the block's gradient gives to those of input and weight."""
        by = self.part.to(self.products.result)
        if self.needs[0]:
            self.products.input_gradient(by, self.dx[self.block])
        if self.needs[1]:
            self.products.weight_gradient(by, self.block)

    def gradients(self) -> tuple[Tensor, Tensor, Tensor]:
        """Of input, weight and bias; empty where nobody asked."""
        dw = self.products.dw
        if dw is None:
            dw = self.dx.new_zeros(self.products.w.shape if self.needs[1] else 0)
        return self.scattered(self.dx) if self.needs[0] else self.dx, dw, self.slope.to(self.wide)

    def scattered(self, values: Tensor) -> Tensor:
        """Values of the rows that count, in their places; zero elsewhere."""
        if self.rows is None:
            return values
        return values.new_zeros(self.full, *values.shape[1:]).index_copy_(0, self.rows, values)

    def _of(self, run: slice) -> Tensor:
        return self.part[run.start - self.block.start : run.stop - self.block.start]

    def _lost(self, run: slice) -> Tensor:
        """What rounding took from some scores, computed for some hundred rows at a time."""
        if run.stop > self.lost[0].stop:
            self.lost = slice(0), self.dx  # or two pieces are held
            piece = slice(run.start, min(max(run.start + self.piece, run.stop), self.block.stop))
            self.lost = piece, self.products.low(piece, self._of(piece))
        piece, digits = self.lost
        return digits[run.start - piece.start : run.stop - piece.start]


def runs(block: slice, size: int) -> Iterator[slice]:
    """The rows of a block, ``size`` at a time."""
    for start in range(block.start, block.stop, size):
        yield slice(start, min(start + size, block.stop))


def plain_scores(side: Side, kept: Tensor | None, dtype: torch.dtype) -> Tensor:
    """All scores (N, C) by ordinary algebra; those of a zero vector for rows that are not kept."""
    x = side.input.to(dtype) if kept is None else torch.where(kept.unsqueeze(-1), side.input.to(dtype), 0)
    scores = product(x, side.weight.to(dtype).T)
    scores = scores if side.bias is None else scores + side.bias.to(dtype)
    return side.softcap * torch.tanh(scores / side.softcap) if side.softcap else scores
