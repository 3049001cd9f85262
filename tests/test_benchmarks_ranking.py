"""The benchmark of the losses of lists races who is right, and says who is not; how fast they are is never asserted."""

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
ranking, bars, cases, peers, race, linear_peers = (
    importlib.import_module(name)
    for name in ("ranking", "ranking_bars", "ranking_cases", "ranking_peers", "embeddings_race", "linear_peers")
)
CASE = cases.Case("pairwise hinge", 1, 40, "5 grades")
QUICK = race.Effort(rounds=2, seconds=0.01, children=False)
HINGE = cases.KINDS["pairwise hinge"].form


def twice(scores: Tensor, relevance: Tensor) -> Tensor:
    return 2 * HINGE(scores, relevance)


def value_only(scores: Tensor, relevance: Tensor) -> Tensor:
    return HINGE(scores.detach(), relevance) + 0 * scores.sum()


def broken(scores: Tensor, relevance: Tensor) -> Tensor:
    raise RuntimeError("out of memory\nand a second line")


FAKES = [
    peers.Entrant("right", lambda: HINGE),
    peers.Entrant("half", lambda: HINGE, part=2),
    peers.Entrant("slow", lambda: HINGE, once=True),
    peers.Entrant("twice", lambda: twice),
    peers.Entrant("value only", lambda: value_only),
    peers.Entrant("broken", lambda: broken),
    peers.Entrant("uninstalled", lambda: HINGE, module="no_such_module_at_all"),
]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """The files of a small run: JSON and table."""
    folder = tmp_path_factory.mktemp("results")
    out, table = folder / "ranking.json", folder / "docs" / "ranking.md"
    given = ["--shapes", "small", "--rounds", "2", "--seconds", "0.01", "--no-children", "--out", str(out), "--table", str(table)]
    ranking.main(given)
    return json.loads(out.read_text()), table.read_text()


@pytest.fixture(scope="module")
def faked() -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = ranking.run(CASE, QUICK, FAKES)["contenders"]
    return entries


def test_the_file_says_machine_versions_seeds_and_every_kind(written: tuple[dict[str, Any], str]) -> None:
    record = written[0]
    assert record["machine"]["threads"] == torch.get_num_threads()
    assert record["machine"]["omp_wait_policy"]
    assert record["versions"]["losskit"] == losskit.__version__
    assert set(record["versions"]) == {"python", "losskit", "torch", "numpy", "scikit-learn"}
    assert record["seeds"] == {"tensors": cases.SEED, "items_of_checks": cases.CHECKED}
    assert {case["kind"] for case in record["cases"]} == set(cases.KINDS)
    assert {bar["met"] for bar in record["bars"]} == {"not run"}, "small shapes are not the shapes of the bars"


def test_every_contender_is_the_loss_or_metric_of_float64(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        for name, entry in case["contenders"].items():
            assert "failed" not in entry, (case["name"], name, entry)
            assert "skipped" not in entry, (case["name"], name, entry)
            if cases.KINDS[case["kind"]].metric:
                assert entry["error"]["loss"] < 1e-12, (case["name"], name)
                continue
            assert entry["error"]["loss"] < 1e-6, (case["name"], name)
            assert entry["error"]["gradients"] < 1e-5, (case["name"], name)
            assert entry["error"]["in float64"] < 1e-12, (case["name"], name)


def test_every_time_of_every_round_is_kept_beside_the_ratio_to_all_others(written: tuple[dict[str, Any], str]) -> None:
    for case in written[0]["cases"]:
        timed = {name: entry for name, entry in case["contenders"].items() if "median_ms" in entry}
        assert set(timed) == set(case["contenders"])
        for name, entry in timed.items():
            assert len(entry["all_ms"]) == entry["rounds"]
            assert set(entry["ratio_to"]) == set(timed) - {name}


def test_the_table_has_every_case_and_contender(written: tuple[dict[str, Any], str]) -> None:
    record, table = written
    assert bars.NOTE in table
    for case in record["cases"]:
        assert f"**{case['name']}**" in table
        assert all(f"| {name} |" in table for name in case["contenders"])
    assert table.count("| not run |") == len(record["bars"])
    assert all(line.endswith("|") for line in table.splitlines() if line.startswith("|"))


def test_who_is_wrong_fails_or_is_absent_does_not_race_and_stops_nobody(faked: dict[str, dict[str, Any]]) -> None:
    assert {name for name, entry in faked.items() if "median_ms" in entry} == {"right", "half", "slow"}
    assert faked["twice"]["error"]["loss"] == pytest.approx(1, abs=1e-5)
    assert faked["value only"]["error"]["loss"] < 1e-6
    assert faked["value only"]["error"]["gradients"] == pytest.approx(1, abs=1e-5)
    for name in ("twice", "value only"):
        assert faked[name]["failed"].startswith("not the loss of float64")
    assert faked["broken"] == {"failed": "RuntimeError: out of memory"}
    assert faked["uninstalled"] == {"skipped": "not installed: no_such_module_at_all"}
    assert faked["slow"]["all_ms"] == [pytest.approx(faked["slow"]["seconds"] * 1000, rel=1e-3, abs=1e-3)]


def test_a_part_of_the_items_is_a_list_of_its_own() -> None:
    assert ranking.its(CASE, FAKES[1]) == replace(CASE, items=20)
    assert ranking.its(CASE, FAKES[0]) == CASE


@pytest.mark.parametrize("kind", [kind for kind, its in cases.KINDS.items() if its.each is not None])
def test_gradients_of_some_items_are_those_of_all_pairs(kind: str) -> None:
    case = cases.Case(kind, 1, 60, "1 % positive" if kind.startswith("AUC") else "5 grades")
    given = cases.problem(case, torch.float64)
    cases.step(cases.KINDS[kind].form, given)()
    assert cases.of_some_items(case, given) < 1e-12
    given.leaves[0].grad[0] = 0  # one item of sixty, relevant
    assert cases.of_some_items(case, given) > 1e-2
    given.leaves[0].grad = None
    assert cases.of_some_items(case, given) == 1


def test_a_long_list_is_checked_at_its_own_length_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "CHECKED", 20)
    given = cases.problem(CASE)
    cases.step(HINGE, given)()
    assert cases.errors(CASE, HINGE, given)["gradients"] < 1e-6
    given.leaves[0].grad[0] *= 2
    assert cases.errors(CASE, HINGE, given)["gradients"] > 1e-2


def test_lists_have_the_grades_that_a_case_names() -> None:
    shares = {"5 grades": 0.2, "10 % positive": 0.1, "1 % positive": 0.01}
    for grades, share in shares.items():
        (relevance,) = cases.problem(cases.Case("AUM", 1, 100_000, grades)).others
        assert float((relevance == relevance.max()).double().mean()) == pytest.approx(share, rel=0.1)
    (relevance,) = cases.problem(cases.Case("ListMLE", 3, 50, "all different")).others
    assert torch.equal(relevance.sort(-1).values, torch.arange(50.0).expand(3, 50))


def test_what_does_not_fit_is_not_tried() -> None:
    dense = next(c for c in cases.KINDS["pairwise hinge"].contenders if c.name == cases.DENSE)
    if Path("/proc/meminfo").exists():
        with pytest.raises(linear_peers.AbsentError, match=r"needs 22351\.7 GiB"):
            dense.loss(cases.HINGES[0])


def test_bars_read_seconds_errors_and_ratios() -> None:
    entries = {
        "losskit": {"median_ms": 1500.0, "error": {"loss": 1e-14, "in float64": 2e-16}},
        "scikit-learn": {"ratio_to": {"losskit": 6.0}},
    }
    assert bars.seconds(entries) == 1.5
    assert bars.seconds({}) is None
    assert bars.error("in float64")(entries) == 2e-16
    assert bars.error("loss", "nobody")(entries) is None


def test_every_bar_belongs_to_a_case_that_runs() -> None:
    names = [case.name for case in cases.chosen("bars")]
    assert len(set(names)) == len(names)
    assert {bar.case.name for bar in bars.BARS} <= set(names)
    assert len({(bar.name, bar.case.name) for bar in bars.BARS}) == len(bars.BARS)
    assert [case.kind for case in cases.chosen("bars", ["AUM"])] == ["AUM"]


def test_a_child_checks_and_measures_and_its_death_is_told() -> None:
    case = replace(CASE, items=2000)
    dense = next(c for c in cases.KINDS[CASE.kind].contenders if c.name == cases.DENSE)
    found = ranking.in_child(case, dense, 300)
    assert found["error"]["gradients"] < 1e-5
    assert found["seconds"] > 0
    if Path("/proc/self/status").exists():
        matrix = 2000 * 2000 * 4
        assert matrix < found["memory"]["workspace"] < 10 * matrix
    assert ranking.in_child(case, FAKES[0], 300) == {"failed": 'exit 1: no contender is called "right"'}
