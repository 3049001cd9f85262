"""A function of many rows, block by block, whose insides are not kept: backward computes each block again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .autograd import eagerly
from .blocks import row_blocks

__all__ = ["in_blocks"]

Piece = Callable[..., Tensor]


def in_blocks(piece: Piece, x: Tensor, w: Tensor, *rows: Tensor, row_bytes: int, memory: int) -> Tensor:
    """What ``piece(x[block], w, *(t[block] for t in rows))`` gives for each block of rows, one behind the other.

    ``piece`` needs ``row_bytes`` for a row and gets as many rows as ``memory`` holds. Gradients flow to ``x`` and ``w``. Where
    everything fits into one block, and under torch.func and double backward, the insides are kept. Under torch.compile all
    rows are one block.

    Shape:      x (N, D), w (C, *), rows (N, *) -> the pieces' results, joined at their first axis
    """
    if torch.compiler.is_compiling():  # a graph has no number of blocks that depends on the number of rows
        return piece(x, w, *rows)
    blocks = list(row_blocks(len(x), row_bytes, memory)) or [slice(0, 0)]
    wanted = torch.is_grad_enabled() and (x.requires_grad or w.requires_grad)
    if len(blocks) == 1 or not wanted:
        return _joined(piece, blocks, x, w, rows)
    value: Tensor = eagerly(_Blocks, lambda: _joined(piece, blocks, x, w, rows), piece, blocks, x, w, *rows)
    return value


def _joined(piece: Piece, blocks: Sequence[slice], x: Tensor, w: Tensor, rows: Sequence[Tensor]) -> Tensor:
    return torch.cat([piece(x[at], w, *(t[at] for t in rows)) for at in blocks])


class _Blocks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: Piece, blocks: Sequence[slice], x: Tensor, w: Tensor, *rows: Tensor) -> Tensor:
        ctx.save_for_backward(x, w, *rows)
        ctx.piece, ctx.blocks = piece, blocks
        return _joined(piece, blocks, x, w, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        x, w, *rows = ctx.saved_tensors
        needs = ctx.needs_input_grad[2:4]
        none = (None,) * len(rows)
        if torch.is_grad_enabled():
            chosen = [t for t, need in zip((x, w), needs, strict=True) if need]
            found = iter(torch.autograd.grad(_joined(ctx.piece, ctx.blocks, x, w, rows), chosen, grads[0], create_graph=True))
            return None, None, *(next(found) if need else None for need in needs), *none
        return None, None, *_again(ctx.piece, ctx.blocks, x, w, rows, grads[0], needs), *none


def _again(
    piece: Piece, blocks: Sequence[slice], x: Tensor, w: Tensor, rows: Sequence[Tensor], grad: Tensor, needs: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None]:
    """The gradients of x and w from those of the results, a block at a time."""
    dx, dw = torch.empty_like(x) if needs[0] else None, torch.zeros_like(w) if needs[1] else None
    leaf, start = w.detach().requires_grad_(needs[1]), 0
    for at in blocks:
        with torch.enable_grad():
            part = x[at].detach().requires_grad_(needs[0])
            value = piece(part, leaf, *(t[at] for t in rows))
        chosen = [t for t in (part, leaf) if t.requires_grad]
        found = iter(torch.autograd.grad(value, chosen, grad[start : start + len(value)]))
        start += len(value)
        if dx is not None:
            dx[at] = next(found)
        if dw is not None:
            dw += next(found)
    return dx, dw
