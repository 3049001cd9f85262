"""A queue of past embeddings: more negatives than a batch has, without the memory of their forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from typing_extensions import override

from ..core.call import whole_number
from ..core.check import ShapeError, at_least, shape_text
from ..parallel import gather_rows

__all__ = ["EmbeddingQueue"]


class Held(NamedTuple):
    """What a queue holds, oldest first: rows (M, D) without a gradient, and their ids (M,) or None."""

    rows: Tensor
    ids: Tensor | None


class EmbeddingQueue(nn.Module):
    """The last ``size`` embeddings of earlier steps, as further keys or negatives; the newest take the place of the oldest.

    Rows, ids, the place of the next row and the number of rows are buffers: a training that goes on from a checkpoint goes
    on with the very queue it had. The queue is not part of the graph; what ``held`` returns stays as it was when the queue
    moves on, so that it may be filled between a loss and its backward pass.

    Use when:   a batch has too few negatives and the encoder changes slowly (MoCo's momentum encoder, XBM after a warm-up).
    Avoid when: a larger batch is at hand (``CachedStep``): rows of the queue are of an older encoder and have no gradient.
    Shape:      enqueue: rows (*, D), ids (*); held: (M, D) and (M,) with M <= size
    Args:
        size: >= 1, how many rows it holds.
        dim: >= 1, D.
        ids: whether every row has an integer that says what it is an embedding of. A loss that is told the ids of its rows
            and of those held leaves the stale copy of a row out of that row's negatives.
        dtype, device: of the rows; ``.to()`` changes them later.
    Raises:     TypeError; ValueError for size or dim < 1; ShapeError
    Reference:  MoCo: He et al. 2019, arXiv:1911.05722; XBM: Wang et al. 2019, arXiv:1912.06798
    Example:
        >>> queue = losskit.EmbeddingQueue(size=3, dim=2)
        >>> queue.enqueue(torch.eye(2), ids=torch.tensor([7, 8]))
        >>> queue.enqueue(torch.ones(2, 2), ids=torch.tensor([9, 7]))  # the first row makes room
        >>> queue.held().ids
        tensor([8, 9, 7])
        >>> len(queue)
        3
    """

    rows: Tensor
    """(size, dim), in the order of the places; what is not ``valid`` is 0. Changed in place."""
    ids: Tensor | None
    """(size,) int64"""
    pointer: Tensor
    """0-d int64: the place of the next row."""
    filled: Tensor
    """0-d int64: how many places hold a row."""

    def __init__(
        self,
        size: int,
        dim: int,
        *,
        ids: bool = True,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        for name, value in (("size", size), ("dim", dim)):
            whole_number(name, value)
            at_least(name, value, 1)
        if dtype is not None and not dtype.is_floating_point:
            raise TypeError(f'"dtype" is {dtype}, expected a floating-point dtype: integers would make 0 of most embeddings')
        self.size, self.dim = size, dim
        self.register_buffer("rows", torch.zeros(size, dim, dtype=dtype, device=device))
        self.register_buffer("ids", torch.zeros(size, dtype=torch.int64, device=device) if ids else None)
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64, device=device))
        self.register_buffer("filled", torch.zeros((), dtype=torch.int64, device=device))

    @torch.no_grad()
    def enqueue(self, rows: Tensor, ids: Tensor | None = None, *, group: dist.ProcessGroup | None = None) -> None:
        """Put rows at the end; of more than ``size`` the last ones stay. Nothing here waits for a GPU without a group.

        With ``group`` every rank puts in the rows of all ranks, in the order of the ranks: the queues stay equal. That is for a
        loss without a group. One with a group counts the negatives of every rank: there each rank puts in its own rows only.

        Shape:      rows (*, D), ids (*) integers
        Raises:     ShapeError; TypeError; ValueError for ids missing, or given to a queue without
        """
        rows, ids = self._checked(rows, ids)
        rows = gather_rows(rows.to(self.rows.dtype), group).rows[-self.size :]
        places = (self.pointer + torch.arange(len(rows), device=self.rows.device)) % self.size
        self.rows.index_copy_(0, places, rows)
        if self.ids is not None and ids is not None:
            self.ids.index_copy_(0, places, gather_rows(ids.long(), group).rows[-self.size :])
        self.pointer.add_(len(rows)).remainder_(self.size)
        self.filled.add_(len(rows)).clamp_(max=self.size)

    @torch.no_grad()
    def held(self) -> Held:
        """A copy of the rows and ids so far, oldest first. Its size depends on how many there are, for which a GPU is asked."""
        count = len(self)
        places = (self.pointer - count + torch.arange(count, device=self.rows.device)) % self.size
        return Held(self.rows[places], None if self.ids is None else self.ids[places])

    @property
    def valid(self) -> Tensor:
        """(size,) bool: the places of ``rows`` and ``ids`` that are taken. For code that wants one shape at every step."""
        return torch.arange(self.size, device=self.rows.device) < self.filled

    @torch.no_grad()
    def reset(self) -> None:
        """Forget all rows."""
        for buffer in self.buffers():
            buffer.zero_()

    def __len__(self) -> int:
        return int(self.filled)

    def __bool__(self) -> bool:
        return True  # an empty queue is a queue: "if queue" must not skip its first step

    @override
    def extra_repr(self) -> str:
        """Size, features, whether there are ids."""
        return f"size={self.size}, dim={self.dim}, ids={self.ids is not None}"

    @override
    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, local_metadata: Any, strict: bool,
        missing_keys: list[str], unexpected_keys: list[str], error_msgs: list[str],
    ) -> None:  # fmt: skip
        """All of it or nothing: the place of the next row, alone, would speak of rows that are not there."""
        rows, ids = state_dict.get(f"{prefix}rows"), f"{prefix}ids" in state_dict
        if isinstance(rows, Tensor) and (rows.shape != self.rows.shape or ids != (self.ids is not None)):
            given = f'"{prefix}rows" has shape {shape_text(rows.shape)}, with{"" if ids else "out"} ids'
            error_msgs.append(
                f"{given}, expected the state of a queue with {self.extra_repr()}: make one like that which was saved"
            )
            return
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )  # fmt: skip

    def _checked(self, rows: Tensor, ids: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The arguments without leading axes."""
        for name, given in (("rows", rows), ("ids", ids)):
            if not (isinstance(given, Tensor) or (name == "ids" and given is None)):
                raise TypeError(f'"{name}" must be a Tensor, got {type(given).__name__}')
        if not rows.is_floating_point():
            raise TypeError(f'"rows" has dtype {rows.dtype}, expected a floating-point dtype: embeddings')
        if rows.ndim < 2 or rows.shape[-1] != self.dim:
            raise ShapeError(f'"rows" has shape {shape_text(rows.shape)}, expected (*, {self.dim}): the queue has dim={self.dim}')
        for name, value in (("rows", rows), ("ids", ids)):
            if value is not None and value.device != self.rows.device:
                raise ValueError(f'"{name}" is on {value.device}, expected {self.rows.device} like the queue: move it with .to()')
        if (ids is None) != (self.ids is None):
            said = "missing, expected an id for each row" if ids is None else "given, but this queue holds none"
            raise ValueError(f'"ids" is {said}: make the queue with ids={ids is not None}')
        if ids is None:
            return rows.detach().flatten(0, -2), None
        if ids.is_floating_point() or ids.is_complex() or ids.dtype == torch.bool:
            raise TypeError(f'"ids" has dtype {ids.dtype}, expected integers')
        if ids.shape != rows.shape[:-1]:
            wanted = shape_text(rows.shape[:-1])
            raise ShapeError(f'"ids" has shape {shape_text(ids.shape)}, expected {wanted}: one for each row')
        return rows.detach().flatten(0, -2), ids.flatten()
