"""D5xx and D6xx: the curve itself is wrong, or training and evaluation part."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.report import Report

from .cases import Batch, after, before, during, json_lines, mlp, rounded, sick, stream, task

CE = nn.CrossEntropyLoss()


def _sgd(model: nn.Module, lr: float, momentum: float = 0.0) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=momentum)


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def _evaluation(model: nn.Module, x: Tensor, y: Tensor) -> Callable[[], float]:
    def value() -> float:
        model.eval()
        with torch.no_grad():
            loss = CE(model(x), y)
        model.train()
        return float(loss)

    return value


@sick("D501", "D503", "D309")
def learning_rate_a_hundred_times_too_high() -> Report:
    model = mlp()
    return during(model, stream(task(), 300), CE, _sgd(model, 5.0, 0.9))


@sick("D501", "D301", "D309")
def log_of_a_regression_that_diverges() -> Report:
    x = torch.randn(2048, 16)
    y = x @ torch.randn(16, 1)
    model = nn.Linear(16, 1)
    optimizer = _sgd(model, 0.02)
    rows = []
    for step, (inputs, target) in enumerate(stream((x, y), 400, 16)):
        optimizer.param_groups[0]["lr"] = 0.02 if step < 200 else 0.9
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss)})
    return after(json_lines(rows), refs={"loss": "mse_loss"})


@sick("D502")
def mislabelled_stretch_of_data() -> Report:
    x, y = task(apart=2.0)
    model = mlp()
    batches = list(stream((x, y), 800))
    for step in range(500, 515):
        batches[step] = (batches[step][0], (batches[step][1] + 3) % 10)
    return during(model, batches, CE, _sgd(model, 0.05))


@sick("D503", "D501")
def steps_jump_over_the_valley() -> Report:
    x = torch.randn(4096, 16) * torch.logspace(0, -1, 16)
    y = x @ torch.randn(16, 1)
    model = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 1))
    return during(model, stream((x, y), 1500), nn.MSELoss(), _sgd(model, 0.6))


@sick("D504", "D505", "D403")
def learning_rate_a_thousand_times_too_low() -> Report:
    model = mlp()
    return during(model, stream(task(), 1200), CE, _sgd(model, 3e-6))


@sick("D505", "D403", "D504")
def log_that_never_falls() -> Report:
    model = mlp()
    optimizer = _sgd(model, 1e-7)
    rows = []
    for step, (inputs, target) in enumerate(stream(task(), 600)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "train/loss": rounded(loss), "train/learning_rate": 1e-7})
    return after(json_lines(rows))


@sick("D506", also=["D601"])
def loss_falls_in_steps_at_the_end_of_epochs() -> Report:
    x = torch.randn(512, 64)
    y = torch.randint(10, (512,))
    model = mlp(64, 10, 512)
    optimizer = _adam(model, 2e-3)
    rows = []
    step = 0
    for epoch in range(6):
        for rows_of_batch in torch.randperm(512).split(4):
            optimizer.zero_grad()
            loss = CE(model(x[rows_of_batch]), y[rows_of_batch])
            loss.backward()
            optimizer.step()
            step += 1
            rows.append({"step": step, "loss": rounded(loss), "epoch": epoch})
    return after(json_lines(rows), refs={"num_classes": 10})


@sick("D507")
def resumed_without_the_last_half_of_the_weights() -> Report:
    model = mlp()
    early = copy.deepcopy(model.state_dict())
    optimizer = _adam(model, 3e-4)
    rows = []
    for step, (inputs, target) in enumerate(stream(task(), 1600)):
        if step == 1000:  # the checkpoint that was loaded had its first layer under another name
            model[0].load_state_dict({k[2:]: v for k, v in early.items() if k[0] == "0"})
            optimizer = _sgd(model, 1e-3)
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "loss": rounded(loss)})
    return after(json_lines(rows), refs={"num_classes": 10})


@sick("D601")
def two_hundred_samples_learned_by_heart() -> Report:
    x, y = task(4096, apart=0.5)
    model = mlp(hidden=256)
    few: Batch = (x[:200], y[:200])
    return during(model, stream(few, 2000), CE, _adam(model), evaluate=_evaluation(model, x[2000:], y[2000:]))


@sick("D601")
def log_of_an_overfitted_model() -> Report:
    x, y = task(4096, apart=0.5)
    model = mlp(hidden=256)
    optimizer, evaluate = _adam(model), _evaluation(model, x[2000:], y[2000:])
    lines = ["step,train_loss,val_loss"]
    for step, (inputs, target) in enumerate(stream((x[:200], y[:200]), 2000)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        if step % 10 == 0:
            lines.append(f"{step},{rounded(loss)},{rounded(evaluate()) if step % 100 == 0 else ''}")
    return after("\n".join(lines) + "\n", "metrics.csv", refs={"num_classes": 10})


@sick("D602")
def evaluated_without_the_dropout_of_training() -> Report:
    x, y = task(apart=1.5)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Dropout(0.8), nn.Linear(64, 10))
    return during(model, stream((x[:3000], y[:3000]), 1200), CE, _adam(model), evaluate=_evaluation(model, x[3000:], y[3000:]))


@sick("D603")
def batch_norm_that_hardly_remembers() -> Report:
    x, y = task()
    x = 4 * x + 30
    model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64, momentum=1e-4), nn.ReLU(), nn.Linear(64, 10))
    optimizer = _adam(model, 3e-3)
    for inputs, target in stream((x, y), 300):
        optimizer.zero_grad()
        CE(model(inputs), target).backward()
        optimizer.step()
    return before(model, (x[:256], y[:256]), CE, optimizer, from_scratch=False)


@sick("D604")
def classes_of_the_validation_set_in_another_order() -> Report:
    x, y = task(apart=2.0)
    model = mlp()
    other = torch.roll(torch.arange(10), 4)[y]
    return during(
        model,
        stream((x[:3000], y[:3000]), 1200),
        CE,
        _adam(model),
        evaluate=_evaluation(model, x[3000:], other[3000:]),
        facts={"num_classes": 10},
    )


@sick("D604")
def log_of_classes_in_another_order() -> Report:
    x, y = task(apart=2.0)
    model = mlp()
    optimizer, evaluate = _adam(model), _evaluation(model, x[3000:], torch.roll(torch.arange(10), 4)[y[3000:]])
    rows: list[dict[str, float]] = []
    for step, (inputs, target) in enumerate(stream((x[:3000], y[:3000]), 1000)):
        optimizer.zero_grad()
        loss = CE(model(inputs), target)
        loss.backward()
        optimizer.step()
        rows.append({"step": step, "train/loss": rounded(loss)})
        if step % 100 == 99:
            rows.append({"step": step, "eval/loss": rounded(evaluate())})
    return after(json_lines(rows), refs={"num_classes": 10})


@sick("D606", "D403", also=["D117"])
def one_in_a_hundred_and_nothing_learned() -> Report:
    x = torch.randn(20_000, 20)
    y = (torch.rand(20_000) < 0.02).long()
    model = mlp(20, 2)
    return during(model, stream((x, y), 600), CE, _sgd(model, 0.1))
