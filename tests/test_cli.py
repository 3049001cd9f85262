"""The command line: what a person and a program read, and how it ends."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

import losskit
from losskit.cli import _signature, _spoken, main
from losskit.explore.curves import curve
from losskit.explore.terminal import _lighter, plain, plot


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
    for part in (name, "Formula", "Gradient", "Use when", "Avoid when", "Reference", ">>> import torch, losskit", "gradient"):
        assert part in printed
    assert "\\" not in printed.split("Use when")[0], "LaTeX is left in the formula"
    assert "((1)/" not in printed, "parentheses that group nothing"
    assert main(["show", name, "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["name"] == name
    assert len(card["curve"]["x"]) == len(card["curve"]["gradient"])
    assert card["options"].keys() | set(card["required"]) == losskit.CATALOGUE[name].options.keys()


def test_json_says_defaults_and_what_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "balanced_softmax_loss", "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["required"] == ["counts"]
    assert (card["options"]["reduction"], card["options"]["normalizer"]) == ("mean", None)


def test_a_misspelt_name_gets_a_suggestion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", "focal_los"]) == 2
    assert "did you mean focal_loss" in capsys.readouterr().err
    assert main(["list", "--task", "cooking"]) == 2
    assert "'cooking'" in capsys.readouterr().err
    assert main(["demo", "no-such-demo"]) == 2
    assert "no-such-demo" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("FOCAL-LOSS", ": did you mean focal_loss?"),
        ("FocalLoss", ": did you mean focal_loss?"),
        ("bce", ": did you mean binary_cross_entropy_with_logits?"),
        ("deltandcg", "another public name, help(losskit.DeltaNDCG) explains it; losskit show pairwise_"),
        ("average precision", "help(losskit.evaluate.average_precision) explains it"),
        ("arcface", ", but losskit show margin_softmax_loss speaks of it"),
        ("no-such-thing", "; losskit list names them all"),
        ("ce", "; losskit list names them all"),
        ("", "; losskit list names them all"),
        ("(", "; losskit list names them all"),
    ],
)
def test_an_unknown_name_is_looked_for_in_names_and_texts(asked: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", asked]) == 2
    assert f"no loss is called {asked!r}" in (printed := capsys.readouterr().err)
    assert said in printed


def test_who_says_a_word_in_the_summary_is_named_before_who_mentions_it(capsys: pytest.CaptureFixture[str]) -> None:
    def card(summary: str, text: str) -> SimpleNamespace:
        return SimpleNamespace(summary=summary, function=SimpleNamespace(__doc__=text))

    cards = {
        "mentions": card("A loss.", "As RankNet's."),
        "is": card("RankNet.", "RankNet."),
        "not": card("A loss.", "FrankNet."),
    }
    assert _spoken("ranknet", cards) == ["is", "mentions"]
    assert main(["show", "ranknet"]) == 2
    assert "pairwise_logistic_loss" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(losskit.CATALOGUE))
def test_the_example_of_show_runs_as_it_is_printed_in_a_narrow_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert main(["show", name]) == 0
    code = capsys.readouterr().out.partition("Example\n")[2].partition("\n\n")[0]
    test = doctest.DocTestParser().get_doctest(code, {}, name, name, 0)
    assert len(test.examples) > 1
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_show_says_what_holds_unless_one_says_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    def made(scores: object, target: object = None, *, prior: object, margin: float = 0.1, ties: str = "drop") -> None: ...

    expected = ["losskit.made(", "    scores, target=None, *,", "    prior,", "    margin = 0.1,", '    ties = "drop",', ")"]
    assert _signature(SimpleNamespace(name="made", function=made)).splitlines() == expected
    assert main(["show", "pairwise_logistic_loss"]) == 0
    signature = capsys.readouterr().out.partition("Signature\n")[2].partition("Formula\n")[0]
    for option, default in losskit.CATALOGUE["pairwise_logistic_loss"].options.items():
        assert f"\n      {option} = {json.dumps(default) if default is not None else None},\n" in signature


@pytest.mark.parametrize("columns", [40, 60, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    for arguments in (["list"], ["show", "focal_loss"]):
        done = run(arguments, columns)
        assert done.returncode == 0, done.stderr
        prose, _, rest = done.stdout.partition("Example\n")  # code is never broken, whatever its length
        picture = rest.partition("\n\n")[2]
        assert max(map(len, f"{prose}\n{picture}".splitlines())) <= columns


def test_a_reader_that_stops_early_is_no_error() -> None:
    command = f"{sys.executable} -m losskit list | head -n 1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_curve_is_the_loss_and_its_own_gradient() -> None:
    drawn = curve(losskit.CATALOGUE["mse_loss"], low=-1, high=1, points=3)
    assert drawn.value.tolist() == [1, 0, 1]
    assert drawn.gradient.tolist() == [-2, 0, 2]
    assert all(len(line) <= 50 for line in plot(drawn, width=50).splitlines())


@pytest.mark.parametrize(
    ("printed", "lighter"),
    [
        ("((1)/(Σ w))", "(1/(Σ w))"),
        ("((2 w_j)/(W_+))", "((2 w_j)/W_+)"),
        ("log ((p_y)/(1 - p_y))", "log (p_y/(1 - p_y))"),
        ("((e^(s_(ii)))/(Σ_j e^(s_j)))", "(e^(s_(ii))/(Σ_j e^(s_j)))"),
        ("σ(((s_j - s_i)/(τ)))", "σ((s_j - s_i)/τ)"),
        ("e^(((ν)/(2)))", "e^(ν/2)"),
        ("((x)/(|x|²))", "(x/|x|²)"),
        # these group something
        ("((a + b)/(c d))", "((a + b)/(c d))"),
        ("(2 (w - 1)) (x)", "(2 (w - 1)) (x)"),
        ("((a - 1) (b))", "((a - 1) (b))"),
        ("((σ(s))/(νπ))", "((σ(s))/(νπ))"),
        ("x_((k))", "x_((k))"),
    ],
)
def test_parentheses_that_group_nothing_are_not_shown(printed: str, lighter: str) -> None:
    assert _lighter(printed) == lighter


def test_formulas_lose_their_latex() -> None:
    assert plain(r"\ell = -\frac{1}{2} \hat y^2, \sum_{j \ne y} e^{z_j}") == "ℓ = -(1/2) y\u0302², Σ_(j ≠ y) e^(z_j)"
    assert plain(r"\frac{q - \bar q}{\sqrt{v + \epsilon}}") == "((q - q\u0304)/(√(v + ε)))"
    assert plain(r"\bar{k}, \lVert x \rVert") == "k\u0304, ‖ x ‖"
