"""Ranks over gloo for the losses of embeddings: how they meet and part, and how a batch is shared out."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

# rows of each rank, by the number of ranks: uneven, one of them empty, all empty
SHARES: dict[int, tuple[tuple[int, ...], ...]] = {
    1: ((6,), (0,)),
    2: ((4, 2), (6, 0), (0, 6), (0, 0)),
    3: ((1, 2, 3), (4, 0, 2), (0, 0, 6), (0, 0, 0)),
}
Found = dict[str, Any]


def ranks(work: Callable[[int, int], Found], world: int, folder: Path) -> list[Found]:
    """What ``work(rank, world)`` returns on each of ``world`` ranks, each a process of its own."""
    mp.spawn(_rank, args=(world, str(folder), work), nprocs=world)
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(world)]


def _rank(rank: int, world: int, folder: str, work: Callable[[int, int], Found]) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )
    torch.save(work(rank, world), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


def part(share: tuple[int, ...], rank: int) -> slice:
    """The rows of a rank."""
    return slice(sum(share[:rank]), sum(share[: rank + 1]))
