"""verify: it passes here, it fails when a number is wrong, and the README's tables are what it finds."""

from __future__ import annotations

import json
import math
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from losskit.cli import main
from losskit.verify import figures, parity
from losskit.verify import main as verify
from losskit.verify.claim import Claim, Finding, NotRun, answer, text
from losskit.verify.figure_numbers import FORMULAS
from losskit.verify.main import findings, run_verify
from losskit.verify.summary import summary

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))


GROUP = Claim("group", "two and two", 4.0, lambda: 5.0)
WRONG, RIGHT = Finding(GROUP, 5.0, None), Finding(GROUP, 4.0, 5.0)
TIE, ABSENT = Finding(GROUP, 4.0, 4.0), Finding(GROUP, NotRun("needs extra demo"), None)


def told(found: list[Finding], monkeypatch: pytest.MonkeyPatch, **options: Any) -> int:
    monkeypatch.setattr(verify, "findings", lambda: iter(found))
    return run_verify(**{"json": False, **options})


def test_every_quick_claim_holds() -> None:
    wrong = [f"{f.claim.about}: {text(f.ours)} is not {text(f.claim.truth)}" for f in findings(pages=False) if not f.passed]
    assert not wrong


@pytest.mark.slow
def test_the_whole_command_passes_in_a_folder_without_documents(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "losskit", "verify", "--json", "--badge", "verify.svg"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    document = json.loads(done.stdout)
    assert document["failed"] == 0
    assert document["tied"] > 10
    assert {one["group"] for one in document["claims"]} > {"examples of the documents", "examples of the docstrings"}
    assert f"{document['passed']} of {document['passed']}" in (tmp_path / "verify.svg").read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["verify.svg"]


def test_a_wrong_number_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert told([WRONG], monkeypatch) == 1
    assert "0 of 1 passed (0 of them ties with torch), 1 failed, 0 not run" in capsys.readouterr().out
    assert told([WRONG], monkeypatch, json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["failed"], document["claims"][0]["losskit"]) == (1, 1, 5.0)


def test_a_tie_is_told_from_a_win_and_what_was_not_run_counts_as_neither(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert [f.outcome for f in (RIGHT, TIE, WRONG, ABSENT)] == ["passed", "tied", "failed", "not run"]
    assert told([RIGHT, TIE, ABSENT], monkeypatch) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if "two and two" in line] == ["pass", "tie", "-", "not"]  # and again at the end
    assert "      truth 4, losskit needs extra demo" in lines
    assert lines[-1].startswith("losskit verify: 2 of 2 passed (1 of them ties with torch), 0 failed, 1 not run; losskit ")
    assert f"torch {torch.__version__}, Python {platform.python_version()}; " in lines[-1]


def test_equal_to_torch_is_a_tie_though_no_number_of_torch_stands_beside() -> None:
    assert {Finding(c, answer(c.ours), c.torch and answer(c.torch)).outcome for c in parity.claims()} == {"tied"}


def test_the_sums_of_the_json_are_those_of_its_claims(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told([RIGHT, TIE, TIE, WRONG, ABSENT], monkeypatch, json=True) == 1
    document = json.loads(capsys.readouterr().out)
    outcomes = [one["outcome"] for one in document["claims"]]
    assert document["passed"] == sum(one["passed"] for one in document["claims"]) == 3
    assert document["tied"] == sum(one["tie"] for one in document["claims"]) == outcomes.count("tied") == 2
    assert (document["failed"], document["not_run"]) == (outcomes.count("failed"), outcomes.count("not run")) == (1, 1)
    assert {"losskit", "torch", "python", "machine", "cores"} <= document["on"].keys()


def test_the_json_of_numbers_that_are_not_finite_can_be_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told([Finding(GROUP, math.nan, -math.inf)], monkeypatch, json=True) == 1

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    (claim,) = json.loads(capsys.readouterr().out, parse_constant=refuse)["claims"]
    assert (claim["losskit"], claim["torch"]) == ("nan", "-inf")


@pytest.mark.parametrize(
    ("findings", "said", "colour"),
    [
        ([RIGHT, TIE], "2 of 2", "#116329"),
        ([RIGHT, WRONG, TIE], "2 of 3", "#a40e26"),
        ([RIGHT, ABSENT], "1 of 1, 1 not run", "#116329"),
        ([], "0 of 0", "#a40e26"),
    ],
)
def test_the_badge_says_what_the_json_says_and_loads_nothing(
    findings: list[Finding], said: str, colour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    told(findings, monkeypatch, json=True, badge=tmp_path / "b.svg")
    document, svg = json.loads(capsys.readouterr().out), (tmp_path / "b.svg").read_text()
    root = ElementTree.fromstring(svg)
    words = [element.text for element in root.iter("{http://www.w3.org/2000/svg}text")]
    assert words == ["losskit verify", said]
    assert said.startswith(f"{document['passed']} of {document['passed'] + document['failed']}")
    assert colour in svg
    assert root.attrib["aria-label"] == f"losskit verify: {said}"
    assert not re.search(r"href|url\((?!#)|@import", svg)
    assert all(contrast(fill, "#ffffff") >= 7 for fill in re.findall(r'fill="(#[0-9a-f]{6})"', svg))


def contrast(one: str, other: str) -> float:
    """WCAG's ratio of two colours."""

    def light(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_badge_that_cannot_be_written_is_said_before_a_minute_of_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "none" / "b.svg"):
        assert main(["verify", "--badge", str(path)]) == 2
        assert '"--badge" is' in capsys.readouterr().err


def test_a_figure_that_prints_another_number_is_named() -> None:
    figure = next(f for f in figures.discover() if f.name == "d02_cross_entropy")
    assert figures._off(figure.name, figure.svg()) == "26 of 26"
    changed = figure.svg().replace('data-name="loss" data-value="0.4', 'data-name="loss" data-value="0.5')
    assert figures._off(figure.name, changed).startswith("25 of 26: loss is 0.5")


def test_every_figure_has_its_formulas() -> None:
    assert {f.name for f in figures.discover()} == FORMULAS.keys()


def test_the_tolerance_is_relative_and_a_bound_is_a_bound() -> None:
    def passed(truth: float | str, ours: float | str, **options: float) -> bool:
        return Finding(Claim("", "", truth, lambda: ours, **options), ours, None).passed

    assert passed(1e-7, 1e-7 * (1 + 9e-7))
    assert not passed(1e-7, 1e-7 * (1 + 2e-6))
    assert not passed(1.0, float("nan"))
    assert passed(2.0, 1.9, at_most=True)
    assert not passed(2.0, 2.1, at_most=True)
    assert not passed("raises ShapeError", 2.5)


def test_an_exception_is_an_answer() -> None:
    assert answer(lambda: 1 / 0) == "raises ZeroDivisionError"


def test_the_tables_of_the_readme_are_what_verify_finds() -> None:
    import readme

    assert readme.rewritten(readme.README.read_text()) == readme.README.read_text(), "run: python tools/readme.py"


def test_no_number_is_cut_at_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    claim = Claim("contract", "a claim " * 12, "raises ShapeError", lambda: "raises ShapeError", lambda: 1.12535e-07)
    found = [Finding(claim, "raises ShapeError", 1.12535e-07)]
    verify._print(found, summary(found))
    assert "truth raises ShapeError, losskit raises ShapeError, torch 1.12535e-07" in capsys.readouterr().out
