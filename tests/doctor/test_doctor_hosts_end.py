"""Monitors of a host that end early, or inside of each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from test_doctor_hosts import Classifier, Rows, trainer


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


@pytest.mark.parametrize("attached", [False, True])
def test_a_training_that_is_interrupted_leaves_no_hooks(attached: bool, tmp_path: Path) -> None:
    from transformers import TrainerCallback

    from losskit.integrations.hf import MonitorCallback

    class Interrupts(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            if state.global_step == 3:
                raise KeyboardInterrupt

    callback = MonitorCallback(sinks=())
    host = trainer(tmp_path, callback, max_steps=6)
    host.add_callback(Interrupts())
    if attached:
        callback.attach(host)
        with pytest.raises(KeyboardInterrupt):
            host.train()
    else:
        with pytest.raises(KeyboardInterrupt), callback:
            host.train()
    assert not host.model._forward_hooks
    assert not host.model._forward_pre_hooks
    assert "compute_loss" not in vars(host)
    assert not host.optimizer.optimizer._optimizer_step_pre_hooks
    case = callback.report().cases[0]
    assert case.run is not None
    assert case.run.finished is False
