"""Three ranks over gloo, with different numbers of rows and one with none: value and mean gradient are those of one process."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from losskit.losses.batch_triplet import batch_triplet_loss
from losskit.losses.koleo import koleo_loss

SIZES = (5, 0, 8)

LOSSES: dict[str, Callable[..., Tensor]] = {
    "all": batch_triplet_loss,
    "all, soft": lambda x, y, **o: batch_triplet_loss(x, y, margin="soft", average="valid", **o),
    "active": lambda x, y, **o: batch_triplet_loss(x, y, margin=0.5, average="active", normalize=False, **o),
    "hard": lambda x, y, **o: batch_triplet_loss(x, y, mining="hard", margin="soft", **o),
    "semihard": lambda x, y, **o: batch_triplet_loss(x, y, mining="semihard", distance="cosine", **o),
    "koleo": lambda x, y, **o: koleo_loss(x, **o),
}


def batch() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(sum(SIZES), 4, generator=generator, dtype=torch.float64)
    return x, torch.randint(3, (len(x),), generator=generator), torch.rand(len(x), generator=generator) < 0.8


def encoder() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3).double()


def step(name: str, model: nn.Module, x: Tensor, y: Tensor, mask: Tensor, **options: object) -> tuple[Tensor, list[Tensor]]:
    value = LOSSES[name](model(x).tanh(), y, mask=mask, **options)
    return value.detach(), list(torch.autograd.grad(value, list(model.parameters())))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=len(SIZES), timeout=timedelta(seconds=60))
    mine = [t.split(SIZES)[rank] for t in batch()]
    found = {name: step(name, encoder(), *mine, group=dist.group.WORLD) for name in LOSSES}
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_agree_with_one_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(str(tmp_path),), nprocs=len(SIZES))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(SIZES))]
    for name in LOSSES:
        value, gradients = step(name, encoder(), *batch())
        for rank in ranks:
            torch.testing.assert_close(rank[name][0], value, rtol=1e-12, atol=1e-12)
        for i, wanted in enumerate(gradients):
            mean = torch.stack([rank[name][1][i] for rank in ranks]).mean(0)
            torch.testing.assert_close(mean, wanted, rtol=1e-11, atol=1e-12)
            assert wanted.any(), name
