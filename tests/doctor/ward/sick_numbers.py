"""D3xx: numbers that are not finite, too large, too small, or lost in rounding."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.report import Report

from .cases import Batch, after, before, during, json_lines, mlp, rounded, sick, stream, task

CE = nn.CrossEntropyLoss()


def _batch(size: int = 64) -> Batch:
    x, y = task()
    return x[:size], y[:size]


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


@sick("D301")
def missing_value_in_a_feature() -> Report:
    x, y = _batch()
    x[11, 3] = math.nan
    model = mlp()
    return before(model, (x, y), CE, _adam(model))


@sick("D301")
def missing_value_in_the_target() -> Report:
    x = torch.randn(64, 8)
    y = x[:, :1] * 2
    y[5] = math.nan
    model = mlp(8, 1)
    return before(model, (x, y), nn.MSELoss(), _adam(model))


@sick("D301")
def bad_batch_in_the_middle_of_a_run() -> Report:
    model, batches = mlp(), list(stream(task(), 120))
    batches[70][0][9, 2] = math.inf
    return during(model, batches, CE, _adam(model))


@sick("D303")
def log_of_a_probability_that_is_zero() -> Report:
    x, y = _batch()
    model = mlp()
    with torch.no_grad():
        model[2].weight.mul_(500)

    def loss(out: Tensor, target: Tensor) -> Tensor:
        p = torch.softmax(out, 1)
        return -(F.one_hot(target, 10) * torch.log(p)).sum(1).mean()

    return before(model, (x, y), loss, _adam(model))


@sick("D303", "D301")
def mean_over_an_empty_mask() -> Report:
    x = torch.randn(64, 8)
    model = mlp(8, 1)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        valid = y[:, 0] > 100  # nothing is
        return ((out - y)[valid] ** 2).sum() / valid.sum()

    return before(model, (x, x[:, :1]), loss, _adam(model))


@sick("D304")
def distance_of_a_point_to_itself() -> Report:
    x = torch.randn(32, 8)
    model = mlp(8, 16)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        distances = ((out[:, None] - out[None]) ** 2).sum(-1).sqrt()
        return (distances - y).abs().mean()

    return before(model, (x, torch.cdist(x, x)), loss, _adam(model))


@sick("D304")
def where_does_not_stop_a_gradient() -> Report:
    x = torch.rand(64, 8) + 0.1
    model = mlp(8, 1)

    def loss(out: Tensor, y: Tensor) -> Tensor:
        return (torch.where(out > 0, out.sqrt(), torch.zeros_like(out)) - y).pow(2).mean()

    return before(model, (x, x[:, :1].sqrt()), loss, _adam(model))


@sick("D305")
def half_precision_overflow() -> Report:
    x, y = _batch()
    model = mlp().half()
    with torch.no_grad():
        model[0].weight.mul_(2000)
        model[2].weight.mul_(200)
    return before(model, (x.half(), y), CE, torch.optim.SGD(model.parameters(), lr=0.01))


@sick("D306")
def adam_with_half_weights() -> Report:
    x, y = _batch()
    model = mlp().half()
    return before(model, (x.half(), y), CE, _adam(model))


@sick("D307")
def bfloat16_weights_and_a_small_rate() -> Report:
    x, y = _batch()
    model = mlp().bfloat16()
    return before(model, (x.bfloat16(), y), CE, torch.optim.SGD(model.parameters(), lr=1e-4))


@sick("D307", "D205")
def bfloat16_weights_do_not_move_live() -> Report:
    x, y = task()
    model = mlp().bfloat16()
    return during(model, stream((x.bfloat16(), y), 200), CE, _adam(model, 1e-6))


@sick("D308")
def a_row_of_attention_with_nothing_to_see() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.head = nn.Embedding(30, 16, padding_idx=0), nn.Linear(16, 2)

        def forward(self, ids: Tensor) -> Tensor:
            h = self.embed(ids)
            scores = h @ h.transpose(1, 2) / 4
            scores = scores.masked_fill((ids == 0)[:, None, :], -math.inf)
            return self.head((scores.softmax(-1) @ h).mean(1))

    ids = torch.randint(1, 30, (16, 7))
    ids[3] = 0  # an empty text
    model = Net()
    return before(model, (ids, torch.randint(0, 2, (16,))), CE, _adam(model))


@sick("D309", "D501", "D503")
def recurrent_network_without_clipping() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.RNN(4, 32, nonlinearity="relu", batch_first=True), nn.Linear(32, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.cell(x)[0][:, -1])

    x = torch.randn(512, 30, 4)
    y = x[:, :, 0].sum(1, keepdim=True)
    model = Net()
    return during(model, stream((x, y), 300, 32), nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.02))


@sick("D310", "D312")
def sixteen_sigmoid_layers() -> Report:
    layers = [m for _ in range(16) for m in (nn.Linear(32, 32), nn.Sigmoid())]
    model = nn.Sequential(nn.Linear(20, 32), *layers, nn.Linear(32, 10))
    return before(model, _batch(), CE, torch.optim.SGD(model.parameters(), lr=0.01))


@sick("D311", "D115")
def units_killed_by_inputs_of_a_hundred() -> Report:
    x, y = task()
    x = 10 * x + 100
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs, target in stream((x, y), 3):
        optimizer.zero_grad()
        CE(model(inputs), target).backward()
        optimizer.step()
    return before(model, (x[:256], y[:256]), CE, optimizer)


@sick("D312", also=["D310"])
def tanh_driven_to_its_ends() -> Report:
    x, y = task()
    model = nn.Sequential(nn.Linear(20, 64), nn.Tanh(), nn.Linear(64, 10))
    nn.init.normal_(model[0].weight, std=20.0)
    return before(model, (x[:256], y[:256]), CE, torch.optim.SGD(model.parameters(), lr=0.01))


@sick("D302")
def weights_scaled_by_a_spread_of_zero() -> Report:
    model = mlp()
    with torch.no_grad():
        model[2].bias.zero_()
        model[2].bias.sub_(model[2].bias.mean()).div_(model[2].bias.std())
    return before(model, _batch(), CE, _adam(model))


@sick("D302", "D303", "D304")
def one_adam_step_on_an_infinite_gradient() -> Report:
    model = mlp(20, 10)
    optimizer = _adam(model)
    with torch.no_grad():
        model[0].weight[0, 0] = math.inf  # a checkpoint that was written after the damage
    return during(model, stream(task(), 60), CE, optimizer)


@sick("D301", "D501", also=["D309"])
def log_of_a_run_that_blew_up() -> Report:
    model = mlp(8, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.randn(1024, 8)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, x[:, :1] * 3), 200)):
        if step == 150:
            inputs = inputs * math.nan
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss), "lr": 0.1})
    return after(json_lines(rows), refs={"loss": "mse_loss"})
