"""Pair statistics as the CUDA kernels make them, to be run where Triton interprets; and what they must be."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from losskit.ops import pair_lse, pair_sums
from losskit.ops.pair_sets import NOBODY, Who
from losskit.ops.pair_sums import Sums
from losskit.ops.pair_tiles import Call

__all__ = ["Found", "crowd", "drawn", "everybody", "summed", "summed_truth", "swept", "truth"]


class Found(NamedTuple):
    """Statistics, and gradients for given slopes of them."""

    rows: Tensor
    cols: Tensor
    dx: Tensor
    dy: Tensor


def drawn(n: int, m: int, d: int = 8, size: float = 10.0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Unit vectors, those of rows times ``size``, and slopes of the statistics."""
    g = torch.Generator().manual_seed(100 * n + m)
    x, y = (torch.nn.functional.normalize(torch.randn(k, d, generator=g), dim=1) for k in (n, m))
    by_rows, by_cols = (torch.randn(k, generator=g, dtype=torch.float64) for k in (n, m))
    return size * x, y, by_rows, by_cols


def crowd(n: int, m: int, kinds: int, same: bool) -> Who:
    """Ids of a few kinds; one row and one column that are not there; row 0 and column 1 are one item."""
    g = torch.Generator().manual_seed(kinds)
    row, col = (torch.randint(kinds, (k,), generator=g) for k in (n, m))
    row_slot, col_slot = torch.arange(n), torch.arange(m) + 10000
    if n > 2 and m > 2:
        row[2] = col[2] = NOBODY
        col_slot[1] = 0
    return Who(row, col, row_slot, col_slot, same)


def everybody(rows: int, cols: int, device: torch.device) -> Who:
    """Every pair counts: no two ids are equal."""
    row, col = torch.arange(rows, device=device), -1 - torch.arange(cols, device=device)
    return Who(row, col, row, col, False)


def _run(how: object, call: Call, by_rows: Tensor, by_cols: Tensor, columns: bool) -> Found:
    rows, cols = how.lse(call, columns)
    by = by_cols if columns else by_cols[:0]
    return Found(rows, cols, *how.gradient_of_lse(call, by_rows, by, rows, cols, [True, True]))


def swept(call: Call, by_rows: Tensor, by_cols: Tensor, columns: bool) -> Found:
    """By the kernels."""
    from losskit.ops.triton import pairs

    assert pairs.fits(call)
    return _run(pairs, call, by_rows, by_cols, columns)


def truth(call: Call, by_rows: Tensor, by_cols: Tensor, columns: bool) -> Found:
    """In float64, by the eager sweep."""
    return _run(pair_lse, call._replace(x=call.x.double(), y=call.y.double(), narrow=""), by_rows, by_cols, columns)


def summed(call: Call, t: Tensor, by_rows: Tensor, needs: list[bool]) -> tuple[Tensor, ...]:
    """Sums of softplus and their gradients by the kernel; the sums once more without gradients."""
    from losskit.ops.triton import pair_sums as kernels

    sums = Sums("softplus", t, t.new_empty(0))
    assert kernels.fits(call, sums)
    return *kernels.gradient_of_sum(call, sums, by_rows, needs), kernels.row_sums(call, sums)


def summed_truth(call: Call, t: Tensor, by_rows: Tensor) -> tuple[Tensor, ...]:
    """In float64, by the eager sweep."""
    wide = call._replace(x=call.x.double(), y=call.y.double(), narrow="")
    return pair_sums.gradient_of_sum(wide, Sums("softplus", t.double(), t.new_empty(0).double()), by_rows, [True] * 3 + [False])
