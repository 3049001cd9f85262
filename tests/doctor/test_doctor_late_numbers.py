"""Numbers that arrive after the step that they are of, as on a device: every way to deal with a step that is not finite."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import batches, codes, network, train
from typing_extensions import override

from losskit.doctor import Monitor, NonFiniteError
from losskit.doctor.during.ring import Ring, Row

BAD, STEPS, LAG = 37, 60, 7


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class LateRing(Ring):
    """A ring whose rows come so many steps later, on a CPU."""

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        self.waiting: deque[Row] = deque()

    @property
    @override
    def delayed(self) -> bool:
        return True

    @override
    def push(self, step: int, values: Any) -> list[Row]:
        self.waiting.extend(super().push(step, values))
        return [self.waiting.popleft()] if len(self.waiting) > LAG else []

    @override
    def flush(self) -> list[Row]:
        rows = [*self.waiting, *super().flush()]
        self.waiting.clear()
        return rows


def late_monitor(patch: pytest.MonkeyPatch, model: Any, optimizer: Any, mode: Any) -> Monitor:
    patch.setattr("losskit.doctor.during.live.Ring", LateRing)
    monitor = Monitor(model, optimizer, F.cross_entropy, every=1, sinks=(), on_nonfinite=mode)
    monitor._trouble._late = True  # as the first number on a device makes it
    # a CPU's batches need not be kept: there the numbers are known at once
    patch.setattr(monitor._trouble, "number", lambda step, every: keep(monitor, step, every))
    return monitor


def keep(monitor: Monitor, step: int, every: int) -> None:
    trouble = monitor._trouble
    trouble._every = every
    trouble._batches.extend((step, batch) for batch in trouble._unnumbered)
    trouble._unnumbered = []


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("mode", ["warn", "skip", "snapshot"])
def test_a_late_bad_step_is_named_and_the_weights_live_where_that_was_asked_for(
    mode: str, fused: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, fused=fused)
    monitor = late_monitor(monkeypatch, model, optimizer, mode)
    given = batches(STEPS, bad=BAD)
    with monitor:
        train(model, optimizer, F.cross_entropy, given, monitor)
    report = monitor.report().cases[0]
    lives = all(bool(p.isfinite().all()) for p in model.parameters())
    assert lives == (mode != "warn")
    assert not report.faults
    assert monitor._trouble.first_bad == (BAD, "loss")
    assert codes(monitor)[0] in ("D301", "D302")
    if mode == "skip" and fused:
        assert report.facts["steps left out"] == 1
        assert [one.hit.numbers["sample"] for one in monitor.findings if one.code == "D301"] == [3]
    if mode == "snapshot":
        assert monitor._trouble._guard is not None


def test_a_late_loss_is_waited_for_where_the_run_shall_end_before_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    monitor = late_monitor(monkeypatch, model, optimizer, "raise")
    with pytest.raises(NonFiniteError, match=f"step {BAD} "), monitor:
        train(model, optimizer, F.cross_entropy, batches(STEPS, bad=BAD), monitor)
    assert all(bool(p.isfinite().all()) for p in model.parameters())


def test_snapshots_are_taken_at_their_own_pace_however_dear_looks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.05)
    monitor = Monitor(model, optimizer, F.cross_entropy, every=1, sinks=(), on_nonfinite="snapshot")
    taken: list[int] = []
    assert monitor._trouble._guard is not None
    monkeypatch.setattr(monitor._trouble._guard, "snapshot", taken.append)
    monkeypatch.setattr(monitor._looks, "due", lambda step: step == 0)
    with monitor:
        train(model, optimizer, F.cross_entropy, batches(45), monitor)
    assert taken == [0, 10, 20, 30, 40]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="numbers are late on a device alone, and this machine has no CUDA")
@pytest.mark.parametrize("mode", ["warn", "skip", "snapshot", "raise"])
def test_the_bad_step_of_a_device_is_dealt_with(mode: Any) -> None:
    model = network().cuda()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-2, fused=True)
    monitor = Monitor(model, optimizer, F.cross_entropy, every=5, sinks=(), on_nonfinite=mode)
    given = [(x.cuda(), y.cuda()) for x, y in batches(STEPS, bad=BAD)]
    raised = False
    try:
        with monitor:
            train(model, optimizer, F.cross_entropy, given, monitor)
    except NonFiniteError:
        raised = True
    assert raised == (mode == "raise")
    assert all(bool(p.isfinite().all()) for p in model.parameters()) == (mode != "warn")
    assert monitor._trouble.first_bad == (BAD, "loss")
    assert not monitor.report().cases[0].faults
    loss = monitor.run.main("train_loss")
    assert loss is not None
    assert math.isnan(float(loss.values[BAD])) if not raised else len(loss) <= BAD + 1
