"""Numbers of each step, gathered where they are made and read when they have arrived: the training loop never waits."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

__all__ = ["Ring", "Row"]


@dataclass(frozen=True)
class Row:
    """One step's numbers: of this rank, and the mean over all ranks."""

    step: int
    own: tuple[float, ...]
    shared: tuple[float, ...]
    ranks: tuple[int, ...] = ()
    """The ranks that had the first loss that is not finite in the block of this row; known where there are several."""


class Ring:
    """Rows of ``width`` numbers, the first two the loss and the norm of the gradient.

    On a CPU they are read at once, on a device at most 2 ``every`` steps later: there ``every`` rows fill a block, which one
    asynchronous copy on a stream of its own brings to pinned memory. Over ranks a block is added up by one all-reduce, and each
    rank has to push the same number of rows.
    """

    def __init__(self, width: int, every: int, device: torch.device, *, shared: bool) -> None:
        self.width, self.every, self.device, self.shared = width, every, device, shared
        self._steps: list[int] = []
        self._rows: list[tuple[float, ...]] = []
        self._flying: deque[tuple[list[int], Tensor, torch.cuda.Event]] = deque()
        self._block: Tensor | None = None
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    @classmethod
    def of(cls, numbers: Sequence[Tensor | float | None], every: int) -> Self:
        """A ring for such rows, on the device where one of them lies, over the ranks that there are."""
        device = next((n.device for n in numbers if isinstance(n, Tensor) and n.device.type != "cpu"), torch.device("cpu"))
        shared = dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1
        return cls(len(numbers), every, device, shared=shared)

    @property
    def delayed(self) -> bool:
        """Whether a row is read later than it is pushed."""
        return self._stream is not None

    def push(self, step: int, values: Sequence[Tensor | float]) -> list[Row]:
        """Take a step's numbers; the rows that can be read by now, this one among them where nothing delays it."""
        self._steps.append(step)
        if self._stream is not None:
            self._fill(values)
            if len(self._steps) == self.every:
                self._send()
            return self._arrived(wait=False)
        self._rows.append(tuple(float(v.detach() if isinstance(v, Tensor) else v) for v in values))
        if self.shared:
            return self._reduced() if len(self._steps) == self.every else []
        row = Row(step, self._rows[-1], self._rows[-1])
        self._steps, self._rows = [], []
        return [row]

    def flush(self) -> list[Row]:
        """All rows that are left, waited for. On several ranks all must come here together, or none."""
        if self._stream is not None:
            if self._steps:
                self._send()
            return self._arrived(wait=True)
        return self._reduced() if self.shared and self._steps else []

    def _reduced(self) -> list[Row]:
        """The rows of a block on the CPU, with their means over ranks."""
        own = torch.tensor(self._rows, dtype=torch.float64)
        steps, self._steps, self._rows = self._steps, [], []
        return _rows(steps, own, *_all_reduced(own))

    def _fill(self, values: Sequence[Tensor | float]) -> None:
        """One row of the block, by copies that stay on the device."""
        if self._block is None:
            self._block = torch.empty(self.every, self.width, dtype=torch.float64, device=self.device)
        row = self._block[len(self._steps) - 1]
        for place, value in enumerate(values):
            if isinstance(value, Tensor):
                row[place].copy_(value.detach().reshape(()), non_blocking=True)
            else:
                row[place].fill_(value)

    def _send(self) -> None:
        """Let the block fly: reduced over ranks on the training stream, copied on the other."""
        assert self._block is not None  # rows were filled
        assert self._stream is not None
        steps, own = self._steps, self._block[: len(self._steps)]
        pieces = [own]
        if self.shared:
            total, bad = _all_reduced(own)
            pieces += [total, bad.expand(own.shape[0], -1)]
        whole = torch.cat(pieces, 1)
        self._steps, self._block = [], None
        self._stream.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(self._stream):
            host = torch.empty(whole.shape, dtype=whole.dtype, pin_memory=True)
            host.copy_(whole, non_blocking=True)
            whole.record_stream(self._stream)
            arrived = torch.cuda.Event()
            arrived.record(self._stream)
        self._flying.append((steps, host, arrived))

    def _arrived(self, *, wait: bool) -> list[Row]:
        """Rows whose copy is done; a block is waited for when the next one is already under way."""
        found: list[Row] = []
        while self._flying:
            steps, host, event = self._flying[0]
            if not event.query():
                if not (wait or len(self._flying) > 1):
                    break
                event.synchronize()
            self._flying.popleft()
            own = host[:, : self.width]
            shared = host[:, self.width : 2 * self.width] if self.shared else own
            found += _rows(steps, own, shared, host[0, 2 * self.width :])
        return found


def _all_reduced(own: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over ranks, and for each rank the number of its first loss that is not finite, from 1: one all-reduce."""
    world, rank = dist.get_world_size(), dist.get_rank()
    bad = own.new_zeros(world)
    ill = ~torch.isfinite(own[:, 0])  # the loss: gradients are those of all ranks already
    bad[rank] = torch.where(ill.any(), ill.int().argmax() + 1, 0)  # a step later all ranks may be ill
    packed = torch.cat([own.flatten() / world, bad])
    dist.all_reduce(packed)
    return packed[: own.numel()].view_as(own), packed[own.numel() :]


def _rows(steps: Sequence[int], own: Tensor, shared: Tensor, bad: Tensor) -> list[Row]:
    places = bad.tolist()
    first = min((place for place in places if place), default=0)
    ranks = tuple(rank for rank, place in enumerate(places) if place and place == first)
    pairs = zip(steps, own.tolist(), shared.tolist(), strict=True)
    return [Row(step, tuple(mine), tuple(ours), ranks) for step, mine, ours in pairs]
