"""One rank of an evaluation over gloo, and children that can be killed."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist

from evaluate_helpers_models import STATES, Markov, chain, sampled
from losskit.evaluate import PerplexityReport, perplexity

PLANS = ((2, 1), (8, 4), (8, 7), (64, 16))
LENGTHS = (9, 1, 40, 3, 0, 25, 7)


def evaluated(window: int, stride: int, lengths: tuple[int, ...] = LENGTHS, resume: Path | None = None) -> PerplexityReport:
    """The Markov chain on documents of its own."""
    table = chain()
    documents = sampled(table, lengths)
    return perplexity(
        Markov(table), None, documents, window=window, stride=stride, bos=STATES, batch_tokens=20, resume=resume
    )  # fmt: skip


def met(rank: int, world: int, folder: str) -> None:
    """Join the others."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world, timeout=timedelta(seconds=60)
    )


def parted() -> None:
    """Leave: gloo's threads now and then abort an interpreter that shuts down."""
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)


def work(rank: int, world: int, folder: str) -> None:
    """Evaluate under every plan, also with more ranks than documents, and write what this rank sees."""
    met(rank, world, folder)
    found = [evaluated(*plan).overall.to_json() for plan in PLANS] + [evaluated(8, 4, (5,)).overall.to_json()]
    torch.save(found, f"{folder}/{rank}.pt")
    parted()


def journaled(rank: int, world: int, folder: str) -> None:
    """Evaluate with a journal."""
    met(rank, world, folder)
    evaluated(8, 4, resume=Path(folder) / "journal")
    parted()


def failing(rank: int, world: int, folder: str) -> None:
    """A document whose id the model does not know lies on one rank only; all hear of it."""
    met(rank, world, folder)

    def broken(ids: torch.Tensor) -> torch.Tensor:
        return torch.where((ids == 7).unsqueeze(-1), torch.nan, torch.zeros(*ids.shape, 10))

    try:
        perplexity(broken, None, [[1, 2, 3], [4, 7, 5], [6, 8]], window=8, bos=0, batch_tokens=4)
    except ArithmeticError as problem:
        Path(folder, f"{rank}.txt").write_text(str(problem))
    parted()
