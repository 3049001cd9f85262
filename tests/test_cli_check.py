"""losskit check: what is printed, how it ends, what a script may make that cannot be looked at."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from losskit.cli import main

MAKE = """
import torch
from torch import nn

def make():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 10){last})
    batch = torch.randn(64, 20), torch.arange(64) % 10
    return {made}

def nothing():
    return 7

def model_class():
    return nn.Linear, torch.randn(4, 3)

def other_name():
    return dict(model=nn.Linear(3, 3), batch=torch.randn(4, 3), losss=7)

def fails():
    raise KeyError("data/")

def leaves():
    raise SystemExit(0)
"""
TUPLE = "model, batch, nn.CrossEntropyLoss(), torch.optim.AdamW(model.parameters(), lr=1e-3)"
DICT = "dict(model=model, batch=batch, loss_fn=nn.CrossEntropyLoss(), overfit=False)"


def script(folder: Path, last: str = "", made: str = TUPLE, name: str = "train.py") -> str:
    path = folder / name
    path.write_text(MAKE.format(last=last, made=made))
    return f"{path}:make"


def test_check_names_the_softmax_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", script(tmp_path, ", nn.Softmax(dim=1)", DICT)]) == 2
    printed = capsys.readouterr().out
    assert "D101" in printed
    assert f"{math.log(math.e + 9) - 1:.4f}" in printed


def test_check_of_a_healthy_model_ends_with_0_and_learns_one_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", script(tmp_path), "--json", "-", "--fail-on", "warning"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["schema"], document["exit_code"], document["cases"][0]["findings"]) == ("losskit.doctor/1", 0, [])
    assert any("by heart" in what for what in document["cases"][0]["looked_at"])


def test_check_without_learning_a_batch_says_that_it_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", script(tmp_path), "--no-overfit", "--json", "-"]) == 0
    case = json.loads(capsys.readouterr().out)["cases"][0]
    assert not any("by heart" in what for what in case["looked_at"])


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("{}/train.py", "expected FILE.py:NAME"),
        ("{}/none.py:make", "expected FILE.py:NAME"),
        ("{}/train.py:absent", "has no function absent"),
        ("{}/train.py:nothing", "returned a int, expected a dict"),
        ("{}/train.py:model_class", '"model" is the class Linear, expected a torch.nn.Module'),
        ("{}/train.py:other_name", "unexpected keyword argument 'losss'"),
        ("{}/train.py:fails", "failed: KeyError"),
        ("{}/train.py:leaves", "failed: SystemExit"),
        ("{}/broken.py:make", "failed: SyntaxError"),
        ("{}/text.txt:make", "is no Python file"),
        ("{}:make", "expected FILE.py:NAME"),
    ],
)
def test_a_script_that_makes_nothing_is_3_and_a_sentence(
    target: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script(tmp_path)
    (tmp_path / "broken.py").write_text("def make(:\n")
    (tmp_path / "text.txt").write_text("nothing")
    assert main(["check", target.format(tmp_path)]) == 3
    assert said in (printed := capsys.readouterr().err)
    assert "Traceback" not in printed


def test_an_option_that_makes_no_sense_is_2_before_the_script_is_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for budget in ("-1", "nan"):
        assert main(["check", f"{tmp_path}/train.py:make", "--budget", budget]) == 2
        assert "expected seconds" in capsys.readouterr().err
