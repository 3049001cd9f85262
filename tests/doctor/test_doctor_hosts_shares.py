"""What a host does to a loss and to a checkpoint behind the monitor's back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_doctor_hosts import Classifier, Rows, lightning_run
from torch import Tensor

from losskit.doctor import Monitor


@pytest.fixture(autouse=True)
def _seed() -> Iterator[None]:
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the hosts' own, of loaders and workers
        yield


def test_a_share_of_the_tokens_of_all_ranks_is_multiplied_by_their_number() -> None:
    from losskit.integrations.hf import MonitorCallback

    class Sharing(Classifier):
        def forward(self, x: Tensor, labels: Tensor | None = None, num_items_in_batch: int | None = None) -> dict[str, Tensor]:
            logits = self.head(x)
            return {"loss": F.cross_entropy(logits, labels, reduction="sum") / (num_items_in_batch or len(x)), "logits": logits}

    model, data = Sharing(), Rows()
    callback = MonitorCallback(sinks=())
    callback.monitor = Monitor(model, sinks=())
    model.register_forward_hook(callback._after_forward, with_kwargs=True)
    for ranks, items in ((2, 16), (1, None)):
        callback._ranks = ranks  # this one has 8 of the 16 rows
        model(x=data.x[:8], labels=data.y[:8], num_items_in_batch=items)
    shared, own = callback._losses
    assert float(shared) == pytest.approx(float(own))


def test_lightning_s_checkpoint_of_spoilt_weights_says_so_and_what_was_not_looked_at_is_listed() -> None:
    from losskit.integrations.lightning import MonitorCallback

    callback, entries = MonitorCallback(sinks=()), []
    for bad in (None, 19):
        lightning_run(callback, bad=bad)
        entry: dict[str, Any] = {}
        callback.on_save_checkpoint(None, None, entry)
        entries.append(list(entry))
    assert entries == [[], ["losskit: weights are not finite"]]
    ((what, why),) = callback.report().cases[0].left_out
    assert what == "batches evaluated once more"
    assert "D503" in why
    assert "D701" in why
    looking = MonitorCallback(sinks=(), looks=True)
    losses = lightning_run(looking)
    assert looking.report().cases[0].left_out == ()
    assert len(losses) > 24  # the batch once more, which the module counts
