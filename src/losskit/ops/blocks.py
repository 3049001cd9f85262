"""A projection block by block: scores = x @ w.T and its two adjoint products, within a byte budget."""

from __future__ import annotations

import functools
import time
from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["DEFAULT_MEMORY", "Projection", "largest", "product", "projection", "row_blocks", "slabs"]

DEFAULT_MEMORY = 256 << 20  # bytes; more did not make 2048 x 32768 scores faster on two CPU cores, 64 MiB cost 8 %
_SLAB = 8192  # classes at a time where a product goes through a slab: measured best of 2048 to 32768
_TURNED = 1024  # classes at a time where a product is transposed: 70 ms, against 130 ms for 512 and 120 ms for 2048
_SMALL = 1 << 28  # multiply-adds that take a millisecond in float32 too: not worth a rounding
_TALL = 512  # rows of bf16 scores times weights at a time: oneDNN takes 26 ms for 2 x 512 rows, 48 ms for 1024 (AMX)


def row_blocks(rows: int, row_bytes: int, memory: int) -> Iterator[slice]:
    """Blocks of nearly equal size, as few as the budget allows; one row is the least."""
    if not rows:
        return
    count = -(-rows // min(rows, max(1, memory // max(row_bytes, 1))))
    size, larger = divmod(rows, count)
    start = 0
    for i in range(count):  # the larger ones first: a buffer is made for the first
        stop = start + size + (i < larger)
        yield slice(start, stop)
        start = stop


def slabs(classes: int, size: int = _SLAB) -> Iterator[slice]:
    """The classes, ``size`` at a time."""
    for start in range(0, classes, size):
        yield slice(start, min(start + size, classes))


def product(a: Tensor, b: Tensor) -> Tensor:
    """a @ b in the operands' own dtype, also under autocast."""
    if not torch.amp.is_autocast_available(a.device.type):  # meta
        return a @ b
    with torch.autocast(a.device.type, enabled=False):
        return a @ b


def largest(bias: Tensor) -> Tensor:
    """Of the finite numbers; 0 if there is none."""
    finite = bias.isfinite()
    return torch.where(finite.any(), torch.where(finite, bias, -torch.inf).amax(), 0)


class Projection:
    """x @ w.T and its adjoints in the operands' own dtype: float32 and float64 on any device."""

    rounded = False
    """Whether products come rounded, so that :meth:`low` has digits to give back."""

    def __init__(self, x: Tensor, w: Tensor) -> None:
        self.x, self.w = x, w
        self.score_dtype = self.result = x.dtype
        # the target's share is the largest term of a long sum: added last, it leaves the sum's rounding ten times smaller
        self.apart = x.device.type == "cpu"
        self.dw: Tensor | None = None

    @property
    def row_bytes(self) -> int:
        """Of the scores of one row."""
        return len(self.w) * self.score_dtype.itemsize

    def beside(self, memory: int) -> int:
        """Bytes of a budget that products take beside scores; they keep to it from here on."""
        return 0

    def block(self, rows: int) -> Tensor:
        """Memory for the scores of so many rows, (rows, V)."""
        return self.x.new_empty(rows, len(self.w), dtype=self.score_dtype)

    def scores(self, rows: slice, out: Tensor) -> Tensor:
        """The products of some rows with every class, (n, V)."""
        return torch.mm(self.x[rows], self.w.T, out=out)

    def low(self, rows: slice, high: Tensor) -> Tensor:
        """What rounding took from ``high``."""
        return torch.zeros_like(high)

    def input_gradient(self, by: Tensor, out: Tensor) -> None:
        """by @ w, (n, D), in float32 at least."""
        torch.mm(by, self.w, out=out)

    def weight_gradient(self, by: Tensor, rows: slice) -> None:
        """Add by.T @ x, (V, D): the first block writes."""
        if self.dw is None:
            self.dw = torch.mm(by.T, self.x[rows])
        else:
            self.dw.addmm_(by.T, self.x[rows])


class Rounded(Projection):
    """bfloat16 where the CPU multiplies it: float32 inside a product, rounded on the way out."""

    rounded = True

    def low(self, rows: slice, high: Tensor) -> Tensor:
        # beta = -1: the product less its own rounded value, exact to float32 and small enough to be rounded again
        return torch.addmm(high, self.x[rows], self.w.T, beta=-1)

    def input_gradient(self, by: Tensor, out: Tensor) -> None:
        for rows in slabs(len(by), _TALL):
            out[rows].copy_(torch.mm(by[rows], self.w))

    def weight_gradient(self, by: Tensor, rows: slice) -> None:
        # x.T (D, n) times the block as it lies takes half the time of the block's transpose times x
        x, first = self.x[rows].T.contiguous(), self.dw is None
        total = self.w.new_empty(self.w.shape, dtype=torch.float32) if self.dw is None else self.dw
        part = x.new_empty(len(x), min(_TURNED, len(self.w)))
        turned = x.new_empty(part.shape[1], len(x))
        for classes in slabs(len(self.w), _TURNED):
            count = classes.stop - classes.start
            torch.mm(x, by[:, classes], out=part[:, :count])
            if first:
                total[classes].copy_(part[:, :count].T)
            else:
                total[classes].add_(turned[:count].copy_(part[:, :count].T))
        self.dw = total


class Upcast(Projection):
    """Half-precision operands in float32, a slab of classes at a time: float16, and bfloat16 where that is faster."""

    def __init__(self, x: Tensor, w: Tensor) -> None:
        super().__init__(x, w)
        self.score_dtype = self.result = torch.float32
        self.slab = _SLAB

    @property
    def row_bytes(self) -> int:
        return 4 * (len(self.w) + self.x.shape[1])

    def beside(self, memory: int) -> int:
        width = 4 * max(self.x.shape[1], 1)
        self.slab = max(1, min(_SLAB, len(self.w), memory // 8 // width))
        return self.slab * width

    def scores(self, rows: slice, out: Tensor) -> Tensor:
        x = self.x[rows].float()
        for classes in slabs(len(self.w), self.slab):
            torch.mm(x, self.w[classes].float().T, out=out[:, classes])
        return out

    def input_gradient(self, by: Tensor, out: Tensor) -> None:
        out.zero_()
        for classes in slabs(len(self.w), self.slab):
            out.addmm_(by[:, classes], self.w[classes].float())

    def weight_gradient(self, by: Tensor, rows: slice) -> None:
        x = self.x[rows].float()
        if self.dw is None:
            self.dw = torch.mm(by.T, x)
        else:
            self.dw.addmm_(by.T, x)


class Widened(Projection):
    """bfloat16 operands whose products come in float32, as CUDA's tensor cores make them."""

    def __init__(self, x: Tensor, w: Tensor) -> None:
        super().__init__(x, w)
        self.score_dtype = torch.float32

    @property
    def row_bytes(self) -> int:
        return 4 * _aligned(len(self.w))

    def block(self, rows: int) -> Tensor:
        return _aligned_block(self.x, rows, len(self.w))

    def scores(self, rows: slice, out: Tensor) -> Tensor:
        return torch.mm(self.x[rows], self.w.T, out_dtype=torch.float32, out=out)

    def input_gradient(self, by: Tensor, out: Tensor) -> None:
        torch.mm(by, self.w, out_dtype=torch.float32, out=out)

    def weight_gradient(self, by: Tensor, rows: slice) -> None:
        if self.dw is None:
            self.dw = torch.mm(by.T, self.x[rows], out_dtype=torch.float32)
        else:
            torch.addmm(self.dw, by.T, self.x[rows], out_dtype=torch.float32, out=self.dw)


class WidenedScores(Upcast):
    """float16 on CUDA: scores from the tensor cores, gradients from float32, since float16 has no probability below 6e-8."""

    @property
    def row_bytes(self) -> int:
        return 4 * (_aligned(len(self.w)) + self.x.shape[1])

    def block(self, rows: int) -> Tensor:
        return _aligned_block(self.x, rows, len(self.w))

    def scores(self, rows: slice, out: Tensor) -> Tensor:
        return torch.mm(self.x[rows], self.w.T, out_dtype=torch.float32, out=out)


def _aligned(classes: int) -> int:
    return -(-classes // 16) * 16


def _aligned_block(x: Tensor, rows: int, classes: int) -> Tensor:
    """Rows that start at a multiple of 16 numbers are read and written 16 bytes at a time, by kernels and products."""
    return x.new_empty(rows, _aligned(classes), dtype=torch.float32)[:, :classes]


def projection(x: Tensor, w: Tensor) -> Projection:
    """The products as this device does them best."""
    if x.dtype not in (torch.float16, torch.bfloat16):
        return Projection(x, w)
    if x.device.type == "cuda":
        return Widened(x, w) if x.dtype == torch.bfloat16 else WidenedScores(x, w)
    if x.dtype == torch.bfloat16 and x.device.type == "cpu" and x.numel() * len(w) > _SMALL and rounds_fast():
        return Rounded(x, w)
    return Upcast(x, w)


@functools.cache
def rounds_fast() -> bool:
    """Whether this CPU multiplies bfloat16 faster than float32: a probe of some milliseconds, once a process."""
    taken: dict[torch.dtype, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        a, b = (torch.ones(256, 512, dtype=dtype) for _ in range(2))
        out = torch.empty(256, 256, dtype=dtype)
        for _ in range(4):  # the first one sets the library up
            start = time.perf_counter()
            torch.mm(a, b.T, out=out)
            taken[dtype] = min(taken.get(dtype, 1.0), time.perf_counter() - start)
    return taken[torch.bfloat16] < taken[torch.float32]
