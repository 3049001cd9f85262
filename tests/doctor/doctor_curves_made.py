"""Curves for the tests of the curve rules: simulated ones, and those of small models that are really trained."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.evidence import Evidence, Settings
from losskit.doctor.evidence.run import Kind, Reading, Run, Series
from losskit.doctor.examine import examine
from losskit.doctor.finding import Finding

CODES = ("D309", "D501", "D502", "D505", "D506", "D507", "D601", "D602", "D604")
NAN = math.nan


def series(name: str, kind: Kind, values: Sequence[float] | Tensor, steps: Tensor | None = None, every: int = 1) -> Series:
    values = torch.as_tensor(values, dtype=torch.float64)
    return Series(name, kind, torch.arange(values.numel()) * every if steps is None else steps, values, every)


def run_of(loss: Sequence[float] | Tensor, *others: Series, every: int = 1, **known: Any) -> Run:
    return Run(
        "a run", (series("loss", "train_loss", loss, every=every), *others), known.pop("reading", Reading("jsonl")), **known
    )


def found(run: Run | None, phase: Any = "after", **settings: Any) -> list[Finding]:
    """The findings, those that are folded away as well."""
    tops, faults = examine(Evidence(phase, Settings(**settings), run=run), codes=CODES)
    assert faults == ()
    return [*tops, *(below for top in tops for below in top.consequences)]


def alarms(run: Run | None, phase: Any = "after", **settings: Any) -> list[str]:
    return [one.code for one in found(run, phase, **settings) if one.severity != "info"]


def the(code: str, run: Run, phase: Any = "after", **settings: Any) -> Finding:
    """The first finding, which has to be this one."""
    first = found(run, phase, **settings)[0]
    assert first.code == code
    return first


def noisy(values: Tensor, size: float = 0.05, rho: float = 0.3, seed: int = 0) -> Tensor:
    """Times AR(1) noise."""
    count = values.numel()
    fresh = torch.randn(count, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * math.sqrt(1 - rho**2)

    def joined(old: float, new: float) -> float:
        return rho * old + new

    return values * torch.exp(size * torch.tensor(list(accumulate(fresh.tolist(), joined))))


def learning(count: int = 1000, end: float = 0.5) -> Tensor:
    """A loss that falls from 2.5 + end as it should."""
    return end + 2 * torch.exp(-15 * torch.arange(count, dtype=torch.float64) / count)


Batch = tuple[Tensor, Tensor]


class Trained:
    """Real training of a small model: losses and gradient norms of each step."""

    def __init__(
        self, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], lr: float, batch: Callable[[int], Batch]
    ) -> None:
        self.model, self.loss, self.batch = model, loss, batch
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        self.losses: list[float] = []
        self.norms: list[float] = []

    def steps(self, count: int) -> Trained:
        for _ in range(count):
            x, y = self.batch(len(self.losses))
            self.optimizer.zero_grad()
            loss = self.loss(self.model(x), y)
            loss.backward()
            grads = [p.grad for p in self.model.parameters() if p.grad is not None]
            self.norms.append(float(torch.stack([g.norm() for g in grads]).norm()))
            self.losses.append(loss.item())
            self.optimizer.step()
        return self


def regression(lr: float, bad: range = range(0), noise: Callable[[int], float] = lambda step: 0.3) -> Trained:
    """A line through noise; the inputs of the bad steps are ten times too large."""
    torch.manual_seed(0)
    true = torch.randn(8, 1)

    def batch(step: int) -> Batch:
        x = torch.randn(32, 8)
        return x * (10 if step in bad else 1), x @ true + noise(step) * torch.randn(32, 1)

    return Trained(nn.Linear(8, 1), F.mse_loss, lr, batch)
