"""The benchmark of the losses of embeddings races who is right, and says who is not; how fast they are is never asserted."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit

FOLDER = Path(__file__).parent.parent / "benchmarks"
sys.path.insert(0, str(FOLDER))
embeddings, bars, cases, child, forms, peers, race, linear_race = (
    importlib.import_module(name)
    for name in (
        "embeddings",
        "embeddings_bars",
        "embeddings_cases",
        "embeddings_child",
        "embeddings_forms",
        "embeddings_peers",
        "embeddings_race",
        "linear_race",
    )
)
CASE = cases.Case("CLIP", 32, 16)
QUICK = race.Effort(rounds=2, seconds=0.01, children=False)


def twice(*given: Tensor) -> Tensor:
    return 2 * forms.clip(*given)


def value_only(query: Tensor, key: Tensor, scale: Tensor) -> Tensor:
    return forms.clip(query.detach(), key.detach(), scale.detach()) + 0 * (query.sum() + key.sum() + scale)


def broken(*given: Tensor) -> Tensor:
    raise RuntimeError("the kernel does not fit\nand a second line")


FAKES = [
    peers.Contender("right", lambda: forms.clip),
    peers.Contender("slow", lambda: forms.clip, once=True),
    peers.Contender("twice", lambda: twice),
    peers.Contender("another loss", lambda: twice, alike=False),
    peers.Contender("value only", lambda: value_only),
    peers.Contender("broken", lambda: broken),
    peers.Contender("uninstalled", lambda: forms.clip, module="no_such_module_at_all"),
    peers.Contender("spared", lambda: forms.clip, most_rows=31),
    peers.Contender("too large", lambda: forms.clip, needs=lambda rows: 1e18),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The files of a small run: JSON and table."""
    folder = tmp_path_factory.mktemp("results")
    out, table = folder / "embeddings.json", folder / "docs" / "embeddings.md"
    given = ["--shapes", "small", "--rounds", "2", "--seconds", "0.01", "--no-children", "--out", str(out), "--table", str(table)]
    embeddings.main(given)
    return json.loads(out.read_text()), table.read_text()


@pytest.fixture(scope="module")
def faked() -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = race.run(CASE, QUICK, FAKES)["contenders"]
    return entries


def test_the_file_says_machine_versions_seeds_and_every_kind(written: tuple[dict[str, Any], str]) -> None:
    record = written[0]
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["machine"]["omp_wait_policy"]
    assert record["versions"]["losskit"] == losskit.__version__
    assert {"torch", "sentence-transformers", "pytorch-metric-learning"} <= set(record["versions"])
    assert record["seeds"] == {"tensors": cases.SEED, "distinct_pairs_of_checks": cases.DISTINCT}
    assert [case["kind"] for case in record["cases"]] == list(cases.KINDS)
    assert {bar["met"] for bar in record["bars"]} == {"not run"}, "small shapes are not the shapes of the bars"


def test_losskit_and_every_dense_form_are_the_loss_of_float64(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        for name, entry in case["contenders"].items():
            assert "failed" not in entry, (case["name"], name, entry)
            if name.startswith(("losskit", "dense", "D x D", "torch")) and "alike" not in name and "supervised" not in name:
                assert entry["error"]["loss"] < 1e-5
                assert entry["error"]["gradients"] < 1e-4


def test_every_time_of_every_round_is_kept_beside_the_ratio_to_all_others(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        timed = {name: entry for name, entry in case["contenders"].items() if "median_ms" in entry}
        assert "losskit" in timed
        assert case["kind"] not in peers.FLOOR or peers.FLOOR[case["kind"]] in timed
        for name, entry in timed.items():
            assert len(entry["all_ms"]) == entry["rounds"]
            assert min(entry["all_ms"]) == pytest.approx(entry["min_ms"], abs=1e-4)
            assert set(entry["ratio_to"]) == set(timed) - {name}


def test_the_table_has_every_case_and_contender(written: tuple[dict[str, Any], str]) -> None:
    record, table = written
    for case in record["cases"]:
        assert f"**{case['name']}**" in table
        assert all(f"| {name} |" in table for name in case["contenders"])
    assert table.count("| not run |") == len(record["bars"])
    assert all(line.endswith("|") for line in table.splitlines() if line.startswith("|"))


def test_who_is_wrong_fails_or_is_absent_does_not_race_and_stops_nobody(faked: dict[str, dict[str, Any]]) -> None:
    assert {name for name, entry in faked.items() if "median_ms" in entry} == {
        "right", "slow", "another loss", "four bare GEMMs",
    }  # fmt: skip
    assert faked["twice"]["error"]["loss"] == pytest.approx(1, abs=1e-5)
    assert faked["value only"]["error"]["loss"] < 1e-6
    assert faked["value only"]["error"]["gradients"] == 1
    for name in ("twice", "value only"):
        assert faked[name]["failed"].startswith("not the loss of float64")
    assert faked["broken"] == {"failed": "RuntimeError: the kernel does not fit"}
    assert faked["uninstalled"] == {"skipped": "not installed: no_such_module_at_all"}
    assert faked["spared"] == {"skipped": "spared: more than 31 rows"}


def test_what_does_not_fit_is_not_tried(faked: dict[str, dict[str, Any]]) -> None:
    if Path("/proc/meminfo").exists():
        assert faked["too large"]["skipped"].startswith("needs 931322574.6 GiB")


def test_who_is_run_once_is_timed_by_the_run_that_was_checked(faked: dict[str, dict[str, Any]]) -> None:
    slow, right = faked["slow"], faked["right"]
    assert slow["all_ms"] == [pytest.approx(slow["seconds"] * 1000, rel=1e-3, abs=1e-3)]
    assert slow["ratio_to"]["right"] == pytest.approx(slow["median_ms"] / right["median_ms"], rel=1e-2)


def test_repeated_pairs_have_the_loss_and_gradients_of_the_whole_batch() -> None:
    for kind in ("CLIP", "SigLIP"):
        case = replace(CASE, kind=kind)
        given = cases.problem(case, distinct=8)
        assert given.times == 4
        assert torch.equal(given.leaves[0][:8], given.leaves[0][24:])
        dense = {"CLIP": forms.clip, "SigLIP": forms.siglip}[kind]
        found = cases.errors(case, given, peers.step(dense, given)())
        assert max(found.values()) < 1e-5
        given.leaves[1].grad[9] += 1  # one row of many
        assert cases.errors(case, given, dense(*given.leaves).detach())["gradients"] > 0.1
        given.leaves[2].grad = None  # the scale's
        assert cases.errors(case, given, dense(*given.leaves).detach())["gradients"] >= 1


def test_bare_products_are_those_of_the_scores_and_their_adjoints() -> None:
    given = cases.problem(CASE)
    for kind, count in (("CLIP", 4), ("SigLIP", 3)):
        act = peers.products(replace(CASE, kind=kind), given, block=8, most=32)
        assert linear_race.gemms(act)[1] == count * 32 / 8


def test_the_order_is_reversed_every_round_and_rounds_may_differ() -> None:
    order: list[str] = []
    runners = {
        name: race.Runner(lambda name=name: order.append(name), 1, rounds) for name, rounds in (("a", 3), ("b", 1), ("c", 2))
    }
    taken = race.race(runners, {name: {} for name in runners}, "cpu")
    assert order == [*"cba", *"ac", *"a"]
    assert {name: len(times) for name, times in taken.items()} == {"a": 3, "b": 1, "c": 2}


def test_short_runs_are_repeated_and_long_ones_are_few() -> None:
    effort = race.Effort(rounds=9, seconds=12)
    assert (race.Runner.of(print, 1e-3, effort).runs, race.Runner.of(print, 1e-3, effort).rounds) == (50, 9)
    assert (race.Runner.of(print, 2.0, effort).runs, race.Runner.of(print, 2.0, effort).rounds) == (1, 6)
    assert race.Runner.of(print, 5.0, effort).rounds == 3
    assert race.Runner.of(print, 30.0, effort).rounds == 2
    assert race.ratio([2.0, 9.0, 4.0], [1.0, 3.0]) == 2.5
    assert race.ratio([2.0, 9.0, 4.0], [8.0]) == 0.5


def test_nothing_begins_after_the_total() -> None:
    entries = race.run(CASE, replace(QUICK, total=-1.0), FAKES[:1])["contenders"]
    assert entries["right"] == {"skipped": "no time left"}


def test_bars_read_ratios_and_memory() -> None:
    bytes_of = {"memory": {"workspace": 512 * 2**20}}
    entries = {"losskit": {"memory": {"workspace": 4 * 2**20}, "ratio_to": {"peer": 0.01}}, "peer": bytes_of}
    assert bars.memory_of("peer")(entries) == 512
    assert bars.memory_of("losskit")(entries) == 4
    assert bars.memory_ratio("peer")(entries) == 128
    assert bars.memory_ratio("nobody")(entries) is None
    assert bars.memory_ratio("peer")({"losskit": {"memory": {"workspace": 0}}, "peer": bytes_of}) == 512 * 256


def test_every_bar_belongs_to_a_case_that_runs() -> None:
    names = {case.name for device in ("cpu", "cuda") for case in cases.chosen("bars", device)}
    assert {bar.case.name for bar in bars.BARS} <= names
    assert len({(bar.name, bar.case.name) for bar in bars.BARS}) == len(bars.BARS)


def test_a_child_checks_and_measures_and_its_death_is_told() -> None:
    case = cases.Case("CLIP", 1024, 16)
    found = child.in_child(case, next(c for c in peers.CONTENDERS["CLIP"] if c.name == peers.DENSE), 300)
    assert found["error"]["gradients"] < 1e-4
    assert found["seconds"] > 0
    if Path("/proc/self/status").exists():
        scores = 1024 * 1024 * 4
        assert 2 * scores < found["memory"]["workspace"] < 12 * scores
    assert child.in_child(case, FAKES[0], 300) == {"failed": 'exit 1: no contender is called "right"'}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_no_device_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert embeddings.main(["--device", "cuda"]) is None
    assert "not run" in capsys.readouterr().out


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_pair_losses_are_measured_on_cuda(tmp_path: Path) -> None:
    given = ["--device", "cuda", "--shapes", "small", "--rounds", "2", "--out", str(tmp_path / "embeddings.json")]
    record = embeddings.main(given)
    assert record is not None
    for case in record["cases"]:
        ours = case["contenders"]["losskit"]
        assert ours["error"]["gradients"] < 3e-2
        assert ours["memory"]["workspace"] >= 0
