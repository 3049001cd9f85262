"""A clip of gradients is heard however it was imported, by the monitor of that model, and torch is left as it was."""

from __future__ import annotations

import gc
import threading
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import batches, network
from torch.nn.utils import clip_grad_norm_  # before any monitor, as most programs have it

from losskit.doctor import Monitor
from losskit.doctor.during import clips

LIMIT = 1e-3


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class Ear:
    def __init__(self) -> None:
        self.heard: list[float] = []

    def hear(self, parameters: Any, limit: float, norm: torch.Tensor) -> None:
        self.heard.append(limit)


def clipped_run(clip: Any, **options: Any) -> tuple[Monitor, list[float]]:
    model = network()
    optimizer, norms = torch.optim.SGD(model.parameters(), 0.1), []
    with Monitor(model, optimizer, F.cross_entropy, every=1, sinks=()) as monitor:
        for x, y in batches(12):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            norms.append(float(clip(model.parameters(), LIMIT, **options)))
            monitor.step(loss, batch=(x, y))
            optimizer.step()
    return monitor, norms


@pytest.mark.parametrize("late", [False, True])
def test_both_imports_of_the_clip_are_heard_and_the_norm_is_the_one_before_it(late: bool) -> None:
    clip = (lambda *given: torch.nn.utils.clip_grad_norm_(*given)) if late else clip_grad_norm_
    monitor, norms = clipped_run(clip)
    series = monitor.run.main("grad_norm")
    assert series is not None
    assert min(norms) > 100 * LIMIT
    assert series.values.tolist() == pytest.approx(norms, rel=1e-6)
    assert monitor._rounds.evidence().probes.clip_ratios == pytest.approx([LIMIT / norm for norm in norms], rel=1e-6)


def test_a_clip_by_the_largest_entry_says_nothing_of_the_norm() -> None:
    monitor, _ = clipped_run(clip_grad_norm_, norm_type=float("inf"))
    assert monitor._rounds.evidence().probes.clip_ratios == ()


def test_a_clip_of_another_model_is_not_this_one_s() -> None:
    model, other = network(), network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    x, y = batches(1)[0]
    with Monitor(model, optimizer, F.cross_entropy, every=1, sinks=()) as monitor:
        for net in (model, other):
            F.cross_entropy(net(x), y).backward()
        clip_grad_norm_(other.parameters(), LIMIT)
        monitor.step(F.cross_entropy(model(x), y), batch=(x, y))
    assert monitor._rounds.evidence().probes.clip_ratios == ()


def test_monitors_that_close_in_the_order_in_which_they_opened_leave_torch_as_it_was() -> None:
    gc.collect()  # what other tests have left open
    before = dict(vars(torch.nn.utils.clip_grad))
    first, second = (Monitor(network(), sinks=()) for _ in range(2))
    for monitor in (first, second):
        monitor.open()
    assert vars(torch.nn.utils.clip_grad) != before
    first.close()
    assert vars(torch.nn.utils.clip_grad) != before
    second.close()
    assert vars(torch.nn.utils.clip_grad) == before


def test_a_monitor_that_is_dropped_without_a_close_listens_no_more() -> None:
    gc.collect()
    before = dict(vars(torch.nn.utils.clip_grad))
    monitor = Monitor(network(), sinks=())
    monitor.open()
    assert vars(torch.nn.utils.clip_grad) != before
    del monitor
    gc.collect()
    assert vars(torch.nn.utils.clip_grad) == before


def test_threads_hear_their_own_clips() -> None:
    found: dict[int, tuple[Monitor, list[float]]] = {}
    threads = [threading.Thread(target=lambda n=n: found.setdefault(n, clipped_run(clip_grad_norm_))) for n in range(2)]
    ear = Ear()
    clips.listen(ear.hear)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        clips.forget(ear.hear)
    assert ear.heard == [LIMIT] * 24
    for monitor, norms in found.values():
        assert len(monitor._rounds.evidence().probes.clip_ratios) == len(norms) == 12
