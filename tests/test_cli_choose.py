"""losskit choose: what is printed and written, how it ends, and what it leaves behind when it is interrupted."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import losskit
from losskit.choosing import choose as choosing
from losskit.choosing import prove as proving
from losskit.choosing.advice import Proof
from losskit.choosing.prove import run
from losskit.choosing.wants import WANTS
from losskit.cli import main
from wanted import WORDS

GUIDE = Path(__file__).parent.parent / "docs" / "guide" / "choose.md"


def csv(path: Path, rows: int = 60) -> Path:
    """A line with a tenth of its targets times 10."""
    draw = torch.Generator().manual_seed(0)
    x, noise = torch.randn(rows, 2, generator=draw), torch.randn(rows, generator=draw)
    wrong = torch.arange(rows) % 10 == 3
    y = torch.where(wrong, 10, 1) * (100 + 10 * x.sum(1) + noise)
    lines = [f"{a:.6f},{b:.6f},{c:.4f}" for (a, b), c in zip(x.tolist(), y.tolist(), strict=True)]
    path.write_text("\n".join(["size,age,price", *lines]) + "\n")
    return path


def command(arguments: Sequence[str], columns: int = 80) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": str(columns), "PYTHONWARNINGS": "error", "LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "losskit", "choose", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, check=False, timeout=120)


@pytest.mark.parametrize(
    ("task", "first"),
    [("binary", "binary_cross_entropy_with_logits"), ("multiclass", "cross_entropy"), ("regression", "mse_loss"),
     ("multilabel", "binary_cross_entropy_with_logits"), ("embedding", "info_nce_loss")],
)  # fmt: skip
def test_a_task_alone_has_its_default(task: str, first: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", task]) == 0
    assert capsys.readouterr().out.startswith(f"{task}: take {first}\n")


def test_a_table_is_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(csv(tmp_path / "a.csv")), "--target", "price", "--task", "regression", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["schema"] == "losskit.choose/1"
    assert found["first"]["loss"] == "l1_loss", "a tenth of the targets slipped"
    assert found["proof"] is None


def test_inputs_and_several_targets_are_named_with_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen: dict[str, Any] = {}

    def heard(data: Any, **given: Any) -> Any:
        seen.update(given, data=data)
        return real(None, target=None, task="binary", group=None, inputs=None)

    real = choosing.advise
    monkeypatch.setattr(choosing, "advise", heard)
    path = tmp_path / "a.csv"
    assert main(["choose", str(path), "--target", "a, b", "--inputs", "x", "--group", "q"]) == 0
    assert seen == {
        "data": path,
        "target": ["a", "b"],
        "inputs": ["x"],
        "group": "q",
        "task": None,
        "want": None,
        "num_classes": None,
    }


def test_a_proof_is_printed_and_its_page_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, page = str(csv(tmp_path / "a.csv")), tmp_path / "a.html"
    code = main(["choose", path, "--target", "price", "--task", "regression", "--prove", "--html", str(page)])
    printed = capsys.readouterr()
    assert code == int("Proof: the training disagrees" in printed.out)
    assert "MAE" in printed.out
    assert "l1_loss" in page.read_text()
    assert "a.csv, 60 rows, 20" in page.read_text(), "the page says of which file it is"
    assert printed.err.splitlines()[-1] == f"report: {page.resolve()}"


@pytest.mark.parametrize(("word", "code"), [("agrees", 0), ("undecided", 0), ("disagrees", 1)])
def test_only_a_proof_that_disagrees_fails(word: str, code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(proving, "prove", lambda *_, **__: Proof({}, (), (), f"{word}: so it is", "", 9, 1.0))
    assert main(["choose", str(csv(tmp_path / "a.csv")), "--target", "price", "--prove"]) == code


def test_data_are_looked_at_once_for_a_proof(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[Any] = []
    seeds: list[int] = []
    real = choosing.read_columns
    monkeypatch.setattr(choosing, "read_columns", lambda data, **given: calls.append(data) or real(data, **given))
    proof = Proof({}, (), (), "undecided: so it is", "", 9, 1.0)
    monkeypatch.setattr(proving, "prove", lambda *_, seed, **__: seeds.append(seed) or proof)
    assert main(["choose", str(csv(tmp_path / "a.csv")), "--target", "price", "--prove", "--seed", "3"]) == 0
    assert len(calls) == 1
    assert seeds == [3]


def test_nothing_to_read_or_to_learn_is_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(tmp_path / "none.csv"), "--target", "y"]) == 3
    (tmp_path / "same.csv").write_text("x,y\n" + "1,3\n2,3\n" * 20)
    assert main(["choose", str(tmp_path / "same.csv"), "--target", "y"]) == 3
    (tmp_path / "empty.csv").write_text("")
    assert main(["choose", str(tmp_path / "empty.csv"), "--target", "y"]) == 3
    assert "Traceback" not in capsys.readouterr().err


def test_wrong_use_is_2_and_says_what_was_meant(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", str(csv(tmp_path / "a.csv")), "--target", "prise"]) == 2
    assert "did you mean price?" in capsys.readouterr().err
    assert main(["choose"]) == 2
    assert "task" in capsys.readouterr().err


def test_advice_is_printed_where_there_is_nothing_to_prove_it_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "y.csv").write_text("y\n" + "".join(f"{v}\n" for v in torch.randn(50, generator=torch.Generator()).tolist()))
    assert main(["choose", str(tmp_path / "y.csv"), "--target", "y", "--prove"]) == 2
    printed = capsys.readouterr()
    assert "regression: take" in printed.out
    assert "no proof: a proof trains a small model, and there are no inputs" in printed.err


@pytest.mark.parametrize(("task", "word"), WORDS)
def test_every_word_of_a_task_is_an_option(task: str, word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", task, "--want", word, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = losskit.choose(task=task, want=word)
    assert expected.first is not None
    assert found["want"] == word
    assert found["first"]["loss"] == expected.first.loss


@pytest.mark.parametrize("task", WANTS)
def test_a_task_alone_says_in_one_line_what_can_be_wanted(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = f"  --want   what is wanted of the predictions: {', '.join(WANTS[task])}"
    assert len(line) <= 80
    assert main(["choose", "--task", task]) == 0
    assert line in capsys.readouterr().out.splitlines()
    assert not losskit.choose(task=task).questions
    assert main(["choose", "--task", task, "--want", next(iter(WANTS[task]))]) == 0
    assert "  --want" not in capsys.readouterr().out


def test_a_task_without_words_says_nothing_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", "embedding"]) == 0
    assert "--want" not in capsys.readouterr().out


def answers(printed: str) -> list[str]:
    return [line.split("  ")[2] for line in printed.splitlines() if line.startswith("    --")]


@pytest.mark.parametrize("values", [[0] * 95 + [1] * 5, [0, 0, 1, 0, 1, 2] * 20, [0.5, 1.5, 2.5, 40.5, 90.0] * 30])
def test_the_answers_that_are_printed_can_be_typed(
    values: list[float], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("y\n" + "".join(f"{v}\n" for v in values))
    line = ["choose", str(path), "--target", "y"]
    assert main(line) == 0
    found = answers(capsys.readouterr().out)
    assert len(found) >= 2
    for typed in found:
        assert main([*line, *shlex.split(typed)]) == 0
        assert typed not in answers(capsys.readouterr().out), "what is answered is not asked again"


def test_a_column_with_blanks_in_its_name_is_quoted_for_the_shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text("x,what it is\n" + "1.5,2\n2.5,3\n" * 9)
    assert main(["choose", str(tmp_path / "a.csv")]) == 3
    assert "--target 'what it is'  a column" in capsys.readouterr().out


def test_the_page_of_the_command_has_its_options_and_that_of_python_its_arguments(tmp_path: Path) -> None:
    path, page = tmp_path / "a.csv", tmp_path / "a.html"
    path.write_text("y\n" + "0\n" * 95 + "1\n" * 5)
    assert main(["choose", str(path), "--target", "y", "--html", str(page)]) == 0
    assert "<code>--want order</code>" in page.read_text()
    assert "<code>want=&#34;order&#34;</code>" in losskit.choose(path, target="y").html()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--task", "binary", "--want", "median"], "the task is binary: one of probabilities, order, balanced"),
        (["--task", "binary", "--want", "ordr"], "did you mean order?"),
        (["--task", "regression", "--want", "quantile=2"], "0 < Q < 1"),
        (["--task", "language", "--want", "order"], "leave it out"),
        (["--task", "regression", "--num-classes", "3"], "regression has no classes"),
        (["--task", "multiclass", "--num-classes", "1"], "at least 2"),
    ],
)
def test_a_want_or_number_that_contradicts_the_task_is_2(
    typed: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", *typed]) == 2
    assert said in capsys.readouterr().err
    path = tmp_path / "a.csv"
    path.write_text("y\n" + "cat\ndog\nowl\n" * 9)
    assert main(["choose", str(path), "--target", "y", "--want", "median"]) == 2
    assert "the data look like multiclass" in capsys.readouterr().err
    assert main(["choose", str(path), "--target", "y", "--num-classes", "2"]) == 2
    assert "has 3 classes" in capsys.readouterr().err


def test_a_number_of_classes_gives_the_level(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", "language", "--num-classes", "50257"]) == 0
    assert "10.82 at start" in capsys.readouterr().out
    assert main(["choose", "--task", "language", "--num-classes", "ten"]) == 2
    said = capsys.readouterr().err
    assert said == "losskit: \"--num-classes\" is 'ten', expected a whole number of at least 2\n"


def test_help_and_guide_have_every_word(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["choose", "--help"])
    printed = capsys.readouterr().out
    for task, words in WANTS.items():
        assert f"{task}: " in printed
        assert ", ".join(words) in printed
        for word, meaning in words.items():
            assert f"| {task} | `{word}` | {meaning} |" in GUIDE.read_text()


def test_a_pipe_has_no_colours_and_no_progress(tmp_path: Path) -> None:
    ran = command(["--task", "regression"], columns=60)
    assert ran.returncode == 0
    assert "\x1b" not in ran.stdout + ran.stderr
    assert ran.stderr == ""
    for line in ran.stdout.splitlines():
        assert len(line) <= 60 or "losskit." in line, line


def test_an_interrupted_proof_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "_trained", interrupted)
    path = csv(tmp_path / "a.csv")
    assert main(["choose", str(path), "--target", "price", "--prove", "--html", str(tmp_path / "a.html")]) == 130
    printed = capsys.readouterr()
    assert (printed.out, printed.err) == ("", "interrupted\n")
    assert [each.name for each in tmp_path.iterdir()] == ["a.csv"]


def test_the_guide_names_every_option(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["choose", "--help"])
    printed = capsys.readouterr().out
    for option in (
        "--target",
        "--group",
        "--task",
        "--inputs",
        "--want",
        "--num-classes",
        "--code",
        "--prove",
        "--seed",
        "--json",
        "--html",
    ):
        assert option in printed
        assert option in GUIDE.read_text(), option
