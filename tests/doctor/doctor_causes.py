"""Runs with one injected cause of a value that is not finite, and runs that only look so."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import losskit
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine
from losskit.doctor.step import Step

CODES = ("D301", "D302", "D303", "D304")
N, IN, C = 6, 4, 3
Case = tuple[Step, Any, torch.optim.Optimizer | None]


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(IN, 8), nn.ReLU(), nn.Linear(8, C))


def batch() -> tuple[Tensor, Tensor]:
    return torch.randn(N, IN), torch.randint(0, C, (N,))


def line(function: Callable[..., Any], text: str) -> str:
    """File and number of the line of a function that holds the text."""
    lines, first = inspect.getsourcelines(function)
    at = next(i for i, one in enumerate(lines) if text in one)
    return f"{Path(inspect.getfile(function)).name}:{first + at}"


def found(evidence: Evidence) -> list[Any]:
    findings, faults = examine(evidence, codes=CODES)
    assert not faults
    return list(findings)


def a_feature_is_nan() -> Case:
    x, y = batch()
    x[2, 1] = math.nan
    return Step(net(), nn.CrossEntropyLoss()), (x, y), None


def a_label_is_infinite() -> Case:
    x, _ = batch()
    y = torch.randn(N, C)
    y[4, 0] = math.inf
    return Step(net(), nn.MSELoss()), (x, y), None


def log_of_softmax(output: Tensor, target: Tensor) -> Tensor:
    p = output.softmax(-1)
    return -torch.log(p[torch.arange(len(target)), target]).mean()


def log_of_zero() -> Case:
    model = net()
    with torch.no_grad():
        model[2].bias[0] = 200.0  # exp(-200) is 0 in float32
    x, _ = batch()
    return Step(model, log_of_softmax), (x, torch.ones(N, dtype=torch.long)), None


class Distance(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(IN, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x).square().sum(-1).sqrt()


def root_of_zero_backward() -> Case:
    x, y = batch()
    x[3] = 0.0
    return Step(nn.Sequential(Distance()), lambda output, target: output.mean()), (x, y), None


class UnitRows(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(IN, C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        h = self.linear(x)
        return h / h.norm(dim=-1, keepdim=True)


def zero_by_zero() -> Case:
    x, y = batch()
    x[3] = 0.0
    return Step(nn.Sequential(UnitRows(), nn.Linear(C, C)), nn.CrossEntropyLoss()), (x, y), None


def half_precision() -> Case:
    model = net().half()
    with torch.no_grad():
        model[0].weight.fill_(1000.0)
    x = torch.full((N, IN), 100.0, dtype=torch.float16)  # 4 * 1000 * 100 > 65504
    return Step(model, lambda output, target: output.float().tanh().mean()), (x, batch()[1]), None


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(IN, IN)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q = self.query(x)
        scores = (q @ q.transpose(-1, -2)).masked_fill(mask[:, None, :], -math.inf)
        return scores.softmax(-1) @ q


def masked_row() -> Case:
    mask = torch.zeros(N, 5, dtype=torch.bool)
    mask[:, 4] = True
    mask[1] = True
    step = Step(nn.ModuleDict({"attention": Attention()}), None, lambda m, b: m["attention"](b[0], b[1]).square().mean())
    return step, (torch.randn(N, 5, IN), mask), None


def optimizer() -> Case:
    model = net()
    x, y = batch()
    x[:, 0] = 0.0  # no gradient for the first column, and eps = 0: 0 / 0
    return Step(model, nn.CrossEntropyLoss()), (x, y), torch.optim.Adam(model.parameters(), eps=0.0)


def initial_weights() -> Case:
    model = net()
    with torch.no_grad():
        model[2].weight[1, 1] = math.inf
    return Step(model, nn.CrossEntropyLoss()), batch(), None


class OwnBatchNorm(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - x.mean(0)) / x.std(0)


def batch_norm_of_one() -> Case:
    x, y = batch()
    return Step(nn.Sequential(nn.Linear(IN, C), OwnBatchNorm()), nn.CrossEntropyLoss()), (x[:1], y[:1]), None


def angular_loss(output: Tensor, target: Tensor) -> Tensor:
    cosine = F.normalize(output, dim=-1)[:, 0] * 0 + 1.0001
    return torch.acos(cosine).mean()


def custom_loss() -> Case:
    return Step(net(), angular_loss), batch(), None


def mean_of_kept(output: Tensor, target: Tensor) -> Tensor:
    keep = (target > C).float()
    values = F.cross_entropy(output, target, reduction="none")
    return (values * keep).sum() / keep.sum()


def empty_count() -> Case:
    return Step(net(), mean_of_kept), batch(), None


def masked_labels() -> Case:
    model = nn.Sequential(nn.Linear(IN, 1), nn.Flatten(0))
    target = torch.tensor([1.0, math.nan, 0.0, 0.0, math.nan, 0.0])
    return Step(model, lambda o, t: losskit.mse_loss(o, t, mask=~t.isnan())), (batch()[0], target), None


def masked_attention() -> Case:
    step, (x, mask), _ = masked_row()
    mask = mask.clone()
    mask[1] = False
    return step, (x, mask), None


def hidden_logarithm() -> Case:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return output.mean() + torch.where(target > C, torch.log(torch.zeros(N)), 0.0).sum()

    return Step(net(), loss), batch(), None


def plain() -> Case:
    model = net()
    return Step(model, nn.CrossEntropyLoss()), batch(), torch.optim.AdamW(model.parameters())
