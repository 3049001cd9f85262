"""Arguments that make no sense are refused with what was given, what was expected and what to write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from monitored import CLASSES, FEATURES
from torch import Tensor, nn

from losskit.doctor import Monitor, check

MODEL = nn.Linear(FEATURES, CLASSES)
BATCH = torch.randn(8, FEATURES), torch.arange(8) % CLASSES
ADAM = torch.optim.Adam(MODEL.parameters())
LOSS = torch.ones(())

CHECKS: dict[str, Any] = {
    '"model" is None': lambda: check(None, BATCH),
    "the class Linear, expected a torch.nn.Module: give Linear(...)": lambda: check(nn.Linear, BATCH),
    "\"optimizer\" is 'adam'": lambda: check(MODEL, BATCH, F.cross_entropy, "adam"),
    '"optimizer" is a generator': lambda: check(MODEL, BATCH, F.cross_entropy, MODEL.parameters()),
    '"optimizer" is the class Adam': lambda: check(MODEL, BATCH, F.cross_entropy, torch.optim.Adam),
    "give CrossEntropyLoss()": lambda: check(MODEL, BATCH, nn.CrossEntropyLoss),
    "\"objective\" is 'gan'": lambda: check(MODEL, BATCH, F.cross_entropy, objective="gan"),
    "\"task\" is 'foo'": lambda: check(MODEL, BATCH, F.cross_entropy, task="foo"),
    '"accumulate" is 0': lambda: check(MODEL, BATCH, F.cross_entropy, accumulate=0),
    '"budget_s" is -1': lambda: check(MODEL, BATCH, F.cross_entropy, budget_s=-1),
    '"budget_s" is None': lambda: check(MODEL, BATCH, F.cross_entropy, budget_s=None),
    '"step" is 3': lambda: check(MODEL, BATCH, step=3),
    '"loss_fn" and "step" are both given': lambda: check(MODEL, BATCH, F.cross_entropy, step=lambda m, b: m(b[0]).sum()),
}
MONITORS: dict[str, Any] = {
    '"model" is a Adam': lambda: Monitor(ADAM, MODEL),
    '"optimizer" is a list, expected one optimizer': lambda: Monitor(MODEL, [ADAM, ADAM]),
    '"optimizer" is a generator': lambda: Monitor(MODEL, MODEL.parameters()),
    '"loss_fn" is 3': lambda: Monitor(MODEL, ADAM, 3),
    "\"objective\" is 'gan'": lambda: Monitor(MODEL, objective="gan"),
    '"events" holds 3000': lambda: Monitor(MODEL, events=[3000]),
    '"scaler" is True': lambda: Monitor(MODEL, ADAM, scaler=True),
    '"facts" is a list': lambda: Monitor(MODEL, facts=["a"]),
    "\"facts\" names 'vocab_szie', which is no fact: did you mean vocab_size?": lambda: Monitor(MODEL, facts={"vocab_szie": 9}),
    "\"facts\" names '7', which is no fact: expected one of num_classes": lambda: Monitor(MODEL, facts={7: 1}),
    "\"every\" is 'a'": lambda: Monitor(MODEL, every="a"),
    '"accumulate" is 0.5': lambda: Monitor(MODEL, accumulate=0.5),
    "\"sinks\" is 'terminal'": lambda: Monitor(MODEL, sinks="terminal"),
    '"loss" has shape (2,)': lambda: Monitor(MODEL, sinks=()).step(torch.ones(2)),
    '"loss" is None': lambda: Monitor(MODEL, sinks=()).step(None),
    '"parts" is a list': lambda: Monitor(MODEL, sinks=()).step(LOSS, parts=[LOSS]),
    '"parts[kl]" has shape (2,)': lambda: Monitor(MODEL, sinks=()).step(LOSS, parts={"kl": torch.ones(2)}),
    "\"at\" is '3'": lambda: Monitor(MODEL, sinks=()).step(LOSS, at="3"),
}


@pytest.mark.parametrize("said", CHECKS)
def test_check_refuses(said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        CHECKS[said]()


@pytest.mark.parametrize("said", MONITORS)
def test_a_monitor_refuses(said: str) -> None:
    with pytest.raises((TypeError, ValueError), match=re.escape(said)):
        MONITORS[said]()


@dataclass
class Points:
    x: Tensor
    y: Tensor


@pytest.mark.parametrize(
    ("batch", "loss_fn", "remedy"),
    [
        (Points(*BATCH), F.cross_entropy, "give step=lambda model, batch"),
        (None, None, "give next(iter(loader))"),
        (iter([BATCH]), None, "give next(iter(loader))"),
        (list(BATCH), None, "give loss_fn="),
        ([BATCH, BATCH, BATCH], F.cross_entropy, "give one batch (input, target)"),
    ],
)
def test_a_batch_that_cannot_be_taken_apart_is_answered_with_a_remedy(batch: Any, loss_fn: Any, remedy: str) -> None:
    assert remedy in check(MODEL, batch, loss_fn).cases[0].problem


def test_a_model_without_values_is_refused() -> None:
    with torch.device("meta"):
        model = nn.Linear(FEATURES, CLASSES)
    problem = check(model, tuple(t.to("meta") for t in BATCH), F.cross_entropy).cases[0].problem
    assert "holds no values (weight)" in problem
