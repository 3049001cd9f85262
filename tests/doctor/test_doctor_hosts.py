"""The monitor inside of transformers, Lightning and Accelerate, each as its users call it."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from losskit.doctor import NonFiniteError

ROWS, FEATURES, CLASSES = 96, 6, 3


@pytest.fixture(autouse=True)
def _seed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(0)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hosts' own, of loaders and workers
        yield


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self, bad: int | None = None) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(ROWS, FEATURES, generator=generator)
        self.y = (self.x @ torch.randn(FEATURES, CLASSES, generator=generator)).argmax(1)
        if bad is not None:
            self.x[bad, 2] = math.nan

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, row: int) -> dict[str, Tensor]:
        return {"x": self.x[row], "labels": self.y[row]}


class Classifier(nn.Module):
    """As models of transformers are called: the loss comes with the logits."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(FEATURES, 16), nn.Tanh(), nn.Linear(16, CLASSES))

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        logits = self.head(x)
        return {"logits": logits} if labels is None else {"loss": F.cross_entropy(logits, labels), "logits": logits}


# ---------------------------------------------------------------------- transformers


def trainer(folder: Path, callback: Any, *, bad: int | None = None, model: nn.Module | None = None, **options: Any) -> Any:
    from transformers import Trainer, TrainingArguments

    keywords = {"logging_steps": 2, "save_strategy": "no", "report_to": [], "disable_tqdm": True, "use_cpu": True, **options}
    keywords |= {"per_device_train_batch_size": 8, "learning_rate": 1e-2, "seed": 3, "eval_on_start": False}
    compute_loss_func = keywords.pop("compute_loss_func", None)
    arguments = TrainingArguments(str(folder), **keywords)
    return Trainer(
        model or Classifier(), arguments, train_dataset=Rows(bad), eval_dataset=Rows(), callbacks=[callback],
        compute_loss_func=compute_loss_func,
    )  # fmt: skip


@pytest.mark.claim("R28", "R38")
def test_the_trainer_hides_nan_and_the_callback_names_its_sample(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from losskit.integrations.hf import MonitorCallback

    callback = MonitorCallback(sinks=())
    host = trainer(tmp_path, callback, bad=40, max_steps=20)
    host.train()
    assert all(math.isfinite(row["loss"]) for row in host.state.log_history if "loss" in row)  # the filter
    run = callback.report().cases[0].run
    assert run is not None
    loss = run.main("train_loss")
    assert loss is not None
    assert len(loss) == 20
    assert bool(loss.values.isnan().any())
    first = callback.report().findings[0]
    assert (first.code, first.hit.where) == ("D301", "batch[x]")
    assert not callback.report().cases[0].faults


@pytest.mark.claim("R38")
def test_losses_of_a_healthy_trainer_are_those_of_its_log_and_nothing_is_said(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    callback = MonitorCallback(sinks=())
    host = trainer(tmp_path, callback, max_steps=24, gradient_accumulation_steps=2, eval_strategy="steps", eval_steps=12)
    host.train()
    case = callback.report().cases[0]
    assert [one.code for one in case.findings if one.severity != "info"] == []
    assert case.run is not None
    loss, evaluated = case.run.main("train_loss"), case.run.main("eval_loss")
    assert loss is not None
    assert evaluated is not None
    logged = [row["loss"] for row in host.state.log_history if "loss" in row]
    assert loss.values.view(-1, 2).mean(1).tolist() == pytest.approx(logged, rel=1e-3)
    assert evaluated.steps.tolist() == [12, 24]
    assert case.run.facts["max_steps"] == 24
    assert any("ln 3" in level.name for level in case.run.levels)
    assert not host.model._forward_hooks


def test_an_attached_trainer_gives_the_loss_that_it_computes_itself(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    def doubled(outputs: Any, labels: Tensor, num_items_in_batch: Any = None) -> Tensor:
        return 2 * F.cross_entropy(outputs["logits"], labels)

    class Bare(Classifier):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            return {"logits": self.head(x)}

    callback = MonitorCallback(sinks=())
    host = trainer(tmp_path, callback, bad=40, max_steps=12, compute_loss_func=doubled, model=Bare())
    callback.attach(host)
    host.train()
    case = callback.report().cases[0]
    assert case.run is not None
    loss = case.run.main("train_loss")
    assert loss is not None
    assert loss.values[0] == pytest.approx(2 * math.log(3), rel=0.3)
    assert case.findings[0].hit.where == "batch[x]"
    assert "compute_loss" not in vars(host)


def test_no_checkpoint_is_written_of_weights_that_are_not_finite(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    host = trainer(tmp_path, MonitorCallback(sinks=()), bad=0, max_steps=24, save_strategy="steps", save_steps=12)
    host.train()
    assert not (tmp_path / "checkpoint-24").exists()
    skipping = MonitorCallback(sinks=(), on_nonfinite="skip")
    host = trainer(tmp_path, skipping, bad=0, max_steps=24, save_strategy="steps", save_steps=12)
    host.train()
    assert (tmp_path / "checkpoint-24").exists()
    assert all(p.isfinite().all() for p in host.model.parameters())


def test_no_checkpoint_is_written_at_the_end_of_an_epoch_that_spoilt_the_weights(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    host = trainer(tmp_path, MonitorCallback(sinks=()), bad=0, num_train_epochs=2, save_strategy="epoch")
    host.train()
    assert not list(tmp_path.glob("checkpoint-*"))
    host = trainer(tmp_path, MonitorCallback(sinks=()), num_train_epochs=2, save_strategy="epoch")
    host.train()
    assert len(list(tmp_path.glob("checkpoint-*"))) == 2


def test_a_label_that_the_trainer_s_model_refuses_is_explained(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    heard: list[str] = []
    host = trainer(tmp_path, MonitorCallback(sinks=(lambda one: heard.append(one.code),)), max_steps=3)
    host.train_dataset.y += CLASSES
    with pytest.raises(IndexError):
        host.train()
    assert heard == ["D104"]
    assert torch.overrides._get_current_function_mode() is None


# ---------------------------------------------------------------------- Lightning


def lightning_run(callback: Any, *, bad: int | None = None, accumulate: int = 1) -> list[float]:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.seen = Classifier(), []

        def training_step(self, batch: dict[str, Tensor], number: int) -> Tensor:
            loss = self.inner(**batch)["loss"]
            self.log("train_loss", loss)
            self.seen.append(float(loss.detach()))
            return loss

        def validation_step(self, batch: dict[str, Tensor], number: int) -> None:
            self.log("val_loss", self.inner(**batch)["loss"])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.AdamW(self.parameters(), 1e-2)

    module = Module()
    host = pl.Trainer(
        max_epochs=2, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, callbacks=[callback], accumulate_grad_batches=accumulate, gradient_clip_val=5.0,
    )  # fmt: skip
    host.fit(module, DataLoader(Rows(bad), 8), DataLoader(Rows(), 32))
    return module.seen


@pytest.mark.claim("R38")
def test_lightning_s_losses_are_seen_undivided_and_validated() -> None:
    from losskit.integrations.lightning import MonitorCallback

    callback = MonitorCallback(sinks=())
    losses = lightning_run(callback, accumulate=2)
    case = callback.report().cases[0]
    assert case.run is not None
    loss, evaluated = case.run.main("train_loss"), case.run.main("eval_loss")
    assert loss is not None
    assert evaluated is not None
    assert loss.values.tolist() == pytest.approx(torch.tensor(losses).view(-1, 2).mean(1).tolist())
    assert evaluated.steps.tolist() == [6, 12]
    assert [one.code for one in case.findings if one.severity != "info"] == []
    assert case.run.facts["accumulate"] == 2
    assert any("ln 3" in level.name for level in case.run.levels)


def test_lightning_s_sick_sample_is_named_and_the_module_logs_as_before() -> None:
    from losskit.integrations.lightning import MonitorCallback

    callback = MonitorCallback(sinks=(), on_nonfinite="skip")
    lightning_run(callback, bad=19)
    first = callback.report().findings[0]
    assert (first.code, first.hit.step, first.hit.numbers["sample"]) == ("D301", 2, 3)
    assert not callback.report().cases[0].faults
    assert callback.monitor is not None
    assert not callback.monitor.poisoned


def test_lightning_stops_where_that_was_asked_for() -> None:
    from losskit.integrations.lightning import MonitorCallback

    callback = MonitorCallback(sinks=(), on_nonfinite="raise")
    with pytest.raises(NonFiniteError, match="step 2"):
        lightning_run(callback, bad=19)


# ---------------------------------------------------------------------- Accelerate


@pytest.mark.claim("R38")
@pytest.mark.parametrize("bad", [None, 19])
def test_an_accelerate_loop_is_watched_through_its_backward(bad: int | None) -> None:
    from accelerate import Accelerator

    from losskit.integrations.accelerate import monitored

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
    model = Classifier()
    model, optimizer, loader = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), 1e-2), DataLoader(Rows(bad), 8))
    losses = []
    with monitored(accelerator, model, optimizer, sinks=(), on_nonfinite="skip") as monitor:
        for batch in loader:
            with accelerator.accumulate(model):
                loss = model(**batch)["loss"]
                losses.append(float(loss.detach()))
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                optimizer.zero_grad()
    assert "backward" not in vars(accelerator)
    series = monitor.run.main("train_loss")
    assert series is not None
    assert torch.equal(series.values.float().isnan(), torch.tensor(losses).view(-1, 2).mean(1).isnan())
    assert all(p.isfinite().all() for p in model.parameters())
    assert not monitor.report().cases[0].faults
    found = [one for one in monitor.findings if one.severity != "info"]
    assert [one.code for one in found] == ([] if bad is None else ["D301"])
    if bad is not None:
        assert (found[0].hit.step, found[0].hit.numbers["sample"]) == (1, 3)
