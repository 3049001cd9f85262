"""Euclidean, squared and cosine distances with all their digits: of pairs, and from some rows of a batch to all of them."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from .blocks import slabs

__all__ = ["DISTANCES", "Distance", "Near", "Space", "length", "pair_distance"]

Distance = Literal["euclidean", "squared_euclidean", "cosine"]
DISTANCES: tuple[Distance, ...] = get_args(Distance)
_NEAR = 64  # times the root of eps: closer than that, a product leaves fewer than 12 of 16 digits of a squared distance
_PIECE = 1 << 18  # numbers of pairs that are computed as differences at a time
_KNOWN = 1 << 16  # close pairs of a tile that a GPU makes room for: their number is not known there without a wait


def length(rows: Tensor) -> Tensor:
    """The Euclidean norm of each row, (*, D) -> (*); gradient 0 for a row of zeros. Squares neither overflow nor underflow."""
    largest = rows.detach().abs().amax(-1) if rows.shape[-1] else rows.new_zeros(rows.shape[:-1])
    some = largest != 0
    within = rows / torch.where(some, largest, 1).unsqueeze(-1)
    # of a row of zeros the root is that of 1: the gradient of a root of 0 is infinite
    return largest * torch.where(some, within.square().sum(-1), 1).sqrt()


def pair_distance(x: Tensor, y: Tensor, distance: Distance) -> Tensor:
    """The distance of rows that lie side by side, (*, D), (*, D) -> (*); "cosine" is one less the product of unit rows."""
    if distance == "cosine":
        return 1 - (x * y).sum(-1)
    return length(x - y) if distance == "euclidean" else (x - y).square().sum(-1)


class Near(NamedTuple):
    """The pairs of a tile whose distance is that of a difference, since a product has too few digits of it."""

    row: Tensor
    column: Tensor
    counts: Tensor
    """Whether this is a pair, or room left over."""


class Space:
    """The rows of a batch: distances from some to all by one matrix product, and the gradients that come back.

    Rows of unit length for "cosine".
    """

    def __init__(self, rows: Tensor, distance: Distance) -> None:
        self.rows = rows
        self.distance: Distance = distance
        # distances do not know where the origin is, their digits do: rows that are all the same become zero
        self.centred = rows if distance == "cosine" or not len(rows) else _centred(rows)
        self.squares = self.centred.square().sum(1)
        self.near = _NEAR * torch.finfo(rows.dtype).eps ** 0.5
        self.gradient = self.across = rows.new_zeros(0)

    def distances(self, at: Tensor) -> tuple[Tensor, Near | None]:
        """From the rows ``at`` (T,) to all: (T, N), and which of them are close; 0 from a row to itself."""
        x = self.centred[at]
        if self.distance == "cosine":
            return torch.mm(x, self.centred.T).neg_().add_(1), None
        both = self.squares + self.squares[at].unsqueeze(1)
        square = torch.addmm(both, x, self.centred.T, alpha=-2)
        close = square < both.mul_(self.near)
        itself = at.unsqueeze(1)
        near = _places(close.scatter_(1, itself, False))
        found = square.scatter_(1, itself, 0).clamp_(min=0)
        if self.distance == "euclidean":
            found = found.sqrt_()
        for part in slabs(len(near.row), max(1, _PIECE // max(self.rows.shape[1], 1))):
            row, column = near.row[part], near.column[part]
            exact = pair_distance(self.rows[at[row]], self.rows[column], self.distance)
            found[row, column] = torch.where(near.counts[part], exact, found[row, column])
        return found, near

    def open(self) -> None:
        """Begin to gather gradients."""
        self.gradient, self.across = torch.zeros_like(self.rows), torch.zeros_like(self.squares)

    def pull(self, at: Tensor, by: Tensor, distances: Tensor, near: Near | None) -> None:
        """Add the gradient of the rows for ``by`` (T, N), that of the distances, both of which are overwritten."""
        x = self.centred[at]
        if self.distance == "cosine":
            self.gradient.index_add_(0, at, by @ self.centred, alpha=-1)
            self.gradient.addmm_(by.T, x, alpha=-1)
            return
        # d|v|/dv = v / |v|, and 0 at v = 0
        ratio = by.div_(distances.masked_fill_(distances == 0, torch.inf)) if self.distance == "euclidean" else by.mul_(2)
        if near is not None:
            self._pull_near(at, ratio, near)
        self.gradient.index_add_(0, at, ratio.sum(1, keepdim=True) * x - ratio @ self.centred)
        self.gradient.addmm_(ratio.T, x, alpha=-1)
        self.across += ratio.sum(0)

    def _pull_near(self, at: Tensor, ratio: Tensor, near: Near) -> None:
        """Add what close pairs have, as differences, and take them out of ``ratio``."""
        for part in slabs(len(near.row), max(1, _PIECE // max(self.rows.shape[1], 1))):
            row, column = near.row[part], near.column[part]
            slope = (ratio[row, column] * near.counts[part]).unsqueeze(1) * (self.rows[at[row]] - self.rows[column])
            self.gradient.index_add_(0, at[row], slope)
            self.gradient.index_add_(0, column, slope, alpha=-1)
        ratio[near.row, near.column] = torch.where(near.counts, 0, ratio[near.row, near.column])

    def close(self) -> Tensor:
        """The gradient of the rows, (N, D)."""
        return self.gradient.addcmul_(self.across.unsqueeze(1), self.centred)


def _centred(rows: Tensor) -> Tensor:
    rows = rows - rows[:1]  # exactly 0 for rows that are the same, which the mean's rounding would not give
    return rows - rows.mean(0)


def _places(close: Tensor) -> Near:
    if close.device.type == "cpu":
        row, column = close.nonzero(as_tuple=True)
        return Near(row, column, torch.ones_like(row, dtype=torch.bool))
    row, column = close.nonzero_static(size=min(close.numel(), _KNOWN)).unbind(1)
    return Near(row.clamp(min=0), column.clamp(min=0), row >= 0)
