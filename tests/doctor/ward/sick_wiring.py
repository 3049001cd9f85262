"""D2xx: gradients, optimizer and model are not what they are taken for."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor import Monitor
from losskit.doctor.report import Report

from .cases import Batch, before, during, mlp, sick, stream, task

CE = nn.CrossEntropyLoss()


def _batch() -> Batch:
    x, y = task()
    return x[:64], y[:64]


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


@sick("D201", "D202")
def loss_made_of_a_number() -> Report:
    model = mlp()
    return before(model, _batch(), lambda out, y: torch.tensor(CE(out, y).item(), requires_grad=True), _adam(model))


@sick("D201")
def output_taken_out_of_the_graph() -> Report:
    model = mlp()
    return before(model, _batch(), lambda out, y: CE(out.detach(), y), _adam(model))


@sick("D202", "D201")
def encoder_under_no_grad() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.head = nn.Linear(20, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                features = self.encoder(x).relu()
            return self.head(features)

    model = Net()
    return before(model, _batch(), CE, _adam(model))


@sick("D203", "D204")
def head_replaced_after_the_optimizer_was_made() -> Report:
    model = mlp(20, 1000)
    optimizer = _adam(model)
    model[2] = nn.Linear(64, 10)
    return before(model, _batch(), CE, optimizer)


@sick("D203")
def proxies_of_the_criterion_are_in_no_optimizer() -> Report:
    class Proxies(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(10, 32))

        def forward(self, out: Tensor, y: Tensor) -> Tensor:
            return F.cross_entropy(16 * F.normalize(out, dim=1) @ F.normalize(self.weight, dim=1).T, y)

    model = mlp(20, 32)
    return before(model, _batch(), Proxies(), _adam(model))


@sick("D204", "D203")
def optimizer_of_a_copy() -> Report:
    model = mlp()
    optimizer = _adam(copy.deepcopy(model))
    return before(model, _batch(), CE, optimizer)


@sick("D206")
def zero_grad_forgotten_in_the_step() -> Report:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step(model: nn.Module, batch: Batch) -> Tensor:
        loss = CE(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step()
        return loss

    return before(model, _batch(), None, optimizer, step=step)


def _loop(model: nn.Module, optimizer: torch.optim.Optimizer, order: str, steps: int = 150, **options: Any) -> Report:
    with Monitor(model, optimizer, CE, sinks=(), **options) as monitor:
        for x, y in stream(task(), steps):
            loss = CE(model(x), y)
            loss.backward()
            if order == "cleared too early":
                optimizer.zero_grad()
            monitor.step(loss, batch=(x, y))
            optimizer.step()
    return monitor.report()


@sick("D206")
def zero_grad_forgotten_in_the_loop() -> Report:
    model = mlp()
    return _loop(model, torch.optim.SGD(model.parameters(), lr=0.01), "never cleared")


@sick("D207")
def zero_grad_between_backward_and_step() -> Report:
    model = mlp()
    return _loop(model, torch.optim.SGD(model.parameters(), lr=0.1), "cleared too early")


@sick("D208")
def left_in_eval_mode_by_the_validation() -> Report:
    model = nn.Sequential(nn.Linear(20, 64), nn.BatchNorm1d(64), nn.ReLU(), nn.Dropout(0.3), nn.Linear(64, 10))
    model.eval()
    return during(model, stream(task(), 150), CE, _adam(model))


@sick("D209")
def layer_norm_of_one_number() -> Report:
    x = torch.randn(64, 8)
    model = mlp(8, 1, 64, nn.LayerNorm(1))
    return before(model, (x, x[:, :1] * 2), nn.MSELoss(), _adam(model))


@sick("D210")
def reshape_in_place_of_transpose() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Linear(5, 32), nn.Linear(32, 4)

        def forward(self, x: Tensor) -> Tensor:
            x = x.reshape(x.shape[1], x.shape[0], -1)  # meant: transpose(0, 1), to (T, N, F)
            return self.head(self.body(x).relu().mean(0))

    x = torch.randn(32, 6, 5)
    model = Net()
    return before(model, (x, (x[:, :, 0].mean(1) > 0).long()), CE, _adam(model))


@sick("D212", also=["D213"])
def clipped_before_unscaled() -> Report:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**16)
    with Monitor(model, optimizer, CE, sinks=(), scaler=scaler) as monitor:
        for x, y in stream(task(), 200):
            optimizer.zero_grad()
            loss = CE(model(x), y)
            scaler.scale(loss).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            monitor.step(loss, batch=(x, y))
            scaler.step(optimizer)
            scaler.update()
    return monitor.report()


@sick("D213", "D504")
def gradients_clipped_to_almost_nothing() -> Report:
    model = mlp()

    def clip() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-4)

    return during(model, stream(task(), 300), CE, torch.optim.SGD(model.parameters(), lr=0.01), after_backward=clip)


@sick("D214")
def schedule_of_epochs_stepped_every_batch() -> Report:
    model = mlp()
    return during(
        model,
        stream(task(), 600),
        CE,
        torch.optim.SGD(model.parameters(), lr=0.1),
        schedule=lambda step: 0.1 * max(0.0, 1 - step / 60),
        facts={"max_steps": 600},
    )


@sick("D215", also=["D401"])
def four_losses_added_and_never_divided() -> Report:
    model = mlp()
    return before(model, _batch(), lambda out, y: sum(CE(out, y) for _ in range(4)), _adam(model), from_scratch=True)


@sick("D217")
def labels_shuffled_anew_each_time() -> Report:
    model = mlp()
    return before(model, _batch(), lambda out, y: CE(out, y[torch.randperm(len(y))]), _adam(model))


@sick("D218", "D504")
def learning_rate_of_one_in_a_billion() -> Report:
    model = mlp()
    return before(model, _batch(), CE, torch.optim.SGD(model.parameters(), lr=1e-9))


@sick("D218", "D503")
def learning_rate_of_ten() -> Report:
    model = mlp()
    return before(model, _batch(), CE, torch.optim.SGD(model.parameters(), lr=10.0))


@sick("D220")
def loss_with_the_wrong_sign() -> Report:
    model = mlp()
    return before(model, _batch(), lambda out, y: -CE(out, y), _adam(model))


@sick("D220")
def maximized() -> Report:
    model = mlp()
    return during(model, stream(task(), 150), CE, torch.optim.SGD(model.parameters(), lr=0.1, maximize=True))
