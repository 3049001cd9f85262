"""Two ranks over gloo, one of them with nothing to learn: the step ends, and its gradient is that of one process."""

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
from torch.nn.parallel import DistributedDataParallel

import losskit

RANKS, ROWS, FEATURES, CLASSES = 2, 8, 6, 20

LOSSES: dict[str, Callable[..., Tensor]] = {
    "linear_cross_entropy": losskit.linear_cross_entropy,
    "smoothed": lambda *t, normalizer: losskit.linear_cross_entropy(*t, label_smoothing=0.1, z_loss=0.01, normalizer=normalizer),
    "linear_focal_loss": losskit.linear_focal_loss,
    "linear_log_probs": lambda *t, normalizer: -losskit.linear_log_probs(*t).log_prob.sum() / normalizer,
    "kl_div_loss": lambda x, w, y, normalizer: losskit.kl_div_loss(
        x @ w.T, (x @ w.T).detach().roll(1, -1), mask=y != -100, normalizer=normalizer
    ),
}


class Model(nn.Module):
    """A body and a head; its output is the loss."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Linear(FEATURES, FEATURES).double(), nn.Linear(FEATURES, CLASSES, bias=False).double()

    def forward(self, name: str, x: Tensor, y: Tensor, normalizer: Tensor) -> Tensor:
        return LOSSES[name](self.body(x).tanh(), self.head.weight, y, normalizer=normalizer)


def batch() -> tuple[Tensor, Tensor]:
    """Rows of both ranks: five of the first count, none of the second."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(RANKS, ROWS, FEATURES, generator=generator, dtype=torch.float64)
    y = torch.randint(CLASSES, (RANKS, ROWS), generator=generator)
    y[0, 5:] = -100
    y[1] = -100
    return x, y


def gradients(model: nn.Module) -> list[Tensor]:
    found = []
    for parameter in model.parameters():
        assert parameter.grad is not None
        found.append(parameter.grad.clone())
    return found


def work(rank: int, folder: str) -> None:
    """One rank: the normalizer that count_valid's documentation tells to take, and a step for each loss."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS, timeout=timedelta(seconds=60)
    )
    x, y = (t[rank] for t in batch())
    found = {}
    for name in LOSSES:
        model = DistributedDataParallel(Model())
        count = losskit.count_valid(y)
        dist.all_reduce(count)
        model(name, x, y, count / RANKS).backward()
        found[name] = gradients(model)
    torch.save(found, f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_a_rank_without_a_target_takes_its_part_in_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(str(tmp_path),), nprocs=RANKS)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(RANKS)]
    x, y = (t.flatten(0, 1) for t in batch())
    for name in LOSSES:
        model = Model()
        model(name, x, y, torch.tensor(5)).backward()
        for mine, theirs, alone in zip(ranks[0][name], ranks[1][name], gradients(model), strict=True):
            assert alone.any()
            assert torch.allclose(mine, alone, rtol=1e-10), name
            assert torch.equal(mine, theirs), name
