"""The sick line of an example is found by its rule, and the healthy one is not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import watched
from torch import Tensor, nn

import losskit
from losskit.doctor import Report, check

FEATURES, CLASSES = 20, 5


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def checked(model: nn.Module, x: Tensor) -> Report:
    y = torch.randint(0, CLASSES, (len(x),))
    return check(model, (x, y), F.cross_entropy, torch.optim.SGD(model.parameters(), 0.1), overfit=False)


def everything(report: Report) -> list[str]:
    return [one.code for top in report.findings for one in (top, *top.consequences)]


@pytest.mark.parametrize("sick", [True, False])
def test_the_example_of_dead_units(sick: bool) -> None:
    linear, head = nn.Linear(FEATURES, 64), nn.Linear(64, CLASSES)
    nn.init.constant_(linear.bias, -100.0 if sick else 0.0)
    found = everything(checked(nn.Sequential(linear, nn.ReLU(), head), torch.randn(2048, FEATURES)))
    assert ("D311" in found) == sick


@pytest.mark.parametrize("sick", [True, False])
def test_the_example_of_saturated_units(sick: bool) -> None:
    model = nn.Sequential(nn.Linear(FEATURES, 64), nn.Tanh(), nn.Linear(64, CLASSES))
    found = everything(checked(model, torch.randn(256, FEATURES) * (1000 if sick else 1)))
    assert ("D312" in found) == sick


@pytest.mark.parametrize("sick", [True, False])
def test_the_example_of_embeddings_that_collapse(sick: bool) -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 16))

    def loss_fn(output: Tensor, pairs: Tensor) -> Tensor:
        a, b = output[: len(output) // 2], output[len(output) // 2 :]
        if sick:
            return F.cosine_embedding_loss(a, b, torch.ones(len(a)))
        return losskit.multiple_negatives_ranking_loss(a, b)

    def batch() -> tuple[Any, Any]:
        a = torch.randn(32, 8)
        return torch.cat([a, a + 0.5 * torch.randn(32, 8)]), torch.zeros(32)

    monitor = watched(model, torch.optim.Adam(model.parameters(), 1e-2), loss_fn, [batch() for _ in range(150)])
    assert ("D701" in everything(monitor.report())) == sick
