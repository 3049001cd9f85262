"""Which runs a path holds, what is read of each, and what is known of them besides."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from doctor_logs_written import jsonl, only, problem, trainer_state

from losskit.doctor import Report, diagnose
from losskit.doctor.after.diagnosis import Watch, cases
from losskit.doctor.after.logs import LogError, Source, find_runs, read
from losskit.doctor.evidence.run import Run


def test_json_lines_are_read_point_for_point_not_a_number_included(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text(
        '{"step": 0, "loss": NaN}\n{"step": 1, "loss": "Infinity"}\n\n'
        '{"step": 2, "loss": -Infinity, "note": "x"}\n{"step": 3, "loss": 1e-3}'
    )
    loss = only(path).main("train_loss")
    assert loss is not None
    assert loss.steps.tolist() == [0, 1, 2, 3]
    assert str(loss.values.tolist()) == "[nan, inf, -inf, 0.001]"


def test_one_json_document_is_a_list_of_rows_or_an_object_of_columns(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_text(json.dumps([{"step": 1, "loss": 2}, {"step": 2, "loss": 1}, "x"]))
    (tmp_path / "columns.json").write_text(json.dumps({"loss": [2, 1], "val_loss": [3]}))
    for name in ("rows.json", "columns.json"):
        loss = only(tmp_path / name).main("train_loss")
        assert loss is not None
        assert loss.values.tolist() == [2, 1]


def test_a_half_written_last_line_is_truncated_and_the_rest_is_read(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "log.jsonl", 50)
    path.write_bytes(path.read_bytes()[:-8])
    run = only(path)
    assert run.reading.truncated
    assert len(run.series[0]) == 49


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_tables_are_read_with_empty_cells_and_headers_in_the_middle(tmp_path: Path, delimiter: str) -> None:
    lines = [
        "\ufeffstep,train loss,val_loss,note",
        "0,3.0,,a",
        "1,nan,2.5,",
        "step,train loss,val_loss,note",
        '2,1.0,,"b"',
        "3,0.5",
    ]
    (tmp_path / "x.csv").write_text("\r\n".join(lines).replace(",", delimiter))
    run = only(tmp_path / "x.csv")
    train, val = run.main("train_loss"), run.main("eval_loss")
    assert train is not None
    assert val is not None
    assert str(train.values.tolist()) == "[3.0, nan, 1.0]"
    assert (val.steps.tolist(), val.values.tolist()) == ([1], [2.5])
    assert run.reading.skipped == 1


def test_the_checkpoint_that_came_furthest_counts_and_a_half_written_one_is_passed_over(tmp_path: Path) -> None:
    for checkpoint in (20, 100, 90):
        trainer_state(tmp_path, checkpoint // 10, checkpoint=checkpoint)
    broken = tmp_path / "checkpoint-100" / "trainer_state.json"
    broken.write_text(broken.read_text()[:200])
    run = only(tmp_path)
    assert run.reading.format == "hf"
    assert run.series[0].steps.tolist() == list(range(10, 100, 10))
    assert run.series[0].every == 10
    assert run.reading.truncated
    assert run.reading.hides_nan
    assert run.finished is False
    assert run.facts["max_steps"] == 100
    norm = run.main("grad_norm")
    assert norm is not None
    assert norm.values.isnan().all()


def test_a_state_beside_the_checkpoints_counts_only_if_it_came_further(tmp_path: Path) -> None:
    trainer_state(tmp_path, 5)
    trainer_state(tmp_path, 8, checkpoint=80)
    assert len(only(tmp_path).series[0]) == 8
    trainer_state(tmp_path, 9)
    assert len(only(tmp_path).series[0]) == 9


def test_a_trainer_whose_log_has_a_nan_hides_none(tmp_path: Path) -> None:
    path = trainer_state(tmp_path, 4) / "trainer_state.json"
    path.write_text(path.read_text().replace('"loss": 0.5', '"loss": NaN'))
    run = only(path)
    assert not run.reading.hides_nan
    assert run.series[0].values.isnan().sum() == 1


def test_null_of_the_trainer_is_not_a_number(tmp_path: Path) -> None:
    path = trainer_state(tmp_path, 4) / "trainer_state.json"
    path.write_text(path.read_text().replace('"grad_norm": NaN', '"grad_norm": null'))
    norm = only(path).main("grad_norm")
    assert norm is not None
    assert norm.values.isnan().all()


def test_a_folder_of_runs_at_any_depth_is_searched(tmp_path: Path) -> None:
    jsonl(tmp_path / "a" / "b" / "c" / "log.jsonl")
    trainer_state(tmp_path / "hf", 3, checkpoint=30)
    (tmp_path / "csv" / "version_10").mkdir(parents=True)
    (tmp_path / "csv" / "version_10" / "metrics.csv").write_text("epoch,step,train_loss\n0,1,2.0\n")
    (tmp_path / "notes.txt").write_text("no numbers here\n")
    (tmp_path / "requirements.txt").write_text("torch==2.13\n")
    (tmp_path / "table.csv").write_text("name,age\nx,3\n")
    (tmp_path / "train.log").write_text("step 1 loss 2.0\nstep 2 loss 1.0\n")
    found = {source.name.split("/", 1)[1]: source.format for source in find_runs(tmp_path)}
    assert found == {"a/b/c/log.jsonl": "jsonl", "hf": "hf", "csv/version_10": "lightning", "train.log": "stdout"}


def test_a_loop_of_links_ends_and_each_run_is_found_once(tmp_path: Path) -> None:
    jsonl(tmp_path / "run" / "log.jsonl")
    os.symlink(tmp_path, tmp_path / "run" / "again")
    os.symlink(tmp_path / "nothing", tmp_path / "dangling")
    assert len(find_runs(tmp_path)) == 1
    assert len(diagnose(tmp_path, tmp_path / "run", tmp_path).cases) == 1


def test_ten_thousand_files_are_searched(tmp_path: Path) -> None:
    for i in range(10):
        (tmp_path / str(i)).mkdir()
        for j in range(1000):
            (tmp_path / str(i) / f"{j}.bin").touch()
    jsonl(tmp_path / "9" / "x.jsonl")
    assert [source.name.split("/", 1)[1] for source in find_runs(tmp_path)] == ["9/x.jsonl"]


def test_the_config_beside_the_log_becomes_facts_which_refs_override(tmp_path: Path) -> None:
    jsonl(tmp_path / "log.jsonl")
    (tmp_path / "hparams.yaml").write_text(
        "model:\n  n_classes: 100  # of CIFAR\n  name: 'x'\nlabel_smoothing: 0.1\nmax_steps: -1\n"
        "criterion: torch.nn.CrossEntropyLoss()\n"
    )
    [source] = find_runs(tmp_path)
    facts = {"num_classes": 100, "label_smoothing": 0.1, "loss": "torch.nn.CrossEntropyLoss()"}
    assert read(source).facts == facts
    assert read(source, {"num_classes": 10}).facts == facts | {"num_classes": 10}


@pytest.mark.parametrize(
    ("config", "facts"),
    [
        (
            {"architectures": ["GPT2LMHeadModel"], "vocab_size": 50257, "num_labels": 2},
            {"vocab_size": 50257, "loss": "cross_entropy"},
        ),
        (
            {"architectures": ["BertForSequenceClassification"], "vocab_size": 30522, "id2label": {"0": "a", "1": "b", "2": "c"}},
            {"num_classes": 3, "loss": "cross_entropy"},
        ),
        ({"architectures": ["BertModel"], "vocab_size": 30522}, {}),
        ({"train": {"optimizer": {"lr": 0.1}}, "data": {"num_classes": "10"}}, {"learning_rate": 0.1, "num_classes": 10}),
        ({"class_counts": [1, 3], "loss": "bce"}, {"prior": [1, 3], "loss": "bce"}),
        ({"num_classes": True, "vocab_size": math.inf, "label_smoothing": "none", "margin": [1]}, {}),
    ],
)
def test_what_a_config_means(tmp_path: Path, config: dict[str, object], facts: dict[str, object]) -> None:
    jsonl(tmp_path / "log.jsonl")
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert only(tmp_path / "log.jsonl").facts == facts


def test_a_config_of_weights_and_biases_has_its_values_a_line_below(tmp_path: Path) -> None:
    jsonl(tmp_path / "log.jsonl")
    (tmp_path / "config.yaml").write_text("wandb_version: 1\nnum_classes:\n  desc: null\n  value: 7\n")
    assert only(tmp_path / "log.jsonl").facts == {"num_classes": 7}


def test_a_curve_may_be_named_as_the_loss(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_text("".join(f'{{"step": {i}, "elbo": {i}}}\n' for i in range(5)))
    assert "no loss among 1 curve (elbo)" in problem(path)
    [case] = diagnose(path, refs={"train_loss": "elbo"}).cases
    assert case.problem == ""
    assert case.run is not None
    assert case.run.series[0].kind == "train_loss"


def test_the_sickest_run_comes_first_and_progress_is_told(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", 200)
    (tmp_path / "b.csv").write_bytes(b"step,loss\n")
    told: list[tuple[int, int, str]] = []
    report = diagnose(tmp_path / "b.csv", tmp_path / "a.jsonl", progress=lambda *now: told.append(now))
    assert told == [(0, 2, "b.csv"), (1, 2, "a.jsonl")]
    assert isinstance(report, Report)
    assert [case.subject for case in report.cases] == ["b.csv", "a.jsonl"]
    assert len(list(cases(tmp_path))) == 2


def test_a_watch_reads_again_only_what_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = jsonl(tmp_path / "one.jsonl"), jsonl(tmp_path / "two.jsonl")
    read_paths: list[str] = []
    original = read

    def counted(source: Source, refs: Mapping[str, Any] | None = None, events: Sequence[tuple[int, str]] = ()) -> Run:
        read_paths.append(source.name)
        return original(source, refs, events)

    monkeypatch.setattr("losskit.doctor.after.diagnosis.read", counted)
    watch = Watch(tmp_path)
    first = watch.look()
    assert first is not None
    assert len(first.cases) == 2
    assert watch.look() is None
    with one.open("a") as file:
        file.write('{"step": 99, "loss": 0.1}\n')
    assert watch.look() is not None
    assert [name.split("/")[-1] for name in read_paths] == ["one.jsonl", "two.jsonl", "one.jsonl"]
    two.unlink()
    left = watch.look()
    assert left is not None
    assert len(left.cases) == 1


def test_a_fault_of_a_reader_is_a_problem_of_that_run_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jsonl(tmp_path / "a.jsonl")

    def fails(*_: object) -> Run:
        raise ZeroDivisionError("x")

    monkeypatch.setattr("losskit.doctor.after.diagnosis.read", fails)
    assert "ZeroDivisionError" in problem(tmp_path / "a.jsonl")


def test_what_cannot_be_read_is_a_log_error(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\x1f\x8b")
    [source] = find_runs(tmp_path / "x.csv")
    with pytest.raises(LogError, match="gzip"):
        read(source)
