"""verify: it passes here, it fails when a number is wrong, and the README's tables are what it finds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from losskit.verify import main as verify
from losskit.verify.claim import Claim, Finding, answer, text
from losskit.verify.main import findings, run_verify

sys.path.insert(0, str(Path(__file__).parent.parent / "tools"))


def test_every_quick_claim_holds() -> None:
    wrong = [f"{f.claim.about}: {text(f.ours)} is not {text(f.claim.truth)}" for f in findings() if not f.passed]
    assert not wrong


def test_a_wrong_number_fails_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = Finding(Claim("group", "two and two", 4.0, lambda: 5.0), 5.0, None)
    monkeypatch.setattr(verify, "findings", lambda: iter([wrong]))
    assert run_verify(json=False) == 1
    assert "0 passed, 1 failed" in capsys.readouterr().out
    assert run_verify(json=True) == 1
    document = json.loads(capsys.readouterr().out)
    assert (document["version"], document["failed"], document["claims"][0]["losskit"]) == (1, 1, 5.0)


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
    verify._print([Finding(claim, "raises ShapeError", 1.12535e-07)])
    assert "truth raises ShapeError, losskit raises ShapeError, torch 1.12535e-07" in capsys.readouterr().out
