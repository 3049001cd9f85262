"""losskit show D101: a finding in the terminal."""

from __future__ import annotations

import json

import pytest

from losskit.cli import main
from losskit.doctor.finding import rules


@pytest.mark.parametrize("code", ["D101", "d403", "D901"])
def test_show_prints_a_finding(code: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", code]) == 0
    printed = capsys.readouterr().out
    for head in ("Cause", "Rule", "Silent when", "Fix", "Confirm", "Reference", "Example"):
        assert head in printed
    assert main(["show", code, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    rule = rules()[code.upper()]
    assert (found["code"], found["severity"], found["summary"]) == (rule.code, rule.severity, rule.summary)


def test_a_code_that_does_not_exist_names_its_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "D199"]) == 2
    assert "D101" in capsys.readouterr().err


# ------------------------------------------------------------------ the guide
