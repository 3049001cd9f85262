"""D221: monitor.step() after optimizer.step() is noticed, and every right order is silent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, FEATURES, batches, network
from torch import Tensor, nn

from losskit.doctor import Finding, Monitor

STEPS = 12


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def run(
    order: str, *, model: nn.Module | None = None, none: bool = True, heard: list[Finding] | None = None, **options: Any
) -> Monitor:
    """A loop whose calls come in the given order: zero_grad, backward, step of the optimizer, monitor."""
    model = network() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    sinks = () if heard is None else (heard.append,)
    with Monitor(model, optimizer, F.cross_entropy, sinks=sinks, every=1, **options) as monitor:
        for batch in batches(STEPS):
            loss = F.cross_entropy(model(batch[0]), batch[1])
            calls: dict[str, Callable[[], Any]] = {
                "zero": lambda: optimizer.zero_grad(set_to_none=none),
                "backward": loss.backward,
                "step": optimizer.step,
                "monitor": lambda loss=loss, batch=batch: monitor.step(loss, batch=batch),
                "clip": lambda: nn.utils.clip_grad_norm_(model.parameters(), 1.0),
            }
            for call in order.split():
                calls[call]()
    assert not monitor.report().cases[0].faults
    return monitor


def late(monitor: Monitor) -> list[Finding]:
    return [one for top in monitor.findings for one in (top, *top.consequences) if one.code == "D221"]


@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize("order", ["zero backward step monitor", "backward step zero monitor", "backward clip step monitor zero"])
def test_a_monitor_after_the_step_is_told_once_and_early_with_the_right_order(order: str, none: bool) -> None:
    heard: list[Finding] = []
    monitor = run(order, none=none, heard=heard)
    (found,) = late(monitor)
    told = [one for one in heard if one.code == "D221"]
    assert len(told) == 1
    assert told[0].hit.numbers == {"late": 2, "looked": 2}, "it is told at the second late call"
    assert found.severity == "warning"
    calls = ("loss.backward()", "monitor.step(", "optimizer.step()")
    places = [str(found).rpartition("fix:")[2].index(one) for one in calls]
    assert places == sorted(places)
    assert ("cleared" in found.hit.said) is (order == "backward step zero monitor")


@pytest.mark.parametrize("none", [True, False])
@pytest.mark.parametrize(
    "order",
    [
        "zero backward monitor step",
        "backward monitor step zero",
        "zero backward clip monitor step",
        "zero backward monitor clip step",
        "backward monitor step",
        "backward zero monitor step",
    ],
)
def test_a_monitor_before_the_step_is_silent_whatever_else_is_wrong(order: str, none: bool) -> None:
    assert late(run(order, none=none)) == []


class Chosen(nn.Module):
    """Uses one of its two heads at a time: the other one has no gradient, or an old one."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList([nn.Linear(FEATURES, CLASSES), nn.Linear(FEATURES, CLASSES)])
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.heads[self.calls % 2](x)


@pytest.mark.parametrize("none", [True, False])
def test_a_model_of_which_a_part_is_used_at_a_time_is_judged_by_all_of_it(none: bool) -> None:
    assert late(run("zero backward monitor step", model=Chosen(), none=none, looks=False)) == []
    assert late(run("backward monitor step", model=Chosen(), looks=False)) == []
    assert len(late(run("zero backward step monitor", model=Chosen(), none=none, looks=False))) == 1


def test_accumulated_batches_and_a_monitor_without_a_block_are_silent() -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters())
    monitor = Monitor(model, optimizer, F.cross_entropy, sinks=(), every=1, accumulate=4)
    for i, batch in enumerate(batches(4 * STEPS)):
        loss = F.cross_entropy(model(batch[0]), batch[1])
        (loss / 4).backward()
        monitor.step(loss, batch=batch)
        if i % 4 == 3:
            optimizer.step()
            optimizer.zero_grad()
    monitor.close()
    assert late(monitor) == []


def test_an_optimizer_with_a_closure_is_silent_inside_and_after_it() -> None:
    for inside in (True, False):
        model = network()
        optimizer = torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=1)
        with Monitor(model, optimizer, F.cross_entropy, sinks=(), every=1, looks=False) as monitor:
            for batch in batches(STEPS):

                def closure(batch: Any = batch, at: Monitor = monitor, inside: bool = inside, model: nn.Module = model) -> Tensor:
                    model.zero_grad()
                    loss = F.cross_entropy(model(batch[0]), batch[1])
                    loss.backward()
                    if inside:
                        at.step(loss, batch=batch)
                    return loss

                loss = optimizer.step(closure)
                if not inside:
                    monitor.step(loss, batch=batch)
        assert late(monitor) == [], inside


@pytest.mark.parametrize("every", [1, 2])
def test_an_optimizer_that_is_fused_into_the_backward_pass_is_silent(every: int) -> None:
    model = nn.Linear(FEATURES, CLASSES)
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    ready = []

    def stepped(p: Tensor) -> None:
        ready.append(p)
        if len(ready) % every == 0:
            optimizer.step()
            optimizer.zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(stepped)
    with Monitor(model, optimizer, F.cross_entropy, sinks=(), every=1, looks=False) as monitor:
        for batch in batches(STEPS):
            loss = F.cross_entropy(model(batch[0]), batch[1])
            loss.backward()
            monitor.step(loss, batch=batch)
    assert len(ready) == 2 * STEPS
    assert late(monitor) == []


def test_an_optimizer_of_a_small_part_of_the_model_is_no_order_of_the_whole() -> None:
    model = nn.ModuleList([network(), nn.Linear(FEATURES, 1), nn.Linear(FEATURES, 1), nn.Linear(FEATURES, 1)])
    optimizer = torch.optim.SGD(model[1].parameters(), 0.05)
    with Monitor(model, optimizer, F.mse_loss, sinks=(), every=1, looks=False) as monitor:
        for x, _ in batches(STEPS):
            optimizer.zero_grad()
            loss = model[1](x).square().mean()
            loss.backward()
            optimizer.step()
            monitor.step(loss, batch=(x, x))
    assert late(monitor) == []


def test_one_batch_without_a_backward_pass_is_no_order() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    with Monitor(model, optimizer, F.cross_entropy, sinks=(), every=1) as monitor:
        for i, batch in enumerate(batches(STEPS)):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            if i != 3:
                loss.backward()
            monitor.step(loss, batch=batch)
            if i != 3:
                optimizer.step()
    assert monitor._gradients.order.late == 1
    assert late(monitor) == []


def test_no_gradient_is_kept_in_memory_for_it() -> None:
    import gc
    import weakref

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    (x, y), *_ = batches(1)
    with Monitor(model, optimizer, F.cross_entropy, sinks=(), every=1, looks=False) as monitor:
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        monitor.step(loss, batch=(x, y))
        optimizer.step()
        grad = weakref.ref(model[0].weight.grad)
        optimizer.zero_grad()
        gc.collect()
        assert grad() is None
