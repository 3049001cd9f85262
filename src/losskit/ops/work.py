"""One call on a projection: which rows count, the targets' exact scores, and the loop over blocks within the budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .blocks import Projection, largest, projection, row_blocks, slabs
from .cuda import ends
from .rows import Coefficients, Form, Visit

__all__ = ["Needs", "Sweep", "Work"]

Sweep = Callable[..., Tensor]
Needs = tuple[bool, bool, bool]
_PIECE = 256  # rows of lost digits at a time
_FORWARD = 32 << 20  # scores at a time on CPU without a gradient: more is fresh memory, which costs as much as the arithmetic
_ASIDE = 20 << 20  # bytes that gathered rows and the library of the products keep to themselves: 18 MiB, as measured
_GATHERED = 1 << 20  # bytes of gathered weight rows at a time: what is freed stays resident beside the block


class Work:
    """One call: the rows that count, their targets' exact scores, and the loop over blocks."""

    def __init__(
        self,
        x: Tensor,
        w: Tensor,
        bias: Tensor | None,
        index: Tensor,
        kept: Tensor | None,
        tilt: Tensor | None,
        scale: float,
        softcap: float,
        memory: int,
        *,
        entropy: bool = False,
        top: bool = False,
    ) -> None:
        self.full = len(x)
        self.rows = None if kept is None else chosen(kept)
        x, index = (x, index) if self.rows is None else (x[self.rows], index[self.rows])
        self.x, self.w, self.bias, self.index = x, usable(w), bias, index
        self.scale, self.softcap, self.tilt, self.memory = scale, softcap or None, tilt, memory
        self.products: Projection = projection(x, self.w)
        dtype = torch.promote_types(x.dtype, torch.float32)
        limit = max(memory // 8, 1)
        self.form = Form(
            dtype, self.products.result, scale, self.softcap, None, None if tilt is None else tilt.to(dtype), entropy, top,
            Form.rows_at_a_time(len(w), dtype, limit), [],
        )  # fmt: skip
        self.shift = x.new_zeros((), dtype=torch.float64)
        if bias is not None:
            wide = bias.double()
            if not softcap:  # a common offset would take the digits of the float32 scores
                self.shift = largest(wide)
            self.form.bias = (wide - self.shift).to(dtype)
            self.shift = self.shift * scale
        self.own, self.steep = self._targets()

    def _targets(self) -> tuple[Tensor, Tensor | None]:
        """The targets' scores from float64 products, less the shift; and their derivative through the softcap."""
        own = self._products()
        if self.bias is not None:
            own += self.bias[self.index].double()
        own = own * self.scale
        if self.softcap is None:
            return own - self.shift, None
        bent = own / self.softcap
        return bent.tanh() * self.softcap, bent.cosh().square().reciprocal()

    def _products(self) -> Tensor:
        """Of each row with its target's weights, in float64."""
        if (fused := ends(self.x)) is not None:
            return fused.row_dots(self.x, self.w, self.index)
        own = self.x.new_empty(len(self.x), dtype=torch.float64)
        for rows in slabs(len(self.x), self._gathered_rows()):
            own[rows] = (self.x[rows].double() * self.w[self.index[rows]].double()).sum(1)
        return own

    def run(self, sweep: Sweep, visit: Visit, needs: Needs) -> tuple[Tensor, Tensor, Tensor]:
        """Visit every row, and gather the gradients of input, weight and bias that are needed; empty those that are not."""
        memory, piece = self.memory - self.products.beside(self.memory), 0
        if self.products.rounded:
            piece = min(_PIECE, self.memory // 8 // self.products.row_bytes)
            memory -= max(piece, self.form.rows) * self.products.row_bytes
        if self.x.device.type == "cpu":
            memory -= min(_ASIDE, memory // 8)
            memory -= self.form.rows * len(self.w) * self.form.dtype.itemsize
            if not any(needs):  # of two bytes: a quarter as many, measured best of 4M to 64M
                memory = min(memory, (_FORWARD >> 2 * self.products.rounded) * self.products.score_dtype.itemsize)
        blocks = list(row_blocks(len(self.x), self.products.row_bytes, memory))
        wide = self.form.dtype
        dx = self.x.new_empty(self.x.shape if needs[0] else 0, dtype=wide)
        slope = self.w.new_zeros(len(self.w) if needs[2] else 0, dtype=wide)
        block = self.products.block(blocks[0].stop if blocks else 0)
        for rows in blocks:
            part = self.products.scores(rows, block[: rows.stop - rows.start])
            low = _low(self.products, rows, part, piece) if self.products.rounded else None
            by = sweep(part, low, self.form, self.index[rows], _moved(visit, rows.start), slope if needs[2] else None)
            if needs[0]:
                self.products.input_gradient(by, dx[rows])
            if needs[1]:
                self.products.weight_gradient(by, rows)
        dw = self.products.dw
        return dx, self.w.new_zeros(self.w.shape if needs[1] else 0, dtype=wide) if dw is None else dw, slope

    def coefficients(self, others: Tensor, own: Tensor, spread: Tensor | None, tilt: Tensor | None) -> Coefficients:
        """Slopes with respect to scores as those with respect to products; the target's stays out where it would be rounded."""
        k = self.scale
        return Coefficients(
            others * k, None if self.products.apart else own * k, spread if spread is None else spread * k,
            tilt if tilt is None else tilt * k,
        )  # fmt: skip

    def add_targets(self, own: Tensor, dx: Tensor, dw: Tensor, slope: Tensor) -> None:
        """Add the targets' share to the gradients, where the pass left it out."""
        if not self.products.apart:
            return
        by = own.to(self.form.dtype).unsqueeze(1)
        if dx.numel():
            for rows in slabs(len(dx), self._gathered_rows()):
                dx[rows].addcmul_(by[rows], self.w[self.index[rows]].to(dx.dtype))
        if dw.numel():
            for rows in slabs(len(self.x), self._gathered_rows()):
                dw.index_add_(0, self.index[rows], self.x[rows].to(dw.dtype) * by[rows])
        if slope.numel():
            slope.index_add_(0, self.index, by.squeeze(1))

    def add_drift(self, tilt: Tensor, by: float, dx: Tensor, dw: Tensor, slope: Tensor) -> Tensor:
        """The sum over rows of tilt @ scores; ``by`` times its gradient is added. All of it is of rank one."""
        wide = tilt.double()
        mean = self.w.new_zeros(self.w.shape[1], dtype=torch.float64)
        for classes in slabs(len(self.w)):
            mean += (self.w[classes].to(self.form.dtype).T @ tilt[classes].to(self.form.dtype)).double()
        sum_x = self.x.sum(0, dtype=torch.float64)
        k = by * self.scale
        if dx.numel():
            dx += (k * mean).to(dx.dtype)
        if dw.numel():
            dw.addr_(wide.to(dw.dtype), (k * sum_x).to(dw.dtype))
        if slope.numel():
            slope += (k * len(self.x) * wide).to(slope.dtype)
        drift = sum_x @ mean
        if self.bias is not None:
            drift = drift + len(self.x) * torch.where(wide == 0, 0, wide * self.bias.double()).sum()
        return drift * self.scale

    def _gathered_rows(self) -> int:
        # elsewhere small pieces are launches to wait for; these take a quarter of the budget with all their copies
        limit = _GATHERED if self.x.device.type == "cpu" else max(_GATHERED, self.memory // 16)
        return max(1, limit // (8 * max(self.x.shape[1], 1)))

    def scattered(self, values: Tensor) -> Tensor:
        """Values of the rows that count, in their places; zero elsewhere."""
        if self.rows is None:
            return values
        return values.new_zeros(self.full, *values.shape[1:]).index_copy_(0, self.rows, values)


def chosen(kept: Tensor) -> Tensor | None:
    """The places of the rows that count, None for all: on CUDA the one wait of a pass."""
    rows = kept.nonzero().squeeze(1)
    return None if len(rows) == len(kept) else rows


def usable(w: Tensor) -> Tensor:
    """``w`` as a matrix product takes it without a copy of its own for every block."""
    return (
        w if (w.stride(1) == 1 and w.stride(0) >= w.shape[1]) or (w.stride(0) == 1 and w.stride(1) >= len(w)) else w.contiguous()
    )


def _low(products: Projection, block: slice, high: Tensor, count: int) -> Callable[[slice], Tensor]:
    """The digits that rounding took from a block, some hundred rows at a time, on demand."""
    held: list[tuple[slice, Tensor]] = []

    def low(rows: slice) -> Tensor:
        if not held or rows.stop > held[0][0].stop:
            held.clear()
            piece = slice(rows.start, min(max(rows.start + count, rows.stop), len(high)))
            held.append((piece, products.low(slice(block.start + piece.start, block.start + piece.stop), high[piece])))
        piece, digits = held[0]
        return digits[rows.start - piece.start : rows.stop - piece.start]

    return low


def _moved(visit: Visit, start: int) -> Visit:
    return lambda rows, found: visit(slice(start + rows.start, start + rows.stop), found)
