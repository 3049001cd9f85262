"""The monitor of a live run: what it hears, and that it changes nothing."""

from __future__ import annotations

import copy
import gc
import math

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, FEATURES, batches, codes, data, network, train, watched
from torch import nn

import losskit
from losskit.doctor import Finding, Monitor


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------- it changes nothing, and is silent


def test_a_healthy_run_hears_nothing_and_has_the_same_weights_to_the_last_bit(capsys: pytest.CaptureFixture[str]) -> None:
    start, given = network(), batches(150)
    weights = []
    for monitored in (False, True):
        torch.manual_seed(1)  # dropout
        model = copy.deepcopy(start)
        optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
        if monitored:
            monitor = watched(model, optimizer, F.cross_entropy, given, sinks=("terminal",))
            assert codes(monitor) == []
            assert len(monitor.run.main("train_loss") or ()) == 150
            assert not optimizer._optimizer_step_pre_hooks
        else:
            train(model, optimizer, F.cross_entropy, given)
        weights.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
    assert capsys.readouterr().err == ""


def test_everything_is_taken_away_again() -> None:
    gc.collect()  # what other tests have left open
    model, clipping = network(), torch.nn.utils.clip_grad
    before = dict(vars(clipping))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = Monitor(model, optimizer, F.cross_entropy, sinks=())

    def loop() -> None:
        with monitor:
            assert vars(clipping) != before
            raise KeyError("the user's own")

    with pytest.raises(KeyError, match="the user's own"):
        loop()
    assert vars(clipping) == before
    assert torch.overrides._get_current_function_mode() is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert not optimizer._optimizer_step_post_hooks


def test_batch_norm_moments_are_those_of_the_run_alone() -> None:
    start = nn.Sequential(nn.Linear(FEATURES, 8), nn.BatchNorm1d(8), nn.Linear(8, CLASSES))
    given, moments = batches(40), []
    for monitored in (False, True):
        model = copy.deepcopy(start)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        if monitored:
            watched(model, optimizer, F.cross_entropy, given)
        else:
            train(model, optimizer, F.cross_entropy, given)
        moments.append(model[1].running_mean)
    assert torch.equal(*moments)


def test_a_compiled_model_is_not_compiled_anew() -> None:
    from torch._dynamo.utils import counters

    torch._dynamo.reset()
    counters.clear()
    model = torch.compile(network(), backend="eager")
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = watched(model, optimizer, F.cross_entropy, batches(45))
    assert counters["stats"]["unique_graphs"] == 1
    assert len(monitor._looks.kept) == 5  # steps 0, 10, 20, 30, 40
    assert any("ln 5" in level.name for level in monitor.run.levels)
    torch._dynamo.reset()


# ---------------------------------------------------------------------- it says what it sees, once


def test_a_softmax_too_many_is_told_at_the_first_step_and_only_then(capsys: pytest.CaptureFixture[str]) -> None:
    model = nn.Sequential(network(), nn.Softmax(dim=1))
    monitor = watched(
        model, torch.optim.AdamW(model.parameters(), 1e-3), nn.CrossEntropyLoss(), batches(120), sinks=("terminal",)
    )
    assert codes(monitor) == ["D101"]
    said = capsys.readouterr().err
    assert said.count("error D101") == 1
    assert f"{math.log(math.e + CLASSES - 1) - 1:.4f}" in said  # the floor


def test_a_loss_that_raises_in_the_first_step_is_explained() -> None:
    model = network()
    heard: list[Finding] = []
    x, y = data(32)
    with pytest.raises(IndexError), Monitor(model, sinks=(heard.append,)):
        F.cross_entropy(model(x), y + CLASSES)
    assert [one.code for one in heard] == ["D104"]


def test_levels_come_from_the_call_of_the_run() -> None:
    model = network()
    monitor = watched(model, torch.optim.SGD(model.parameters(), 0.1), losskit.CrossEntropyLoss(), batches(5))
    assert any(level.value == pytest.approx(math.log(CLASSES)) for level in monitor.run.levels)


def test_losses_of_accumulated_batches_are_one_step() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor, losses = Monitor(model, optimizer, F.cross_entropy, accumulate=4, every=1, sinks=()), []
    with monitor:
        for place, batch in enumerate(batches(80)):
            loss = F.cross_entropy(model(batch[0]), batch[1])
            (loss / 4).backward()
            losses.append(loss.item())
            monitor.step(loss, batch=batch)
            if place % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    run = monitor.run.main("train_loss")
    assert run is not None
    assert run.values.tolist() == pytest.approx(torch.tensor(losses).view(-1, 4).mean(1).tolist())
    assert codes(monitor) == []
    assert monitor._gradients.grads_before == 0


def test_evaluations_and_parts_become_curves() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer, sinks=()) as monitor:
        for batch in batches(4):
            optimizer.zero_grad()
            first = F.cross_entropy(model(batch[0]), batch[1])
            second = sum((p.square().sum() for p in model.parameters()), torch.zeros(()))
            (first + second).backward()
            monitor.step(first + second, parts={"nll": first, "decay": second})
            optimizer.step()
        monitor.evaluated(torch.tensor(1.5))
    names = {series.name: series.kind for series in monitor.run.series}
    assert names == {
        "loss": "train_loss", "lr": "lr", "gradient norm": "grad_norm", "part: nll": "metric", "part: decay": "metric",
        "eval loss": "eval_loss",
    }  # fmt: skip
    evaluated = monitor.run.main("eval_loss")
    assert evaluated is not None
    assert (evaluated.steps.tolist(), evaluated.values.tolist()) == ([4], [1.5])


def test_a_part_cut_off_beside_parts_that_learn_is_noted_and_parts_logged_detached_are_not() -> None:
    model, shares = network(), []
    for detach_all in (False, True):
        monitor = Monitor(model, sinks=())
        for batch in batches(3):
            first, second = F.cross_entropy(model(batch[0]), batch[1]), torch.ones(()) * 2
            total = first + second
            monitor.step(total, parts={"nll": first.detach() if detach_all else first, "aux": second})
        monitor.close()
        shares.append(monitor._rounds.evidence().probes.parts_without_grad)
    assert [name for name, _ in shares[0]] == ["aux"]
    assert 0.4 < shares[0][0][1] < 0.6
    assert shares[1] == ()
