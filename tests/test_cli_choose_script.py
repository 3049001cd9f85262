"""losskit choose --code: the script beside the advice."""

from __future__ import annotations

from pathlib import Path

import pytest

from losskit.cli import main


def houses(path: Path) -> Path:
    rows = "".join(f"{i},{i % 7},{3 * i + (i * i) % 11}\n" for i in range(100))
    path.write_text(f"size,rooms,price\n{rows}")
    return path


def test_the_script_is_written_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = houses(tmp_path / "houses.csv"), tmp_path / "train.py"
    assert main(["choose", str(data), "--target", "price", "--task", "regression", "--code", str(file)]) == 0
    printed = capsys.readouterr()
    assert "regression: take" in printed.out
    assert printed.err == f"script: {file}\n"
    compile(file.read_text(), str(file), "exec")


def test_the_advice_is_printed_where_no_script_can_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, file = houses(tmp_path / "houses.csv"), tmp_path / "train.py"
    file.write_text("mine")
    for line, why in (
        ([str(data), "--target", "price", "--task", "regression"], "is there already"),
        (["--task", "binary"], "name a file"),
    ):
        assert main(["choose", *line, "--code", str(file)]) == 2
        printed = capsys.readouterr()
        assert ": take " in printed.out
        assert why in printed.err
    assert file.read_text() == "mine"


@pytest.mark.parametrize(("name", "said"), [("", "a directory"), ("absent/train.py", "make it first")])
def test_a_place_that_cannot_be_is_said_before_the_data_are_read(
    name: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["choose", "absent.csv", "--target", "y", "--code", str(tmp_path / name)]) == 2
    assert said in capsys.readouterr().err
