"""Steps that are not finite, the order of backward, zero_grad and step, and clips, as a monitor sees them."""

from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from monitored import FEATURES, batches, codes, data, network, watched
from torch import Tensor, nn

from losskit.doctor import Monitor, NonFiniteError


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------- values that are not finite


def test_with_indices_in_the_batch_the_fix_leads_to_the_row_of_the_data_set() -> None:
    (x, y), model = data(256), network()
    x[137, 4] = math.nan
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    order = torch.randperm(len(x)).split(32)
    monitor = Monitor(model, optimizer, step=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), sinks=())
    with monitor:
        for rows in order:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x[rows]), y[rows])
            loss.backward()
            if not monitor.step(loss, batch=(x[rows], y[rows], rows)):
                break
            optimizer.step()
    (found,) = monitor.findings
    assert order[found.hit.step or 0][int(found.hit.numbers["sample"])] == 137
    for said in ("batch=(input, target, index)", "index[sample]", "step=lambda model, batch:"):
        assert said in found.fix


@pytest.mark.parametrize("mode", ["warn", "skip", "snapshot"])
def test_the_bad_batch_is_named_and_the_weights_live_where_that_was_asked_for(mode: Any) -> None:
    model = network()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    monitor = watched(model, optimizer, F.cross_entropy, batches(40, bad=25), on_nonfinite=mode)
    first = monitor.findings[0]
    assert (first.code, first.hit.step, first.hit.numbers["sample"]) == ("D301", 25, 3)
    assert "learning rate" not in first.fix
    assert monitor.poisoned is (mode == "warn")
    assert all(p.isfinite().all() for p in model.parameters()) is (mode != "warn")


def test_raise_ends_the_run_before_the_step() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with pytest.raises(NonFiniteError, match="the loss of step 7 is not finite: D301"):
        watched(model, optimizer, F.cross_entropy, batches(20, bad=7), on_nonfinite="raise")
    assert all(p.isfinite().all() for p in model.parameters())


def test_an_infinite_gradient_of_a_finite_loss_is_found_before_the_step() -> None:
    model = nn.Linear(FEATURES, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)

    def root(output: Tensor, target: Tensor) -> Tensor:
        return (output * 0).sqrt().sum() + F.mse_loss(output[:, 0], target.float())

    monitor = watched(model, optimizer, root, batches(2), on_nonfinite="skip")
    assert monitor._trouble.first_bad == (0, "gradient")
    assert codes(monitor) == ["D304"]


def test_a_scaler_that_searches_its_scale_is_healthy() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24)
    monitor = Monitor(model, optimizer, F.cross_entropy, scaler=scaler, every=1, sinks=())
    with monitor:
        for x, y in batches(60):
            optimizer.zero_grad()
            with torch.autocast("cpu", dtype=torch.float16):
                loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            monitor.step(loss, batch=(x, y))
            scaler.step(optimizer)
            scaler.update()
    assert monitor._trouble.skipped > 0
    assert codes(monitor) == []
    assert {module.dtype for module in monitor._looks.kept[-1].modules} == {"float16"}  # looked at as it is called
    norms = monitor.run.main("grad_norm")
    assert norms is not None
    assert len(norms) == 60 - monitor._trouble.skipped
    assert 0 < norms.values.max() < 10  # without the scale


def test_an_option_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match="\"on_nonfinite\" is 'ignore'"):
        Monitor(network(), on_nonfinite=cast(Any, "ignore"))
    with pytest.raises(ValueError, match='"every" is 0'):
        Monitor(network(), every=0)
    with pytest.raises(ValueError, match='"sinks" holds 3'):
        Monitor(network(), sinks=(3,))


# ---------------------------------------------------------------------- the order of backward, zero_grad and step


@pytest.mark.parametrize("order", ["healthy", "never cleared", "cleared between"])
def test_the_order_of_zero_grad_is_watched(order: str) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    monitor = Monitor(model, optimizer, F.cross_entropy, every=1, sinks=())
    with monitor:
        for batch in batches(60):
            loss = F.cross_entropy(model(batch[0]), batch[1])
            if order == "healthy":
                optimizer.zero_grad()
            loss.backward()
            monitor.step(loss, batch=batch)
            if order == "cleared between":
                optimizer.zero_grad()
            optimizer.step()
    probes = monitor._rounds.evidence().probes
    assert (probes.grads_before > 0) is (order == "never cleared")
    assert (probes.cleared_between > 0) is (order == "cleared between")


@pytest.mark.parametrize("unscaled", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_a_clip_of_scaled_gradients_is_told_by_its_scale(unscaled: bool, given: bool) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**12)
    monitor = Monitor(model, optimizer, F.cross_entropy, scaler=scaler if given else None, every=1, sinks=())
    with monitor:
        for x, y in batches(30):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            if unscaled:
                scaler.unscale_(optimizer)
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            monitor.step(loss, batch=(x, y))
            scaler.step(optimizer)
            scaler.update()
    found = [one for one in monitor.findings if one.code == "D212"]
    assert [one.hit.numbers["scale"] for one in found] == ([] if unscaled else [2.0**12])


def test_the_norm_is_the_one_before_the_clip() -> None:
    model = network()
    optimizer, norms = torch.optim.SGD(model.parameters(), 0.1), []
    with Monitor(model, optimizer, sinks=()) as monitor:
        for x, y in batches(10):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)))
            monitor.step(loss)
            optimizer.step()
    seen = monitor.run.main("grad_norm")
    assert seen is not None
    assert seen.values.tolist() == pytest.approx(norms)
