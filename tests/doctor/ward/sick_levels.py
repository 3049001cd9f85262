"""D4xx: the loss stands where it says something, or where it cannot be."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.report import Report

from .cases import after, before, during, json_lines, mlp, rounded, sick, stream, task

CE = nn.CrossEntropyLoss()


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


@sick("D401")
def last_layer_drawn_too_large() -> Report:
    x, y = task()
    model = mlp()
    nn.init.normal_(model[2].weight, std=3.0)
    return before(model, (x[:64], y[:64]), CE, _adam(model), from_scratch=True)


@sick("D401")
def embeddings_drawn_with_spread_one_and_tied() -> Report:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(500, 128)

        def forward(self, ids: Tensor) -> Tensor:
            return (F.linear(self.embed(ids).cumsum(1), self.embed.weight)).transpose(1, 2)

    ids = torch.randint(0, 500, (8, 33))
    model = Tied()
    return before(model, (ids[:, :-1], ids[:, 1:]), CE, _adam(model), from_scratch=True, overfit=False)


@sick("D402")
def label_is_part_of_what_the_model_returns() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(30, 10)

        def forward(self, x: Tensor) -> Tensor:
            return 0.1 * self.body(x) + 8 * x[:, 20:]  # the last ten columns are the one-hot label

    x, y = task()
    model = Net()
    x = torch.cat([x, F.one_hot(y, 10)], 1)
    return before(model, (x[:64], y[:64]), CE, _adam(model), from_scratch=True)


@sick("D403")
def labels_shuffled_against_the_inputs() -> Report:
    x, y = task(20_000)
    y = y[torch.randperm(len(y))]
    model = mlp()
    return during(model, stream((x, y), 400), CE, torch.optim.SGD(model.parameters(), lr=0.05))


@sick("D403")
def log_at_chance_of_ten_classes() -> Report:
    x, y = task(20_000)
    y = y[torch.randperm(len(y))]
    model = mlp()
    optimizer = _adam(model)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, y), 500)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append(f"{step},{rounded(loss)},0.001")
    return after("step,train_loss,lr\n" + "\n".join(rows) + "\n", "metrics.csv", refs={"num_classes": 10})


@sick("D403", "D505")
def regression_on_unrelated_inputs() -> Report:
    x, y = torch.randn(20_000, 8), 3 * torch.randn(20_000, 1)
    model = mlp(8, 1)
    return during(model, stream((x, y), 400), nn.MSELoss(), torch.optim.SGD(model.parameters(), lr=0.01))


@sick("D404")
def smoothed_labels_learned_to_their_floor() -> Report:
    x, y = task(apart=4.0)
    model = mlp(hidden=128)
    return during(model, stream((x, y), 800), nn.CrossEntropyLoss(label_smoothing=0.1), _adam(model, 3e-3))


@sick("D104", "D405", "D102")
def targets_of_minus_one_and_one() -> Report:
    x, y = task(classes=2, apart=2.0)
    model = mlp(20, 1)
    return during(model, stream((x, 2.0 * y[:, None] - 1), 200), nn.BCEWithLogitsLoss(), _adam(model, 1e-2))


@sick("D405")
def log_of_a_cross_entropy_below_zero() -> Report:
    x, y = task(classes=2, apart=2.0)
    model = mlp(20, 1)
    optimizer = _adam(model, 1e-2)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, 2.0 * y[:, None] - 1), 300)):
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss)})
    return after(json_lines(rows), refs={"loss": "binary_cross_entropy_with_logits"})


@sick("D405", "D110", also=["D505"])
def log_of_a_loss_that_is_nothing() -> Report:
    x, y = task(classes=2)
    model = mlp(20, 1)
    optimizer = _adam(model)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, y * 0), 200)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss)})
    return after(json_lines(rows), refs={"loss": "cross_entropy"})


@sick("D403", "D101", also=["D505"])
def log_of_a_softmax_too_many() -> Report:
    x, y = task(apart=4.0)
    model = mlp(20, 10, 64, nn.Softmax(dim=1))
    optimizer = _adam(model, 3e-3)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, y), 1000)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss), "plateau": math.log(math.e + 9) - 1})
    return after(json_lines({"step": r["step"], "loss": r["loss"]} for r in rows), refs={"num_classes": 10})
