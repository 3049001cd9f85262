"""Tables and lines of makes that are met: decimal commas, gaps of NUL, TensorBoard's download, fastai, DCGAN, bare returns."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from doctor_logs_written import only, problem

from losskit.doctor import diagnose
from losskit.doctor.after.logs import find_runs
from losskit.doctor.evidence.run import Run

N = 60


def fall(step: int) -> float:
    return round(2 * math.exp(-step / 20), 4)


FALL = [fall(i) for i in range(N)]


def written(path: Path, text: str | bytes) -> Run:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return only(path)


def losses(run: Run) -> list[float]:
    loss = run.main("train_loss")
    return [] if loss is None else loss.values.tolist()


TABLES = {
    "a Mac's line ends": "\r".join(["step,loss", *(f"{i},{fall(i)}" for i in range(N))]),
    "decimal commas": "\n".join(["step;loss", *(f"{i};{str(fall(i)).replace('.', ',')}" for i in range(N))]),
    "TensorBoard": "\n".join(["Wall time,Step,Value", *(f"{1.7e9 + i},{i},{fall(i)}" for i in range(N))]),
    "train and val": "\n".join(["epoch,train,val", *(f"{i},{fall(i)},{fall(i) + 0.1}" for i in range(N))]),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_other_makes_are_read(tmp_path: Path, name: str) -> None:
    run = written(tmp_path / "run-tag-Loss_train.csv", TABLES[name])
    assert losses(run) == FALL
    assert run.series[0].steps.tolist() == list(range(N))


def test_what_tensorboard_calls_value_is_what_its_file_is_called(tmp_path: Path) -> None:
    for tag in ("Loss_train", "Accuracy"):
        (tmp_path / f"run-.-tag-{tag}.csv").write_text(TABLES["TensorBoard"])
    [source] = find_runs(tmp_path)
    assert [series.name for series in only(source.path).series] == ["Loss_train"]


def test_thousands_are_not_taken_for_decimals(tmp_path: Path) -> None:
    run = written(tmp_path / "x.csv", "\n".join(["step;loss;tokens", *(f"{i};{fall(i)};1,{100 + i}" for i in range(N))]))
    assert losses(run) == FALL


def test_train_and_val_that_rise_are_no_losses(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text(
        "\n".join(["epoch,train,val", *(f"{i},{1 - fall(i) / 2},{1 - fall(i) / 2}" for i in range(N))])
    )
    assert "no loss among 3 curves" in problem(tmp_path / "x.csv")


LINES = {
    "train and val": [f"epoch {i}: train {fall(i)} val {fall(i) + 0.1:.4f}" for i in range(N)],
    "a unit": [f"step {i} loss={fall(i)}nats" for i in range(N)],
    "fastai": ["epoch     train_loss  valid_loss  time    ", *(f"{i}         {fall(i):.6f}  0.500000  00:12" for i in range(N))],
    "a slash": [f"step {i} loss/train={fall(i)}" for i in range(N)],
    "DCGAN": [f"[{i // 20}/3][{i % 20}/20]\tLoss_D: {fall(i)}\tD(x): 0.8\tD(G(z)): 0.2 / 0.1" for i in range(N)],
}


@pytest.mark.parametrize("name", LINES)
def test_lines_of_other_makes_are_read(tmp_path: Path, name: str) -> None:
    run = written(tmp_path / "x.log", "\n".join(LINES[name]))
    assert losses(run) == FALL
    assert run.series[0].steps.tolist() == list(range(N))


@pytest.mark.parametrize("line", ["step {} loss 2,3642 lr 0,001", "step {} loss 12,345.6"])
def test_a_number_with_a_comma_in_it_is_not_cut_there(tmp_path: Path, line: str) -> None:
    (tmp_path / "x.log").write_text("\n".join(line.format(i) for i in range(N)))
    assert problem(tmp_path / "x.log") == "no numbers could be read as stdout"


@pytest.mark.parametrize("suffix", ["csv", "log", "jsonl"])
def test_a_gap_that_a_crash_left_costs_nothing_but_itself(tmp_path: Path, suffix: str) -> None:
    lines = {
        "csv": ["step,loss", *(f"{i},{fall(i)}" for i in range(N))],
        "log": [f"step {i} loss {fall(i)}" for i in range(N)],
        "jsonl": [json.dumps({"step": i, "loss": fall(i)}) for i in range(N)],
    }[suffix]
    run = written(tmp_path / f"x.{suffix}", "\n".join(lines).encode() + b"\0" * 4096)
    assert losses(run) == FALL
    assert run.reading.skipped == 1


def test_what_is_nothing_but_nul_is_no_log(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\0" * 1000)
    assert "binary" in problem(tmp_path / "x.csv")


@pytest.mark.parametrize("line", ['{{"step": {0}, "loss/train": 2.5}}\n', "step {0} loss/train=2.5\n"])
def test_a_slash_in_the_name_of_the_loss_hides_no_log_in_a_folder(tmp_path: Path, line: str) -> None:
    (tmp_path / "train.log").write_text("".join(line.format(i) for i in range(N)))
    assert [source.path.name for source in find_runs(tmp_path)] == ["train.log"]


def test_the_doctors_own_report_is_no_run(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("\n".join(["step,loss", *(f"{i},{fall(i)}" for i in range(N))]))
    diagnose(tmp_path).to_json(tmp_path / "report.json")
    assert [source.path.name for source in find_runs(tmp_path)] == ["log.csv"]
    assert problem(tmp_path / "report.json") == "a report of the doctor, not a log"


def test_the_bonus_for_entropy_is_not_the_loss(tmp_path: Path) -> None:
    run = written(tmp_path / "x.csv", "\n".join(["step,entropy_loss,cross_entropy", *(f"{i},1,{fall(i)}" for i in range(N))]))
    assert [series.name for series in run.of("train_loss")] == ["cross_entropy"]
