"""Scores of queries against documents a tile at a time, such that equal documents have equal scores wherever they stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ...core.check import first_place
from ...ops.unit import SHORTEST

__all__ = ["Scorer", "Similarity"]

Similarity = Literal["cosine", "dot", "euclidean"]

_BITS = 36  # of a score that count: far above the rounding of a float64 product (2^-53), far below that of float32 rows (2^-24)
_SNAP = 1.5 * 2.0 ** (52 - _BITS)  # added to a number in [-1, 1] and taken off again, it rounds to a multiple of 2^-_BITS
_LONGEST = 1e150  # the square of it is a float
_EVEN = 64  # columns of a tile come in multiples: a product's edge may be summed in another order than its middle
_CACHED = 4 << 20  # bytes of a tile on CPU: each is passed over several times


class _Side(NamedTuple):
    """Rows, and what makes float64 factors of length 1 at most of them."""

    rows: Tensor
    scale: Tensor
    """(n,): one over the length, or a power of two near it"""
    center: Tensor | None = None
    last: Tensor | None = None
    """(n,): one more column"""

    def factors(self, at: slice | Tensor) -> Tensor:
        wide = self.rows[at].double()
        if self.center is not None and self.last is not None:
            wide = torch.cat([wide - self.center, self.last[at].unsqueeze(1)], 1)
        return wide * self.scale[at].unsqueeze(1)  # never in place: float64 rows are the caller's own


class Scorer:
    """Scores in float64, rounded to 36 bits of the largest that rows of their lengths can have.

    What would be equal in exact arithmetic is then equal, whatever the order of summation was, and so a tie is a tie. The
    score of a query is known up to a factor above 0 and a constant: both change no rank.
    """

    def __init__(self, queries: Tensor, documents: Tensor, similarity: Similarity) -> None:
        mine, theirs = _lengths("queries", queries), _lengths("documents", documents)
        if similarity == "cosine":
            # a row without a direction has the score 0 with all
            scales = [torch.where(length > SHORTEST, 1 / length, 0) for length in (mine, theirs)]
            self.queries, self.documents = _Side(queries, scales[0]), _Side(documents, scales[1])
            self.back = None
        elif similarity == "dot":
            self.queries, self.documents = _Side(queries, _near(mine)), _Side(documents, _near(theirs))
            self.back = 1 / self.documents.scale
        else:
            self.queries, self.documents = _distances(queries, documents)
            self.back = 1 / self.documents.scale

    def width(self, memory: int) -> int:
        """Documents of a tile."""
        columns = self.documents.rows.shape[1] + 1
        fits = memory // 16 // (8 * columns)
        if self.documents.rows.device.type == "cpu":
            fits = min(fits, _CACHED // (8 * 256))
        return max(1, min(fits, -(-len(self.documents.rows) // _EVEN) * _EVEN) // _EVEN) * _EVEN

    def fill(self, factors: Tensor, start: int, width: int, out: Tensor) -> None:
        """The scores of all documents from ``start`` on, -inf beyond the last one.

        Shape:      factors (B, D') of queries, out (B, L), L a multiple of ``width``
        """
        total = len(self.documents.rows)
        for place, tile in enumerate(out.split(width, 1)):
            begin = min(start + place * width, total)
            at = slice(begin, min(begin + width, total))
            held = at.stop - begin
            theirs = self.documents.factors(at)
            if held < width:  # every tile has one shape: a product of another might be summed in another order
                theirs = torch.cat([theirs, theirs.new_zeros(width - held, theirs.shape[1])])
            torch.mm(factors, theirs.T, out=tile).add_(_SNAP).sub_(_SNAP)
            if self.back is not None:
                tile[:, :held].mul_(self.back[at])
            tile[:, held:] = -torch.inf


def _slices(rows: Tensor) -> Iterator[slice]:
    size = max(1, (1 << 20) // max(1, rows.shape[1]))
    return (slice(start, start + size) for start in range(0, len(rows), size))


def _lengths(name: str, rows: Tensor) -> Tensor:
    """(n,) float64.

    Raises:     ValueError for a row that has none.
    """
    parts = [torch.linalg.vector_norm(rows[at].double(), dim=1) for at in _slices(rows)]
    lengths = torch.cat([rows.new_zeros(0, dtype=torch.float64), *parts])
    wrong = ~(lengths <= _LONGEST)
    if bool(wrong.any()):
        (at,), _ = first_place(wrong)
        row = rows[at]
        what = "nan" if bool(row.isnan().any()) else "inf" if bool(row.isinf().any()) else f"longer than {_LONGEST:g}"
        raise ValueError(f'"{name}" has row {at} that is {what}, expected finite numbers: leave it out, or find what made it')
    return lengths


def _near(lengths: Tensor) -> Tensor:
    """Powers of two, at most one over the length and above half of it; 1 where that is 0."""
    return torch.ldexp(torch.ones_like(lengths), -torch.frexp(lengths).exponent)


def _distances(queries: Tensor, documents: Tensor) -> tuple[_Side, _Side]:
    """Rows (q, u) and (d, -|d|^2 / 2u), the product of which orders documents as -|q - d|^2 does."""
    total = torch.zeros(documents.shape[1], dtype=torch.float64, device=documents.device)
    for at in _slices(documents):
        total += documents[at].double().sum(0)
    # rows far from 0 would cancel; few bits, so that numbers that are exact stay exact
    center = (total / max(1, len(documents))).to(torch.bfloat16).double()
    mine, theirs = (
        torch.cat([total.new_zeros(0), *((rows[at].double() - center).square().sum(1) for at in _slices(rows))])
        for rows in (queries, documents)
    )
    unit = 1 / _near(theirs.mean().sqrt() if len(theirs) else theirs.new_zeros(()))
    units, falls = unit.expand(len(mine)), theirs / (-2 * unit)
    return (
        _Side(queries, _near(torch.hypot(mine.sqrt(), units)), center, units),
        _Side(documents, _near(torch.hypot(theirs.sqrt(), falls)), center, falls),
    )
