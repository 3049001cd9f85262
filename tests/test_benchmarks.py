"""The benchmark of linear cross-entropy tells the truth about its contenders; how fast they are is never asserted."""

from __future__ import annotations

import importlib
import json
import math
import shutil
import subprocess
import sys
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))
linear, bars, cases, child, peers, race, report = (
    importlib.import_module(name)
    for name in ("linear", "linear_bars", "linear_cases", "linear_child", "linear_peers", "linear_race", "linear_report")
)
CASE = cases.Case("time", 24, 8, 50, "float32", "cpu")
QUICK = race.Effort(rounds=3, seconds=5, memory=False)


def right(x: Tensor, w: Tensor, t: Tensor) -> Tensor:
    return F.cross_entropy(x @ w.T, t)


def broken(x: Tensor, w: Tensor, t: Tensor) -> Tensor:
    raise RuntimeError("the kernel does not fit\nand a second line")


def absent() -> Any:
    raise peers.AbsentError("needs another machine")


FAKES = [
    peers.Contender("right", lambda: right),
    peers.Contender("twice", lambda: lambda *t: 2 * right(*t)),
    peers.Contender("loss only", lambda: lambda x, w, t: right(x.detach(), w.detach(), t) + 0 * x.sum() + 0 * w.sum()),
    peers.Contender("broken", lambda: broken),
    peers.Contender("absent", absent),
    peers.Contender("uninstalled", absent, module="no_such_module_at_all"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The files of a small run: JSON and table."""
    folder = tmp_path_factory.mktemp("results")
    out, table = folder / "linear.json", folder / "docs" / "linear.md"
    given = ["--shapes", "small", "--dtype", "float32", "--rounds", "3", "--no-memory", "--out", str(out), "--table", str(table)]
    linear.main(given, FAKES)
    return json.loads(out.read_text()), table.read_text()


def test_the_file_says_machine_versions_date_and_every_case(written: tuple[dict[str, Any], str]) -> None:
    record = written[0]
    assert {"date", "losskit", "machine", "versions", "cases", "bars"} <= set(record)
    assert record["machine"]["cpu"]
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["versions"]["torch"] == torch.__version__
    assert record["versions"]["losskit"] == losskit.__version__
    assert [case["kind"] for case in record["cases"]] == list(cases.KINDS)
    assert {bar["met"] for bar in record["bars"]} == {"not run"}, "small shapes are not the shapes of the bars"


def test_every_timed_contender_has_its_spread_and_its_ratio_to_all_others(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        timed = {name: entry for name, entry in case["contenders"].items() if "median_ms" in entry}
        assert not timed if case["kind"] in ("memory", "accuracy") else {"right", *peers.FLOORS} <= set(timed)
        for name, entry in timed.items():
            assert entry["rounds"] == 3
            assert 0 < entry["min_ms"] <= entry["lower_quartile_ms"] <= entry["median_ms"] <= entry["upper_quartile_ms"]
            assert set(entry["ratio_to"]) == set(timed) - {name}
            assert ("ratio_to_floor" in entry) == (name not in peers.FLOORS)


def test_who_fails_or_is_absent_is_recorded_and_stops_nobody(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        assert case["contenders"]["absent"] == {"skipped": "needs another machine"}
        assert case["contenders"]["uninstalled"] == {"skipped": "not installed: no_such_module_at_all"}
        if case["kind"] not in ("memory", "half ignored"):
            assert case["contenders"]["broken"] == {"failed": "RuntimeError: the kernel does not fit"}


def test_a_wrong_loss_and_a_zero_gradient_show_as_large_errors(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        entries = case["contenders"]
        if case["kind"] != "memory":
            keys = ("loss",) if case["kind"] == "forward" else ("loss", "dX", "dW")
            assert all(entries["right"]["error"][key] < 1e-6 for key in keys)
            assert all(entries["twice"]["error"][key] == pytest.approx(1, abs=1e-6) for key in keys)
            assert entries["loss only"]["error"]["loss"] < 1e-6
            assert all(entries["loss only"]["error"][key] == 1 for key in keys[1:])


def test_the_table_has_every_contender_and_every_bar(written: tuple[dict[str, Any], str]) -> None:
    record, table = written
    for case in record["cases"]:
        assert f"**{case['name']}**" in table
    for name in ("right", "twice", "absent", "uninstalled", *peers.FLOORS):
        assert f"| {name} |" in table
    assert "failed: RuntimeError: the kernel does not fit" in table
    assert table.count("| not run |") == len(record["bars"])
    rows = [line for line in table.splitlines() if line.startswith("|")]
    assert all(line.endswith("|") for line in rows)


@pytest.mark.parametrize("ignored", [0.0, 0.5])
def test_the_truth_is_float64_autograd_in_blocks_of_any_size(ignored: float) -> None:
    given = cases.problem(CASE, ignored)
    x, w = (leaf.detach().double().requires_grad_() for leaf in (given.input, given.weight))
    wanted = F.cross_entropy(x @ w.T, given.target)
    wanted.backward()
    for budget in (8 * 50, 8 * 50 * 7, 2**29):
        found = cases.truth(given, budget=budget)
        assert found.loss == pytest.approx(wanted.item(), rel=1e-14)
        torch.testing.assert_close(found.input, x.grad, rtol=1e-12, atol=1e-16)
        torch.testing.assert_close(found.weight, w.grad, rtol=1e-12, atol=1e-16)
    assert cases.truth(given, gradients=False).weight is None
    assert (given.target == cases.IGNORED).sum() == round(ignored * CASE.rows)


def test_errors_are_relative_scaled_by_the_upstream_and_one_without_a_gradient() -> None:
    given = cases.problem(CASE)
    true = cases.truth(given)
    loss = torch.tensor(true.loss * 1.25, dtype=torch.float64)
    assert cases.errors(given, true, loss)["loss"] == pytest.approx(0.25)
    assert cases.errors(given, true, loss)["dX"] == 1
    given.input.grad, given.weight.grad = (8 * g.float() for g in (true.input, true.weight))
    found = cases.errors(given, true, loss, upstream=8.0)
    assert found["dX"] < 1e-6
    assert found["dW"] < 1e-6
    unseen = [c for c in range(CASE.classes) if c not in given.target.tolist()]
    given.weight.grad[unseen] = 0
    found = cases.errors(given, true, loss, upstream=8.0)
    assert found["dW of classes not in the batch"] == 1
    assert found["dW"] == pytest.approx((true.weight[unseen].norm() / true.weight.norm()).item(), rel=1e-4)
    given.weight.grad.fill_(math.nan)
    assert math.isnan(cases.errors(given, true, loss)["dW"])


def test_the_order_is_reversed_every_round_and_who_raises_leaves() -> None:
    order: list[str] = []

    def fails_late() -> None:
        order.append("b")
        if order.count("b") == 2:
            raise RuntimeError("out of memory")

    steps = {"a": lambda: order.append("a"), "b": fails_late, "c": lambda: order.append("c")}
    entries: dict[str, dict[str, Any]] = {name: {} for name in steps}
    taken = race.race(steps, entries, "cpu", QUICK)
    assert order == [*"cba", *"abc", *"ca"]
    assert set(taken) == {"a", "c"}
    assert entries == {"a": {}, "b": {"failed": "RuntimeError: out of memory"}, "c": {}}


def test_ratios_are_medians_over_rounds_and_the_floor_is_its_faster_form() -> None:
    plain, out = peers.FLOORS
    taken = {"ours": [3.0, 8.0, 6.0], plain: [2.0, 4.0, 2.0], out: [1.0, 4.0, 4.0]}
    entries: dict[str, dict[str, Any]] = {name: {} for name in taken}
    race.ratios(taken, entries)
    assert entries["ours"]["ratio_to"] == {plain: 2.0, out: 2.0}
    assert entries[plain]["ratio_to"] == {"ours": 0.5, out: 1.0}
    assert entries["ours"]["median_ms"] == 6000
    taken[out] = [1.0, 1.0, 1.0]
    race.ratios(taken, entries)
    assert entries["ours"]["ratio_to_floor"] == entries["ours"]["ratio_to"][out] == 6.0
    assert "ratio_to_floor" not in entries[plain]


def test_blocks_are_asked_for_and_their_matrix_products_counted() -> None:
    def in_blocks(case: Any, blocks: int) -> Any:
        def run(x: Tensor, w: Tensor, t: Tensor) -> Tensor:
            rows = -(-case.rows // blocks)
            return sum(F.cross_entropy(x[i : i + rows] @ w.T, t[i : i + rows]) for i in range(0, case.rows, rows)) / blocks

        return run

    case = replace(CASE, kind="accuracy")
    found = race.run(case, [peers.Contender("losskit", lambda: right, blocks=in_blocks)], QUICK)["contenders"]
    for blocks in (1, 2, 8):
        entry = found[f"losskit, {blocks} blocks"]
        assert entry["gemms"] == 3 * blocks
        assert max(entry["error"].values()) < 1e-6
    assert found["losskit, 64 blocks"] == {"blocks": 64, "skipped": "only 24 rows"}


def entry_of(error: float, blocks: int = 0) -> dict[str, Any]:
    return {"error": {"loss": error, "dX": error / 10, "dW": error / 2}} | ({"blocks": blocks} if blocks else {})


@pytest.mark.parametrize(
    ("contenders", "measured", "met"),
    [
        ({"losskit": entry_of(1e-6)}, None, "not run"),
        ({"losskit, 2 blocks": entry_of(1e-6, 2), "losskit, 8 blocks": entry_of(3e-6, 8)}, 3e-6, True),
        ({"losskit, 1 blocks": entry_of(1.0, 1), "losskit, 2 blocks": entry_of(2e-5, 2)}, 2e-5, False),
        ({"losskit, 2 blocks": entry_of(math.nan, 2)}, math.inf, False),
        ({"losskit, 2 blocks": {"blocks": 2, "failed": "it raised"}}, math.inf, False),
        ({"losskit": {"failed": "it raised"}}, "it raised", False),
        ({"losskit": {"skipped": "losskit missing"}, "torch, chunked, 2 blocks": entry_of(0.1, 2)}, None, "not run"),
    ],
)
def test_a_bar_is_met_missed_or_not_run(contenders: dict[str, Any], measured: object, met: object) -> None:
    case = replace(CASE, kind="accuracy")
    bar = bars.Bar("error of the loss", 1e-5, case, bars.worst(("loss",), 2))
    line = bars.judged(bar, [{"name": case.name, "contenders": contenders}], "a CPU")
    assert (line["measured"], line["met"]) == (measured, met)
    assert bars.judged(bar, [], "a CPU")["met"] == "not run"


def test_speed_bars_want_at_least_and_a_gpu_bar_wants_its_gpu() -> None:
    contenders = {"losskit": {"ratio_to": {"quack": 0.9, "quack, older": 0.5}}, "torch": {"ratio_to": {"losskit": 1.5}}}
    found = [{"name": CASE.name, "contenders": contenders}]
    assert bars.judged(bars.Bar("speed", 1.4, CASE, bars.ratio("torch", "losskit"), at_least=True), found, "")["met"] is True
    assert bars.judged(bars.Bar("speed", 1.6, CASE, bars.ratio("torch", "losskit"), at_least=True), found, "")["met"] is False
    fastest = bars.Bar("over quack", 1.0, CASE, bars.fastest("quack"), machine="H200")
    assert bars.judged(fastest, found, "NVIDIA H200")["measured"] == 0.9
    assert bars.judged(fastest, found, "NVIDIA L4")["met"] == "not run"


def test_every_bar_belongs_to_a_case_that_runs() -> None:
    names = {case.name for device in ("cpu", "cuda") for case in cases.chosen("bars", device)}
    assert {bar.case.name for bar in bars.BARS} <= names
    assert len({(bar.name, bar.case.name) for bar in bars.BARS}) == len(bars.BARS)


def test_a_child_measures_memory_and_its_death_is_told() -> None:
    case = cases.Case("memory", 512, 16, 4096, "float32", "cpu")
    found = child.peak(case, next(c for c in peers.CONTENDERS if c.name == "torch"))
    if Path("/proc/self/status").exists():
        logits = 512 * 4096 * 4
        assert logits < found["workspace"] < 4 * logits
        assert found["above_inputs"] >= found["workspace"]
    assert child.peak(case, FAKES[0]) == {"failed": 'exit 1: no contender is called "right"'}


def test_what_does_not_fit_is_computed_and_said_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "status", lambda *where: 2**30)
    plain = next(c for c in peers.CONTENDERS if c.name == "torch")
    found = child.peak(cases.Case("memory", *cases.CPU_MEMORY, "float32", "cpu"), plain)
    assert found["workspace"] == 2 * 8192 * 128256 * 4
    assert "computed" in found
    assert bars.workspace({"losskit": {"memory": found}}) is None


def test_a_missing_losskit_is_said_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    older = ModuleType("losskit")
    older.__spec__, older.__version__ = ModuleSpec("losskit", None), "0.0.1"
    monkeypatch.setitem(sys.modules, "losskit", older)
    assert linear.presence() == "losskit missing: losskit 0.0.1 has no linear_cross_entropy"
    found = race.run(CASE, [c for c in peers.CONTENDERS if c.name in ("losskit", "torch")], QUICK)["contenders"]
    assert found["losskit"]["skipped"].startswith("losskit missing")
    assert "median_ms" in found["torch"]


def test_what_a_peer_says_is_one_line_without_folders() -> None:
    assert child.brief("no name 'a' (/opt/there/x.py)\nmore") == "no name 'a' (x.py)"
    assert child.brief("cannot read /home/somebody/lib/x.so: no such file") == "cannot read x.so: no such file"
    assert child.brief("a/b is 1/2 of V\nlast", last=False) == "a/b is 1/2 of V"
    assert child.brief("", last=True) == "no message"


def test_the_file_never_has_what_json_lacks(tmp_path: Path) -> None:
    report.write(tmp_path / "a" / "b.json", {"x": [math.nan, {"y": math.inf}], "z": 1.5})
    assert json.loads((tmp_path / "a" / "b.json").read_text()) == {"x": ["nan", {"y": "inf"}], "z": 1.5}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_no_device_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert linear.main(["--device", "cuda"]) is None
    assert "not run" in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_harness_runs_on_cuda(tmp_path: Path) -> None:
    given = ["--device", "cuda", "--shapes", "small", "--rounds", "3", "--no-memory", "--out", str(tmp_path / "linear.json")]
    record = linear.main(given, FAKES[:2])
    assert record is not None
    first = record["cases"][0]["contenders"]["right"]
    assert first["error"]["dW"] < 1e-5
    assert first["memory"]["workspace"] >= 0


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_the_script_for_a_bare_machine_parses() -> None:
    assert subprocess.run(["bash", "-n", str(FOLDER / "gpu.sh")], check=False).returncode == 0
