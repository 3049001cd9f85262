"""The table of claims is read from the tests, and says where it is not true."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    """tools/claims.py, under a name of its own: the laws have a claims.py too."""
    spec = importlib.util.spec_from_file_location("claims_tool", ROOT / "tools" / "claims.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    before = list(sys.path)
    spec.loader.exec_module(module)
    sys.path[:] = before
    return module


@pytest.fixture
def small(tool: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(tool, "CLAIMS", {"R1": "one", "R2": "two"})
    monkeypatch.setattr(tool, "NOTES", {})
    return tool


def written(folder: Path, code: str) -> Path:
    tests = folder / "tests"
    tests.mkdir()
    (tests / "test_some.py").write_text(code)
    return tests


CODE = """
import pytest

@pytest.mark.claim("R1", "R2")
@pytest.mark.parametrize("x", [1, 2])
def test_both_are_so(x): ...

@pytest.mark.claim("R2")
def test_the_second_is_so(): ...

@pytest.mark.slow
def test_nothing_is_claimed(): ...
"""
FIRST, SECOND = "tests/test_some.py::test_both_are_so", "tests/test_some.py::test_the_second_is_so"
RAN: dict[str, Any] = {
    "date": "2026-01-02",
    "versions": {"torch": "2.13"},
    "tests": {FIRST: {"passed": 2}, SECOND: {"passed": 1}},
}


def test_marks_are_read_from_the_sources(tool: ModuleType, tmp_path: Path) -> None:
    assert tool.marked(written(tmp_path, CODE)) == {"R1": [FIRST], "R2": [FIRST, SECOND]}


def test_a_row_has_the_claim_its_tests_as_sentences_and_what_came_of_them(small: ModuleType, tmp_path: Path) -> None:
    page = small.page(small.marked(written(tmp_path, CODE)), RAN)
    assert "| R1 | one | both are so (`test_some.py`) | pass: 2 cases |" in page
    assert "| R2 | two | both are so (`test_some.py`)<br>the second is so (`test_some.py`) | pass: 3 cases |" in page
    assert "Run on 2026-01-02: torch 2.13." in page


def test_what_failed_was_skipped_or_never_ran_is_no_pass(small: ModuleType) -> None:
    assert small.outcome([FIRST], {FIRST: {"passed": 1, "failed": 1}}) == "**fails**: 1 of 2 cases"
    assert small.outcome([FIRST], {FIRST: {"passed": 1, "skipped": 3}}) == "pass: 1 case, 3 skipped"
    assert small.outcome([FIRST, SECOND], {FIRST: {"passed": 1}}) == "not run yet"
    assert small.outcome([], {}) == "no test yet"


def test_a_true_table_has_no_problem(small: ModuleType, tmp_path: Path) -> None:
    tests = small.marked(written(tmp_path, CODE))
    assert small.problems(tests, RAN, small.page(tests, RAN)) == []


@pytest.mark.parametrize(
    ("code", "ran", "said"),
    [
        (CODE.replace('"R1", ', ""), RAN, "R1 has no test: one"),
        (CODE.replace('"R1", ', '"R1", "R3", '), RAN, f"R3 is no claim, but {FIRST} carries it"),
        (CODE.replace("both_are_so", "both_are"), RAN, f"{FIRST} is in the results and not among the tests"),
        (CODE, {**RAN, "tests": {FIRST: {"passed": 2}}}, f"{SECOND} has not been run: python tools/claims.py --run"),
        (CODE, {**RAN, "tests": {**RAN["tests"], SECOND: {"failed": 1}}}, f"{SECOND} did not pass"),
        (CODE, {**RAN, "tests": {**RAN["tests"], SECOND: {"skipped": 1}}}, f"{SECOND} did not pass"),
    ],
)
def test_each_way_to_be_untrue_is_said(small: ModuleType, tmp_path: Path, code: str, ran: Any, said: str) -> None:
    tests = small.marked(written(tmp_path, code))
    assert said in small.problems(tests, ran, small.page(tests, ran))


def test_an_old_page_is_said(small: ModuleType, tmp_path: Path) -> None:
    tests = small.marked(written(tmp_path, CODE))
    assert small.problems(tests, RAN, small.page(tests, RAN) + "x") == [
        "docs/explanation/claims.md is old: python tools/claims.py"
    ]


def test_outcomes_are_counted_over_the_parameters_of_a_test(tool: ModuleType) -> None:
    class Report:
        def __init__(self, when: str, outcome: str, case: str) -> None:
            self.nodeid, self.when, self.outcome = f"{FIRST}[{case}]", when, outcome

    seen = tool.Outcomes()
    for report in (
        *(Report(when, "passed", "a") for when in ("setup", "call", "teardown")),
        Report("setup", "skipped", "b"),
        Report("call", "failed", "c"),
        Report("setup", "failed", "d"),
    ):
        seen.pytest_runtest_logreport(report)
    assert seen.counts[FIRST] == {"passed": 1, "skipped": 1, "failed": 2}


def test_every_claim_is_held_by_a_test_that_passed_and_the_table_says_so(tool: ModuleType) -> None:
    assert set(tool.CLAIMS) == {f"R{n}" for n in range(1, 40)}
    tests = tool.marked(ROOT / "tests")
    assert tool.problems(tests, tool.results(), tool.PAGE.read_text() if tool.PAGE.is_file() else "") == []
