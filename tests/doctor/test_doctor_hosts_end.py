"""Monitors of a host that end early, or inside of each other."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_doctor_hosts import Classifier, Rows, trainer
from torch import nn


@pytest.fixture(autouse=True)
def _seed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    torch.manual_seed(0)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hosts' own, of loaders and workers
        yield


@pytest.mark.parametrize("outer_first", [False, True])
def test_blocks_of_an_accelerator_end_in_any_order_and_hide_no_exception(outer_first: bool) -> None:
    from accelerate import Accelerator

    from losskit.integrations.accelerate import monitored

    accelerator, model = Accelerator(cpu=True), Classifier()
    blocks = [monitored(accelerator, model, sinks=()) for _ in range(2)]
    monitors = [block.__enter__() for block in blocks]

    def seen() -> list[int]:
        accelerator.backward(model(Rows().x[:4], Rows().y[:4])["loss"])
        return [len(one.run.main("train_loss") or ()) for one in monitors]

    assert seen() == [1, 1]
    one, other = (0, 1) if outer_first else (1, 0)
    assert not blocks[one].__exit__(None, None, None)
    assert seen() == ([1, 2] if outer_first else [2, 1])
    assert not blocks[other].__exit__(KeyError, KeyError("the user's own"), None)  # and raises no other
    assert "backward" not in vars(accelerator)
    assert not model._forward_pre_hooks


def interrupted(folder: Path) -> tuple[Any, Any]:
    """A callback, and a trainer that is interrupted after three steps."""
    from transformers import TrainerCallback

    from losskit.integrations.hf import MonitorCallback

    class Interrupts(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    callback = MonitorCallback(sinks=())
    host = trainer(folder, callback, max_steps=6)
    host.add_callback(Interrupts())
    return callback, host


def hooks_of(model: nn.Module) -> int:
    return len(model._forward_hooks) + len(model._forward_pre_hooks)


@pytest.mark.parametrize("attached", [False, True])
def test_a_training_that_is_interrupted_leaves_no_hooks(attached: bool, tmp_path: Path) -> None:
    callback, host = interrupted(tmp_path)
    if attached:
        callback.attach(host)
        with pytest.raises(KeyboardInterrupt):
            host.train()
    else:
        with pytest.raises(KeyboardInterrupt), callback:
            host.train()
    assert hooks_of(host.model) == 0
    assert "compute_loss" not in vars(host)
    assert not host.optimizer.optimizer._optimizer_step_pre_hooks
    case = callback.report().cases[0]
    assert case.run is not None
    assert case.run.finished is False


def test_hooks_that_an_exception_left_go_at_the_next_call_of_the_model(tmp_path: Path) -> None:
    callback, host = interrupted(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        host.train()
    model, seen = host.model, len(callback.monitor.run.main("train_loss") or ())
    assert hooks_of(model) == 2  # nobody has told the callback
    model.train()(Rows().x[:4], Rows().y[:4])["loss"].backward()
    assert hooks_of(model) == 0
    assert not host.optimizer.optimizer._optimizer_step_pre_hooks
    assert len(callback.report().cases[0].run.main("train_loss")) == seen


def test_hooks_go_with_the_callback_that_nobody_holds(tmp_path: Path) -> None:
    callback, host = interrupted(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        host.train()
    model, optimizer = host.model, host.optimizer.optimizer
    assert hooks_of(model) == 2
    del callback, host
    gc.collect()
    assert hooks_of(model) == 0
    assert not optimizer._optimizer_step_pre_hooks


def test_an_evaluation_inside_of_the_loop_is_no_end_of_it(tmp_path: Path) -> None:
    from losskit.integrations.hf import MonitorCallback

    callback = MonitorCallback(sinks=())
    host = trainer(tmp_path, callback, max_steps=6, eval_strategy="steps", eval_steps=2)
    host.train()
    assert len(callback.report().cases[0].run.main("train_loss")) == 6
    assert callback.report().cases[0].run.finished
