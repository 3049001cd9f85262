"""What the kernels of pairs share: operands, ids as small numbers, tiles of scores, the products of their gradients."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch
from torch import Tensor

from ..blocks import slabs
from ..pair_sets import NOBODY
from ..pair_tiles import Call

__all__ = [
    "HIGH",
    "SPREAD",
    "WARPS",
    "WIDE",
    "Plan",
    "add",
    "constexpr",
    "fits",
    "gradients",
    "jit",
    "scores_of",
    "tensor",
    "tl",
    "triton",
]

# Triton has no types: as Any it needs no suppression
triton: Any = importlib.import_module("triton")
tl: Any = importlib.import_module("triton.language")
jit: Callable[[Callable[..., Any]], Any] = triton.jit
if TYPE_CHECKING:
    tensor: TypeAlias = Any
    constexpr: TypeAlias = int
else:  # its compiler reads annotations, and takes no names but its own
    tensor, constexpr = tl.tensor, tl.constexpr

HIGH, WIDE, WARPS = 64, 128, 4  # the pairs of a program: 64 scores a thread, the fastest of eight shapes on an H200
SPREAD = 2.0**14  # shares of half precision are written as up to 2^15, so that float16 keeps those down to 4e-12
_TALL = 8192


class Plan(NamedTuple):
    """Operands of the products, who is who, and the memory of a tile."""

    x: Tensor
    y: Tensor
    who_rows: Tensor
    """(N, 1) or (N, 2) int32: id and slot, where the two are not the same; -1 for nobody"""
    who_cols: Tensor
    scores: Tensor
    shares: Tensor
    tall: int
    wide: int
    same: bool

    @classmethod
    def of(cls, call: Call, *, shares: bool) -> Plan:
        """``shares``: whether a tile of gradients is written, of the operands' dtype."""
        dtype = getattr(torch, call.narrow) if call.narrow else call.x.dtype
        tall = min(len(call.x), _TALL)
        each = 4 + (2 if shares and call.narrow else 0)
        wide = max(WIDE, min(-(-len(call.y) // WIDE) * WIDE, call.memory // (each * max(tall, 1)) // WIDE * WIDE))
        scores = call.x.new_empty(tall * wide)
        sheet = call.x.new_empty(tall * wide, dtype=dtype) if shares and call.narrow else scores
        return cls(call.x.to(dtype), call.y.to(dtype), *_numbered(call), scores, sheet, tall, wide, call.who.same)

    @property
    def shape(self) -> dict[str, Any]:
        """What a kernel must know to be compiled."""
        return {"same": self.same, "slots": self.who_rows.shape[1] > 1, "tall": HIGH, "wide": WIDE, "num_warps": WARPS}

    def rows(self) -> Iterator[slice]:
        """Some rows after the other."""
        return slabs(len(self.x), max(self.tall, 1))

    def tiles(self, rows: slice) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Columns, their scores, and room for shares, from left to right."""
        high = rows.stop - rows.start
        for cols in slabs(len(self.y), self.wide):
            shape = (high, cols.stop - cols.start)
            scores, shares = (t[: shape[0] * shape[1]].view(shape) for t in (self.scores, self.shares))
            if self.x.dtype == torch.float32:
                torch.mm(self.x[rows], self.y[cols].T, out=scores)
            else:
                torch.mm(self.x[rows], self.y[cols].T, out_dtype=torch.float32, out=scores)
            yield cols, scores, shares


def _numbered(call: Call) -> tuple[Tensor, Tensor]:
    """Ids and slots as their places among all that there are, which 32 bits hold."""
    who = call.who
    alike = all(a.data_ptr() == b.data_ptr() for a, b in ((who.row_id, who.row_slot), (who.col_id, who.col_slot)))
    columns: list[tuple[Tensor, Tensor]] = []
    for row, col in ((who.row_id, who.col_id), (who.row_slot, who.col_slot))[: 1 if alike and not who.same else 2]:
        every = torch.cat([row, col])
        place = torch.searchsorted(every.sort().values, every).int()
        place = torch.where(every == NOBODY, -1, place)
        columns.append((place[: len(row)], place[len(row) :]))
    return torch.stack([c[0] for c in columns], 1), torch.stack([c[1] for c in columns], 1)


def fits(call: Call) -> bool:
    """Whether the kernels take it: float32 scores as they are, and nothing but ids to say who counts."""
    return call.x.dtype == torch.float32 and not call.bend and call.gate is None


def add(total: Tensor, a: Tensor, b: Tensor) -> None:
    """total += a @ b, in float32."""
    if a.dtype == torch.float32:
        total.addmm_(a, b)
    else:
        torch.addmm(total, a, b, out_dtype=torch.float32, out=total)


def gradients(call: Call, needs: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """Where the gradients of x and y are gathered; empty those that nobody needs."""
    dx = torch.zeros_like(call.x) if needs[0] else call.x.new_empty(0)
    return dx, torch.zeros_like(call.y) if needs[1] else call.y.new_empty(0)


@jit
def counted(
    who_rows: tensor, who_cols: tensor, i: tensor, j: tensor, rows: tensor, cols: tensor, same: constexpr, slots: constexpr
) -> tensor:
    """Where a pair counts, by ids and slots; what lies outside of the tile does not."""
    each: constexpr = 2 if slots else 1
    a = tl.load(who_rows + each * i, mask=i < rows, other=-1)
    b = tl.load(who_cols + each * j, mask=j < cols, other=-1)
    found = (a >= 0)[:, None] & (b >= 0)[None, :]
    found = found & (a[:, None] == b[None, :] if same else a[:, None] != b[None, :])
    if slots:
        c = tl.load(who_rows + 2 * i + 1, mask=i < rows, other=-1)
        d = tl.load(who_cols + 2 * j + 1, mask=j < cols, other=-2)
        found = found & (c[:, None] != d[None, :])
    return found


@jit
def scores_of(
    scores: tensor, who_rows: tensor, who_cols: tensor, i: tensor, j: tensor, rows: tensor, cols: tensor,
    same: constexpr, slots: constexpr,
) -> tensor:  # fmt: skip
    """The scores of a program's pairs, -inf where one does not count."""
    inside = (i < rows)[:, None] & (j < cols)[None, :]
    s = tl.load(scores + i[:, None] * cols + j[None, :], mask=inside, other=0.0)
    return tl.where(counted(who_rows, who_cols, i, j, rows, cols, same, slots), s, -float("inf"))
