"""Facts of a run that somebody gives: slips of the pen are told before anything is read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.modules import loss as torch_losses

from losskit.cli import main
from losskit.doctor import Monitor, diagnose
from losskit.doctor.facts import checked_facts
from losskit.doctor.levels_ask import cards
from losskit.doctor.levels_config import spelt_losses
from losskit.doctor.levels_torch import NAMESAKES, NONNEGATIVE


def log(folder: Path) -> Path:
    path = folder / "log.jsonl"
    path.write_text("".join(json.dumps({"step": i, "loss": 2.3 - 0.01 * i}) + "\n" for i in range(100)))
    return path


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("loss", "cross_entropi", "cross_entropy"),
        ("loss", "Cross-Entrpy", "cross_entropy"),
        ("loss", "nn.CrossEntropyLos", "CrossEntropyLoss"),
        ("criterion", "focl_loss", "focal_loss"),
        ("loss", "ctc_los", "ctc_loss"),
        ("loss", "bcee", "bce"),
    ],
)
def test_a_loss_that_is_nearly_one_is_refused_with_the_one_that_was_meant(name: str, value: str, meant: str) -> None:
    with pytest.raises(ValueError, match=f"did you mean {meant}\\? losskit list has all names"):
        checked_facts("refs", {name: value})


@pytest.mark.parametrize(
    "loss",
    sorted({*cards(), *spelt_losses(), *NAMESAKES, *NONNEGATIVE, *torch_losses.__all__, "torch.nn.CrossEntropyLoss()"}),
)
def test_every_name_of_a_loss_of_losskit_and_torch_is_accepted(loss: str) -> None:
    checked_facts("refs", {"loss": loss})


@pytest.mark.parametrize("loss", ["my_cross_entropy", "yolo", "ForSequenceClassification", "<script>", "", "loss", 3, None])
def test_a_loss_of_the_users_own_is_accepted(loss: Any) -> None:
    checked_facts("refs", {"loss": loss})


@pytest.mark.parametrize("name", ["num_classes", "num_labels", "vocab_size", "batch_size", "label_smoothing", "floor"])
def test_a_text_where_a_number_is_expected_is_refused_with_both(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is 'ten', expected a number, such as {name}="):
        checked_facts("refs", {name: "ten"})
    checked_facts("refs", {name: "10"})
    checked_facts("refs", {name: 10})


def test_the_command_line_calls_it_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for fact, said in (("loss=cross_entropi", "did you mean cross_entropy?"), ("num_classes=ten", "expected a number")):
        assert main(["doctor", str(log(tmp_path)), "--fact", fact]) == 2
        assert said in capsys.readouterr().err


def test_a_loss_of_which_nothing_is_known_is_said_to_be_so(tmp_path: Path) -> None:
    (case,) = diagnose(log(tmp_path), refs={"loss": "yolo"}).cases
    assert ("reference levels", "nothing is known of the loss 'yolo': losskit list has the names") in case.left_out


def test_diagnose_and_monitor_refuse_the_same(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    for facts in ({"loss": "cross_entropi"}, {"num_classes": "ten"}):
        with pytest.raises(ValueError, match=r"expected a number|did you mean"):
            diagnose(log(tmp_path), refs=facts)
        with pytest.raises(ValueError, match=r"expected a number|did you mean"):
            Monitor(model, torch.optim.SGD(model.parameters(), 0.1), facts=facts)
