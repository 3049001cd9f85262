"""Small runs for the tests of the monitor."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from losskit.doctor import Monitor

CLASSES, FEATURES = 5, 12
Batch = tuple[Tensor, Tensor]


def data(rows: int = 1024) -> Batch:
    x = torch.randn(rows, FEATURES)
    return x, (x @ torch.randn(FEATURES, CLASSES)).argmax(1)


def network() -> nn.Sequential:
    return nn.Sequential(nn.Linear(FEATURES, 24), nn.ReLU(), nn.Dropout(0.1), nn.Linear(24, CLASSES))


def batches(steps: int, size: int = 32, bad: int | None = None) -> list[Batch]:
    x, y = data()
    found = []
    for step in range(steps):
        rows = torch.randint(0, len(x), (size,))
        features = x[rows].clone()
        if step == bad:
            features[3, 4] = math.nan
        found.append((features, y[rows]))
    return found


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn: Any, given: list[Batch], monitor: Monitor | None = None
) -> None:
    for batch in given:
        optimizer.zero_grad()
        loss = loss_fn(model(batch[0]), batch[1])
        loss.backward()
        if monitor is not None:
            monitor.step(loss, batch=batch)
        optimizer.step()


def watched(model: nn.Module, optimizer: torch.optim.Optimizer, loss_fn: Any, given: list[Batch], **options: Any) -> Monitor:
    monitor = Monitor(model, optimizer, loss_fn, **{"sinks": (), "every": 1, **options})
    with monitor:
        train(model, optimizer, loss_fn, given, monitor)
    assert not monitor.report().cases[0].faults
    return monitor


def codes(monitor: Monitor) -> list[str]:
    return [one.code for one in monitor.findings if one.severity != "info"]
