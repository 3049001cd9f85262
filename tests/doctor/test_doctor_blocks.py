"""Spies and monitors that end in any order, in any thread, and hold on to nothing."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
import torch
import torch.nn.functional as F
from monitored import batches, codes, network, watched
from torch import nn

import losskit
from losskit.core import watch
from losskit.doctor import Monitor, check
from losskit.doctor.before.spy import Spy


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def nobody_looks() -> bool:
    return not watch._standing and torch._C._len_torch_function_stack() == 0


def test_spies_closed_out_of_order_leave_nothing() -> None:
    x, y = torch.randn(4, 5), torch.arange(4)
    first, second = Spy(), Spy()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    losskit.cross_entropy(x, y)
    F.cross_entropy(x, y)
    second.__exit__(None, None, None)
    assert [c.home for c in second.calls] == ["losskit", "torch"]
    assert first.calls == []
    assert nobody_looks()


def test_monitors_closed_in_the_order_of_their_opening_leave_nothing() -> None:
    model = network()
    clip = torch.nn.utils.clip_grad_norm_, dict(vars(torch.nn.utils.clip_grad))
    one, other = Monitor(model, sinks=()).__enter__(), Monitor(model, sinks=()).__enter__()
    one.close()
    other.close()
    assert nobody_looks()
    assert (torch.nn.utils.clip_grad_norm_, dict(vars(torch.nn.utils.clip_grad))) == clip


def test_a_spy_ends_in_the_middle_of_the_modes_of_others() -> None:
    spy = Spy()
    spy.__enter__()
    with torch.device("cpu"):
        spy.__exit__(None, None, None)
        assert torch._C._len_torch_function_stack() == 1
    assert nobody_looks()


def test_a_thread_hears_its_own_losses_and_clips_alone() -> None:
    problems: list[BaseException] = []
    monitors: list[Monitor] = []

    def work() -> None:
        try:
            model = network()
            optimizer = torch.optim.SGD(model.parameters(), 0.1)
            with Monitor(model, optimizer, sinks=()) as monitor:
                monitors.append(monitor)
                for x, y in given:
                    optimizer.zero_grad()
                    loss = losskit.cross_entropy(model(x), y)
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                    monitor.step(loss)
                    optimizer.step()
        except BaseException as problem:
            problems.append(problem)

    given = batches(60)
    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert [len(monitor._gradients._clips) for monitor in monitors] == [60, 60, 60]
    assert all(any("ln 5" in level.name for level in monitor.run.levels) for monitor in monitors)
    assert nobody_looks()


def test_a_loop_that_never_steps_fills_no_memory() -> None:
    model, alive = network(), []
    with Monitor(model, sinks=()) as monitor:
        for x, y in batches(200):
            loss = F.cross_entropy(model(x), y)
            batch = x.clone()
            monitor.saw(batch)
            alive += [weakref.ref(loss), weakref.ref(batch)]
            del loss, batch, x, y
        gc.collect()
        assert sum(one() is not None for one in alive[::2]) == 0
        assert sum(one() is not None for one in alive[1::2]) == 64
        assert len(monitor._spy._spy.calls) == 32
    gc.collect()
    assert sum(one() is not None for one in alive[1::2]) <= 1  # the newest, of the step that was going on


def test_a_compiled_function_of_the_user_is_not_traced_through_the_spy() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, y: F.cross_entropy(x, y) + losskit.cross_entropy(x, y), backend="eager", fullgraph=True)
    x, y = torch.randn(4, 5), torch.arange(4)
    with Spy() as spy:
        value = compiled(x, y)
    assert len(spy.calls) <= 1  # what this backend calls at run time, and nothing of the compiler's tracing
    torch.testing.assert_close(value, 2 * F.cross_entropy(x, y))
    torch._dynamo.reset()


# ---------------------------------------------------------------------- loops that are not the plain one


@pytest.mark.parametrize("twice", [False, True])
def test_steps_without_a_step_of_the_optimizer_are_no_updates_lost(twice: bool) -> None:
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    with Monitor(model, optimizer, F.cross_entropy, every=1, sinks=()) as monitor:
        for place, (x, y) in enumerate(batches(120)):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            monitor.step(loss, batch=(x, y))
            if twice:
                monitor.step(loss, batch=(x, y))
            if twice or place % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    assert codes(monitor) == []
    later = list(monitor._looks.kept)[1:]
    assert len(later) >= 5
    assert all(p.moved for look in later for p in look.parameters)
    assert monitor.report().cases[0].facts["calls of step() for each step of the optimizer"] == (2 if twice else 4)


def test_minus_a_loss_is_named() -> None:
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), 0.1), lambda z, y: -F.cross_entropy(z, y), batches(60))
    first = next(one for one in monitor.findings if one.severity == "error")
    assert (first.code, first.hit.numbers["slope"]) == ("D220", -1)


@pytest.mark.parametrize(("rate", "code"), [(0.1, None), (10.0, "D503")])
def test_a_loss_held_above_chance_by_long_steps_is_named(rate: float, code: str | None) -> None:
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 5))
    given = [(x, x[:, :5].argmax(1)) for x in torch.randn(400, 64, 10)]
    monitor = watched(model, torch.optim.SGD(model.parameters(), rate), F.cross_entropy, given)
    assert codes(monitor)[:1] == ([] if code is None else [code])


def test_a_model_cut_off_from_its_loss_is_named() -> None:
    model = network()
    monitor = watched(
        model, torch.optim.SGD(model.parameters(), 0.1), lambda z, y: F.cross_entropy(z.detach().requires_grad_(), y), batches(60)
    )
    assert codes(monitor) == ["D202"]


def test_gradients_that_were_cleared_before_the_monitor_looked_are_no_graph_that_is_cut() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer, every=1, sinks=()) as monitor:
        for x, y in batches(60):
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            monitor.step(loss)
    assert codes(monitor) == ["D221"]


def test_weights_in_no_optimizer_are_named_where_others_move() -> None:
    model = network()
    model.extra = nn.Linear(5, 5)
    optimizer = torch.optim.SGD([*model[0].parameters(), *model[3].parameters()], 0.1)
    monitor = watched(model, optimizer, F.cross_entropy, batches(60))
    (found,) = [one for one in monitor.findings if one.severity != "info"]
    assert (found.code, found.hit.where) == ("D203", "extra.weight")
    assert found.hit.numbers["parameters"] == 2


def test_a_count_that_starts_over_is_counted_on_and_said_once() -> None:
    model = network()
    with Monitor(model, sinks=()) as monitor:
        for at in range(5):
            monitor.step(1.0, at=at)
        with pytest.warns(UserWarning, match="went back to 0"):
            monitor.step(1.0, at=0)
        for at in range(1, 5):
            monitor.step(1.0, at=at)
        monitor.evaluated(1.0, step=5)
    series = monitor.run.main("train_loss")
    assert series is not None
    assert series.steps.tolist() == list(range(10))
    assert monitor.run.main("eval_loss").steps.tolist() == [10]


def test_a_policy_gradient_below_zero_may_stand() -> None:
    with Monitor(network(), sinks=()) as monitor:
        for value in (0.1 * torch.randn(600) - 0.05).tolist():
            monitor.step(value)
    assert codes(monitor) == []


def test_a_run_that_ends_in_nan_is_not_called_one_that_did_not_improve() -> None:
    given = [(x, torch.randint(0, 5, y.shape)) for x, y in batches(100, bad=99)]
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), 1e-3), F.cross_entropy, given)
    assert codes(monitor) == ["D301"]


# ---------------------------------------------------------------------- check


def test_a_loss_that_takes_gradients_itself_is_looked_at_from_all_sides() -> None:
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))

    def residual(net: nn.Module, t: torch.Tensor) -> torch.Tensor:
        t = t.detach().requires_grad_()
        u = net(t)
        (slope,) = torch.autograd.grad(u.sum(), t, create_graph=True)
        return (slope + u).square().mean()

    report = check(model, torch.rand(32, 1), step=residual, overfit=False)
    assert not [name for name, why in report.cases[0].left_out if "RuntimeError" in why]
    assert all(p.grad is None for p in model.parameters())


def test_probes_whose_passes_take_longer_than_is_left_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from losskit.doctor.before import phases

    clock, model = [0.0], network()
    monkeypatch.setattr(phases.time, "perf_counter", lambda: clock[0])

    def step(net: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        clock[0] += 1.0
        return F.cross_entropy(net(batch[0]), batch[1])

    report = check(model, batches(1)[0], step=step, budget_s=2.5)
    assert clock[0] <= 2.5
    assert "its 3 passes take about 3.0 s, and 1.5 s of 2.5 s are left" in dict(report.cases[0].left_out)["wiring"]


def test_complex_weights_have_norms_of_both_their_parts() -> None:
    class Waves(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.full((2, 2), 3 + 4j))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (x.to(torch.cfloat) @ self.weight).abs()

    model = Waves()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    monitor = watched(model, optimizer, F.mse_loss, [(torch.ones(3, 2), torch.ones(3, 2))] * 12)
    assert monitor._looks.kept[0].parameters[0].weight_norm == pytest.approx(10.0)  # 4 times |3 + 4i| = 5, squared and added
    check(model, (torch.ones(3, 2), torch.ones(3, 2)), F.mse_loss, optimizer)
