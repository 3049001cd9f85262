"""Logs written by the real loggers, read back point for point."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from losskit.doctor.after.logs import find_runs, read
from losskit.doctor.evidence.run import Run, Series

VALUES = [1.5, math.nan, math.inf, -math.inf, 0.1, 1e-30, *(1 / (i + 1) for i in range(194))]


def only(path: Path, format: str) -> Run:
    [run] = [read(source) for source in find_runs(path) if source.format == format]
    return run


def named(run: Run, name: str) -> Series:
    return next(s for s in run.series if s.name == name)


def check(
    series: Series, values: list[float] = VALUES, *, steps: list[int] | None = None, dtype: torch.dtype = torch.float64
) -> None:
    assert series.steps.tolist() == (list(range(len(values))) if steps is None else steps)
    torch.testing.assert_close(series.values, torch.tensor(values, dtype=dtype).double(), rtol=0, atol=0, equal_nan=True)


def tensorboard(folder: Path, values: list[float], writer: dict[str, Any]) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        board = SummaryWriter(str(folder), **writer)
        for step, value in enumerate(values):
            board.add_scalar("train/loss", value, step)
            board.add_scalar("eval/loss", value, step, new_style=True)
            if step % 50 == 0:
                board.add_histogram("weights", torch.randn(100), step)
                board.add_text("note", "x" * 100_000, step)
        board.add_text("args", '{"num_classes": 10}')
        board.close()


def test_tensorboard_writes_what_is_read(tmp_path: Path) -> None:
    tensorboard(tmp_path, VALUES, {})
    run = only(tmp_path, "tensorboard")
    check(named(run, "train/loss"), dtype=torch.float32)
    check(named(run, "eval/loss"), dtype=torch.float32)
    assert run.facts["num_classes"] == 10
    assert run.reading.skipped == 0
    assert not run.reading.truncated


def test_a_second_run_into_the_same_folder_and_a_cut_off_end_are_seen(tmp_path: Path) -> None:
    tensorboard(tmp_path, VALUES, {})
    tensorboard(tmp_path, [5.0] * 20, {"purge_step": 0, "filename_suffix": ".2"})
    last = max(tmp_path.glob("*tfevents*"), key=lambda path: path.name)
    last.write_bytes(last.read_bytes()[:-3])
    run = only(tmp_path, "tensorboard")
    check(named(run, "train/loss"), [5.0] * 20, dtype=torch.float32)
    assert run.reading.truncated
    assert run.reading.restarts == (0,)


@pytest.mark.slow  # imports lightning
def test_lightning_writes_what_is_read(tmp_path: Path) -> None:
    lightning = pytest.importorskip("lightning.pytorch.loggers", reason="lightning is an extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logger = lightning.CSVLogger(str(tmp_path), name="x")
        logger.log_hyperparams({"num_classes": 10, "lr": 0.1})
        for step, value in enumerate(VALUES):
            logger.log_metrics({"train_loss_step": value, "epoch": step // 50}, step)
            if step % 50 == 49:
                logger.log_metrics({"val_loss": value, "epoch": step // 50}, step)
        logger.save()
        logger.finalize("success")
    run = only(tmp_path, "lightning")
    check(named(run, "train_loss_step"))
    check(named(run, "val_loss"), VALUES[49::50], steps=[49, 99, 149, 199])
    assert run.facts == {"num_classes": 10, "learning_rate": 0.1}


@pytest.mark.slow  # starts W&B's service
def test_weights_and_biases_offline_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    wandb = pytest.importorskip("wandb", reason="wandb is an extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = wandb.init(project="x", dir=str(tmp_path), config={"model": {"num_classes": 10}, "lr": 0.1})
        for value in VALUES:
            run.log({"train": {"loss": value}, "note": "x" * 400})
        run.finish()
    found = only(tmp_path, "wandb")
    check(named(found, "train/loss"))
    assert found.facts == {"num_classes": 10, "learning_rate": 0.1}
    assert found.finished
    assert found.reading.skipped == 0


@pytest.mark.slow  # makes a database of forty tables
@pytest.mark.parametrize("store", ["sqlite", "files"])
def test_mlflow_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, store: str) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("DO_NOT_TRACK", "true")
    mlflow = pytest.importorskip("mlflow", reason="mlflow is an extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.set_tracking_uri(f"sqlite:///{tmp_path}/mlflow.db" if store == "sqlite" else f"file://{tmp_path}/mlruns")
        mlflow.set_experiment("x")
        with mlflow.start_run():
            mlflow.log_params({"num_classes": 10})
            for step, value in enumerate(VALUES[:30]):
                mlflow.log_metric("train/loss", value, step=step)
                mlflow.log_metric("unset", float(step))
    run = only(tmp_path, "mlflow")
    check(named(run, "train/loss"), VALUES[:30])
    check(named(run, "unset"), [float(step) for step in range(30)])
    assert run.facts == {"num_classes": 10}
    assert run.finished


@pytest.mark.slow  # starts trackio's writer
def test_trackio_writes_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trackio = pytest.importorskip("trackio", reason="trackio is an extra")
        trackio.init(project="x", name="one", config={"num_classes": 10}, auto_log_gpu=False, auto_log_cpu=False)
        for value in VALUES:
            trackio.log({"loss": value, "deep": {"x": 1}})
        trackio.finish()
    run = only(tmp_path, "trackio")
    check(named(run, "loss"))
    assert run.facts == {"num_classes": 10}


class Tiny(nn.Module):
    """A model whose loss is what the data say, so that the log can be foretold."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": labels.mean() + 0 * self.weight, "logits": labels}


def trained(folder: Path, losses: list[float], **options: object) -> list[dict[str, float]]:
    transformers = pytest.importorskip("transformers", reason="transformers is an extra")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        arguments = transformers.TrainingArguments(
            str(folder),
            per_device_train_batch_size=1,
            num_train_epochs=1,
            logging_steps=4,
            save_steps=8,
            use_cpu=True,
            disable_tqdm=True,
            **{"report_to": [], **options},
        )
        data = [{"labels": torch.tensor(value)} for value in losses]
        trainer = transformers.Trainer(Tiny(), arguments, train_dataset=data, eval_dataset=data[:3])
        trainer._get_train_sampler = lambda *_: torch.utils.data.SequentialSampler(data)
        trainer.train()
        return trainer.state.log_history


LOSSES = [float(i) for i in range(16)]
HIDDEN: list[tuple[bool, Callable[[float], bool]]] = [(True, math.isfinite), (False, math.isnan)]


@pytest.mark.slow  # imports transformers
@pytest.mark.parametrize(("filtered", "expected"), HIDDEN)
def test_the_trainer_writes_what_is_read_and_whether_it_filters_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, filtered: bool, expected: Callable[[float], bool]
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(sys, "stdout", (tmp_path / "out.log").open("w"))
    history = trained(tmp_path / "run", [*LOSSES[:5], math.nan, *LOSSES[6:]], logging_nan_inf_filter=filtered)
    sys.stdout.close()
    run = only(tmp_path / "run", "hf")
    rows = [row for row in history if "loss" in row]
    check(named(run, "loss"), [row["loss"] for row in rows], steps=[4, 8, 12, 16])
    assert expected(named(run, "loss").values[1].item())
    assert run.series[0].every == 4
    assert run.reading.hides_nan is filtered
    assert run.finished
    printed = only(tmp_path / "out.log", "stdout")
    torch.testing.assert_close(printed.series[0].values, named(run, "loss").values, equal_nan=True, rtol=1e-3, atol=1e-3)
    assert printed.reading.hides_nan is filtered


@pytest.mark.slow  # imports transformers
def test_what_the_trainer_tells_tensorboard_is_read_and_known_for_means(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    history = trained(tmp_path / "run", LOSSES, report_to=["tensorboard"], eval_strategy="steps", eval_steps=8)
    run = only(tmp_path / "board", "tensorboard")
    check(named(run, "train/loss"), [row["loss"] for row in history if "loss" in row], steps=[4, 8, 12, 16])
    check(named(run, "eval/loss"), [row["eval_loss"] for row in history if "eval_loss" in row], steps=[8, 16])
    assert named(run, "train/loss").every == 4
    assert run.reading.hides_nan
