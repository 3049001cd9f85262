"""The command line: what a person and a program read, and how it ends."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

import pytest

import losskit
from losskit.cli import main
from losskit.explore.curves import curve
from losskit.explore.terminal import plain, plot


def run(arguments: Sequence[str], columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = {"COLUMNS": str(columns), "PATH": "/usr/bin:/bin", "PYTHONWARNINGS": "error", "LANG": "C.UTF-8"}
    command = [sys.executable, "-m", "losskit", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_list_names_every_loss_by_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == set(losskit.CATALOGUE)
    assert main(["list", "--task", "regression", "--json"]) == 0
    assert {row["task"] for row in json.loads(capsys.readouterr().out)} == {"regression"}


@pytest.mark.parametrize("name", sorted(losskit.CATALOGUE))
def test_show_prints_every_card_and_its_picture(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", name]) == 0
    printed = capsys.readouterr().out
    for part in (name, "Formula", "Gradient", "Use when", "Avoid when", "Reference", "import losskit", "gradient"):
        assert part in printed
    assert "\\" not in printed.split("Use when")[0], "LaTeX is left in the formula"
    assert main(["show", name, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == name
    assert len(card["curve"]["x"]) == len(card["curve"]["gradient"])


def test_a_misspelt_name_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "focal_los"]) == 2
    assert "did you mean focal_loss" in capsys.readouterr().err
    assert main(["list", "--task", "cooking"]) == 2
    assert "'cooking'" in capsys.readouterr().err
    assert main(["demo", "no-such-demo"]) == 2
    assert "no-such-demo" in capsys.readouterr().err


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    for arguments in (["list"], ["show", "focal_loss"]):
        done = run(arguments, columns)
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= columns


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m losskit list | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_curve_is_the_loss_and_its_own_gradient() -> None:
    drawn = curve(losskit.CATALOGUE["mse_loss"], low=-1, high=1, points=3)
    assert drawn.value.tolist() == [1, 0, 1]
    assert drawn.gradient.tolist() == [-2, 0, 2]
    assert all(len(line) <= 50 for line in plot(drawn, width=50).splitlines())


def test_formulas_lose_their_latex() -> None:
    assert plain(r"\ell = -\frac{1}{2} \hat y^2, \sum_{j \ne y} e^{z_j}") == "ℓ = -((1)/(2)) y\u0302², Σ_(j ≠ y) e^(z_j)"
