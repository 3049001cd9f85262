"""What a hostile file does to the readers of logs: nothing."""

from __future__ import annotations

import gzip
import os
import pickle
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pytest
from doctor_logs_written import jsonl, only, problem

from losskit.doctor import diagnose
from losskit.doctor.after.logs.text import LONGEST

HOSTILE = {
    "empty.jsonl": b"",
    "empty.csv": b"",
    "blank.log": b"\n\n   \n",
    "noise.log": bytes(range(256)) * 300,
    "noise.jsonl": os.urandom(5000),
    "events.out.tfevents.1.host": b"no event file at all, but text of some length",
    "zeros.log": bytes(10_000),
    "broken.db": b"SQLite format 3\x00" + bytes(range(256)) * 8,
    "text.db": b"this is text",
    "broken.wandb": b":W&B\xe1\xbe\x00" + bytes(range(200)),
    "deep.jsonl": b'{"loss": ' + b"[" * 200_000 + b"]" * 200_000 + b"}\n",
    "deep.json": b'{"loss": ' + b'{"a":' * 100_000,
    "trainer_state.json": b'{"log_history": {"loss": 1}}',
    "list.json": b"[1, 2, [3], null]",
    "number.json": b"3",
    "digits.jsonl": b'{"step": 1, "loss": ' + b"9" * 6000 + b"}\n",
    "header.csv": b"step,loss\n",
    "quote.csv": b'step,loss\n"1,2\n3,4\n' + b"5,6\n" * 10,
    "long.csv": b"step,loss\n" + b"x" * (LONGEST + 10) + b"\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_a_case_with_a_problem(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(HOSTILE[name])
    for path in (tmp_path / name, tmp_path):
        [case] = diagnose(path).cases
        assert case.problem
        assert "reader failed" not in case.problem
        assert diagnose(path).exit_code == 3


def test_what_is_compressed_or_a_pickle_is_named_and_never_opened(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(tmp_path / "executed"), "w")

    (tmp_path / "a.csv").write_bytes(gzip.compress(b"step,loss\n1,2\n"))
    (tmp_path / "b.jsonl").write_bytes(pickle.dumps(Trap()))
    with zipfile.ZipFile(tmp_path / "c.log", "w") as file:
        file.writestr("bomb", "0" * 1000)
    assert "gzip" in problem(tmp_path / "a.csv")
    assert "pickle" in problem(tmp_path / "b.jsonl")
    assert "zip" in problem(tmp_path / "c.log")
    assert not (tmp_path / "executed").exists()


def test_what_is_no_file_or_may_not_be_read_is_a_problem(tmp_path: Path) -> None:
    assert problem(tmp_path / "nothing") == "no such file or folder"
    os.mkfifo(tmp_path / "pipe")
    assert problem(tmp_path / "pipe") == "not an ordinary file"
    assert "no log among" in problem(tmp_path)
    assert "null" in problem(Path("\x00")) or problem(Path("\x00"))


def test_a_gigantic_line_is_passed_over_in_every_text_format(tmp_path: Path) -> None:
    huge = "x" * (3 * LONGEST)
    (tmp_path / "a.jsonl").write_text('{"step": 1, "loss": 2}\n' + huge + '\n{"step": 2, "loss": 1}\n')
    (tmp_path / "b.csv").write_text("step,loss\n1,2\n" + huge + "\n2,1\n")
    (tmp_path / "c.log").write_text("step 1 loss 2\n" + huge + "\nstep 2 loss 1\n")
    for name in ("a.jsonl", "b.csv", "c.log"):
        run = only(tmp_path / name)
        assert run.series[0].values.tolist() == [2, 1]
        assert run.reading.skipped == 1


def test_invalid_text_and_utf_16_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"step": 1, "loss": 2, "\xff\xfe": 3}\n{"step": 2, "loss": 1}\n')
    (tmp_path / "b.log").write_bytes("step 1 loss 2\r\nstep 2 loss 1\r\n".encode("utf-16"))
    for name in ("a.jsonl", "b.log"):
        assert only(tmp_path / name).series[0].values.tolist() == [2, 1]


def test_a_name_that_is_html_stays_text(tmp_path: Path) -> None:
    name = "<script>alert(1)<" + "x" * 20 + ">.jsonl"
    jsonl(tmp_path / name, **{"<b>acc": 1})
    [case] = diagnose(tmp_path / name).cases
    assert case.subject == name
    assert case.problem == ""


def test_a_database_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losskit.doctor.after.logs.sqlite.MOST_WORK", 3_000_000)
    path = tmp_path / "mlflow.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE VIEW metrics AS WITH RECURSIVE n(key) AS (SELECT 1 UNION ALL SELECT key + 1 FROM n) "
            "SELECT key, 1 AS value, 0 AS timestamp, 0 AS step, 'r' AS run_uuid FROM n"
        )
    connection.close()
    assert "interrupted" in problem(path)


def test_a_database_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE metrics (run_name TEXT, step INTEGER, metrics TEXT)")
    connection.executemany(
        "INSERT INTO metrics VALUES ('r', ?, ?)", [(i, '{"loss": "NaN"}' if i == 3 else f'{{"loss": {i}}}') for i in range(9)]
    )
    connection.execute("INSERT INTO metrics VALUES ('r', 9, 'not json')")
    connection.commit()
    connection.close()
    before = path.read_bytes()
    run = only(path)
    assert run.series[0].values.isnan().nonzero().flatten().tolist() == [3]
    assert run.reading.skipped == 1
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.db"]
