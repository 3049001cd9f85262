"""Who is told of a live run's findings, and what ranks share."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from monitored import batches, network, train, watched
from torch import nn

from losskit.doctor import Finding, Monitor
from losskit.doctor.during.ring import Ring


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# ---------------------------------------------------------------------- who is told


def one_finding() -> Finding:
    model = nn.Sequential(network(), nn.Softmax(dim=1))
    monitor = watched(model, torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(), batches(3))
    return monitor.findings[0]


def test_a_file_has_a_line_for_each_finding_also_after_half_a_line(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "doctor.jsonl"
    path.parent.mkdir()
    path.write_text('{"code": "D5')
    for _ in range(2):
        model = nn.Sequential(network(), nn.Softmax(dim=1))
        watched(model, torch.optim.SGD(model.parameters(), 0.1), nn.CrossEntropyLoss(), batches(3), sinks=(str(path),))
    lines = path.read_text().splitlines()
    assert [json.loads(line)["code"] for line in lines[1:]] == ["D101", "D101"]


def test_tensorboard_and_wandb_and_functions_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[tuple[str, int | None]] = []
    alerts: list[dict[str, str]] = []

    class Writer:
        def add_text(self, tag: str, text_string: str, global_step: int | None = None) -> None:
            texts.append((tag, global_step))

    class Run:
        def alert(self, **said: str) -> None:
            alerts.append(said)

    class Wandb:
        run = Run()

    monkeypatch.setitem(sys.modules, "wandb", Wandb)
    heard: list[Finding] = []
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    watched(model, optimizer, F.cross_entropy, batches(9, bad=6), sinks=(Writer(), "wandb", heard.append))
    assert texts == [("doctor/D301", 6)]
    assert [one["level"] for one in alerts] == ["ERROR"]
    assert [one.code for one in heard] == ["D301"]


def test_an_alert_has_two_short_lines_and_the_report_says_it_once_in_full(capsys: pytest.CaptureFixture[str]) -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    monitor = watched(model, optimizer, F.cross_entropy, batches(9, bad=6), sinks=("terminal", print))
    print(monitor.report())
    printed, alerted = capsys.readouterr()
    (found,) = monitor.findings
    for alert in (alerted.strip(), "\n".join(printed.splitlines()[:2])):
        head, fix = alert.splitlines()
        assert head == f"error D301, step 6, batch[0]: {found.hit.said}"
        assert fix.startswith("  fix: Look at the named entry")
        assert fix.endswith("… (losskit show D301)")
        assert len(fix) < 140
    said = " ".join(printed.split())
    for whole in (found.cause, found.fix, found.confirm):
        assert said.count(" ".join(whole.split())) == 1


def test_a_sink_that_fails_ends_nothing_and_is_named(tmp_path: Path) -> None:
    def broken(_: Finding) -> None:
        raise OSError("no space left")

    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    with Monitor(model, optimizer, F.cross_entropy, sinks=(broken,)) as monitor:
        train(model, optimizer, F.cross_entropy, batches(9, bad=6), monitor)
    assert [(fault.where, fault.problem) for fault in monitor.report().cases[0].faults] == [
        ("sink broken", "OSError: no space left")
    ]


def test_a_finding_is_told_again_only_when_it_gets_worse() -> None:
    from dataclasses import replace

    from losskit.doctor.during.teller import Teller

    heard: list[Finding] = []
    teller, one = Teller([heard.append]), one_finding()
    mild = replace(one, hit=replace(one.hit, severity="warning"))
    for told in (mild, mild, one, one, mild):
        teller.tell([told])
    assert [said.severity for said in heard] == ["warning", "error"]


# ---------------------------------------------------------------------- ranks


def _rank(rank: int, folder: str) -> None:
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(network())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    given = batches(30, bad=21 if rank == 1 else None)
    given = [(x + rank * 0.1, y) for x, y in given]
    monitor = Monitor(model, optimizer, F.cross_entropy, every=5, sinks=(f"{folder}/{rank}.jsonl",))
    losses = []
    with monitor:
        for batch in given:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(batch[0]), batch[1])
            losses.append(loss.item())
            loss.backward()
            monitor.step(loss, batch=batch)
            optimizer.step()
    series, case = monitor.run.main("train_loss"), monitor.report().cases[0]
    assert series is not None
    seen = {"own": losses, "shared": series.values.tolist(), "facts": {k: str(v) for k, v in case.facts.items()}}
    seen["faults"] = [fault.problem for fault in case.faults]
    Path(f"{folder}/{rank}.json").write_text(json.dumps(seen))
    dist.destroy_process_group()


@pytest.mark.slow  # two processes that import torch anew
def test_ranks_share_their_losses_and_the_bad_one_speaks(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(_rank, (str(tmp_path),), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1))
    assert first["faults"] == second["faults"] == []
    mean = [(a + b) / 2 for a, b in zip(first["own"][:21], second["own"][:21], strict=True)]
    assert first["shared"][:21] == pytest.approx(mean)
    assert first["shared"][:21] == second["shared"][:21]
    assert math.isnan(first["shared"][21])
    told = [json.loads(line) for line in (tmp_path / "1.jsonl").read_text().splitlines()]
    assert [(one["code"], one["step"], one["numbers"]["sample"]) for one in told if one["severity"] == "error"] == [
        ("D301", 21, 3)
    ]
    assert first["facts"]["ranks that are not finite"] == "1"


def test_a_ring_gives_each_row_once_and_in_order() -> None:
    ring = Ring(2, 4, torch.device("cpu"), shared=False)
    rows = [row for step in range(10) for row in ring.push(step, (torch.tensor(float(step)), 2.0 * step))]
    rows += ring.flush()
    assert [(row.step, row.own) for row in rows] == [(step, (float(step), 2.0 * step)) for step in range(10)]
