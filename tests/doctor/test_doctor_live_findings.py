"""Findings that only a live run can have."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, FEATURES, Batch, batches, codes, data, network, watched
from torch import Tensor, nn

import losskit
from losskit.doctor import Monitor
from losskit.doctor.evidence import Evidence
from losskit.doctor.examine import examine


@pytest.fixture(autouse=True)
def _seed(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    monkeypatch.setattr("losskit.doctor.during.looks.FREE", math.inf)  # a busy machine would have fewer looks


# ---------------------------------------------------------------------- findings of a live run


def test_an_optimizer_of_a_copy_moves_nothing() -> None:
    model = network()
    optimizer = torch.optim.SGD(copy.deepcopy(model).parameters(), 0.1)
    monitor = Monitor(model, optimizer, F.cross_entropy, every=1, sinks=())
    with monitor:
        for x, y in batches(60):
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            monitor.step(loss, batch=(x, y))
            optimizer.step()
    (first,) = (one for one in monitor.findings if one.severity != "info")
    assert (first.code, first.hit.numbers["held"], first.hit.numbers["of"]) == ("D204", 0, 4)
    hit = next(one.hit for one in first.consequences if one.code == "D205")
    assert hit.numbers["parameters"] == hit.numbers["of"] == 4
    assert hit.numbers["share of elements"] == 1.0


def test_a_second_optimizer_may_move_what_the_first_does_not_hold() -> None:
    model = network()
    first, second = torch.optim.SGD(model[0].parameters(), 0.1), torch.optim.SGD(model[3].parameters(), 0.1)
    monitor = Monitor(model, first, F.cross_entropy, every=1, sinks=())
    with monitor:
        for x, y in batches(60):
            model.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            monitor.step(loss, batch=(x, y))
            first.step()
            second.step()
    assert codes(monitor) == []


def test_a_bias_before_a_batch_norm_has_a_gradient_of_rounding_and_may_stand() -> None:
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Unflatten(1, (1, FEATURES)), nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(80, CLASSES)
    )  # fmt: skip
    monitor = watched(model, torch.optim.SGD(model.parameters(), 0.01), F.cross_entropy, batches(60))
    bias = next(p for p in monitor._looks.kept[-1].parameters if p.name == "1.bias")
    assert 0 < bias.grad_norm < 1e-6
    assert codes(monitor) == []


@pytest.mark.parametrize(("rate", "code"), [(0.05, None), (1.0, "D503"), (1e-8, "D504")])
def test_the_learning_rate_is_told_by_the_same_batch_before_and_after_the_step(rate: float, code: str | None) -> None:
    model = nn.Linear(FEATURES, 1).double()  # a step of 1e-8 shows in float64 alone
    optimizer = torch.optim.SGD(model.parameters(), rate)
    weights = torch.randn(FEATURES, dtype=torch.float64)

    def loss_fn(output: Tensor, target: Tensor) -> Tensor:
        return F.mse_loss(output[:, 0], target)

    with Monitor(model, optimizer, loss_fn, every=1, sinks=()) as monitor:
        for _ in range(300):
            x = torch.randn(32, FEATURES, dtype=torch.float64)
            y = x @ weights + 0.1 * torch.randn(32, dtype=torch.float64)
            optimizer.zero_grad()
            loss = loss_fn(model(x), y)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            monitor.step(loss, batch=(x, y))
            optimizer.step()
    found = [c.code for one in monitor.findings for c in (one, *one.consequences)]
    assert ("D503" in found, "D504" in found) == (code == "D503", code == "D504")
    assert code is not None or codes(monitor) == []


@pytest.mark.parametrize(("rate", "sick"), [(1e-3, True), (0.3, False)])
def test_a_log_whose_loss_leaves_chance_along_a_straight_line_is_too_slow(rate: float, sick: bool) -> None:
    model = nn.Linear(FEATURES, CLASSES)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    x, y = data(512)
    monitor = watched(model, torch.optim.SGD(model.parameters(), rate), F.cross_entropy, [(x, y)] * 300, looks=False)
    found, faults = examine(Evidence("after", run=monitor.run), codes={"D504"})
    assert not faults
    assert [one.code for one in found] == (["D504"] if sick else [])
    if sick:
        assert found[0].hit.numbers["chance"] == pytest.approx(math.log(CLASSES))


def test_a_clip_that_leaves_nothing_is_told_for_sgd_and_noted_for_adam() -> None:
    severities = []
    for optimizer_class in (torch.optim.SGD, torch.optim.Adam):
        model = network()
        optimizer = optimizer_class(model.parameters(), 1e-9 if optimizer_class is torch.optim.Adam else 0.1)
        with Monitor(model, optimizer, F.cross_entropy, every=1, sinks=()) as monitor:
            for x, y in batches(120):
                optimizer.zero_grad()
                loss = F.cross_entropy(model(x), y)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-5)
                monitor.step(loss, batch=(x, y))
                optimizer.step()
        every = [c for one in monitor.findings for c in (one, *one.consequences)]
        severities.append([one.hit.severity or one.rule.severity for one in every if one.code == "D213"])
    assert severities == [["warning"], ["info"]]


def test_small_batches_of_noisy_labels_are_limited_by_noise_and_large_ones_are_not() -> None:
    found = []
    for size in (2, 512):
        torch.manual_seed(0)
        model = nn.Linear(FEATURES, CLASSES)
        given = [(x, y) for x, y in batches(300, size)]
        if size == 2:
            given = [(x, torch.randint(0, CLASSES, y.shape)) for x, y in given]
        monitor = watched(model, torch.optim.SGD(model.parameters(), 1e-3), F.cross_entropy, given)
        found.append([one.code for one in monitor.findings if one.code == "D508"])
    assert found == [["D508"], []]


def test_embeddings_that_fall_into_one_point_are_told() -> None:
    found = []
    for sick in (True, False):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(FEATURES, 32), nn.Tanh(), nn.Linear(32, 8, bias=True))
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        x = torch.randn(256, FEATURES)

        def step(model: nn.Module, batch: Batch, sick: bool = sick) -> Tensor:
            first, second = model(batch[0]), model(batch[1])
            if sick:  # every pair is a positive one
                return F.cosine_embedding_loss(first, second[torch.arange(len(second)) - 1], torch.ones(len(first)))
            return losskit.multiple_negatives_ranking_loss(first, second)

        with Monitor(model, optimizer, step=step, every=1, sinks=()) as monitor:
            for _ in range(150):
                rows = x[torch.randint(0, 256, (32,))]
                batch = rows, rows + 0.05 * torch.randn_like(rows)
                optimizer.zero_grad()
                loss = step(model, batch)
                loss.backward()
                monitor.step(loss, batch=batch)
                optimizer.step()
        found.append([one.code for one in monitor.findings if one.code.startswith("D7")])
        last = monitor._looks.kept[-1].embeddings
        assert [name for name, _, _ in last] == (["input1", "input2"] if sick else ["query", "key"])
    assert found == [["D701"], []]


@pytest.mark.parametrize("clamped", [True, False])
def test_a_temperature_at_its_clamp_is_told(clamped: bool) -> None:
    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = nn.Linear(FEATURES, 8)
            self.logit_scale = nn.Parameter(torch.tensor(4.6))

        def forward(self, x: Tensor) -> Tensor:
            return F.normalize(self.encoder(x), dim=1)

    model = Tower()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)

    def step(model: Any, batch: Batch) -> Tensor:
        scores = model.logit_scale.exp() * model(batch[0]) @ model(batch[0]).T
        return F.cross_entropy(scores, torch.arange(len(scores)))

    with Monitor(model, optimizer, step=step, every=1, sinks=(), facts={"max_steps": 1000}) as monitor:
        for batch in batches(60):
            optimizer.zero_grad()
            loss = step(model, batch)
            loss.backward()
            monitor.step(loss, batch=batch)
            optimizer.step()
            if clamped:
                model.logit_scale.data.clamp_(max=4.6)
    found = [one for one in monitor.findings if one.code == "D705"]
    assert [round(one.hit.numbers["value"], 4) for one in found] == ([4.6] if clamped else [])
