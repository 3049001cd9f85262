"""Losses inside of what people train with, and a perplexity with all that it hangs on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import losskit as lk
from evaluate_tokenizers import tokenizer
from losskit.evaluate import perplexity

CLASSES, WIDTH = 7, 12


@pytest.mark.claim("R33")
def test_a_perplexity_is_told_with_tokens_bytes_windows_tokenizer_and_bits_per_byte() -> None:
    text = "to be, or not to be: that is the question"
    words = tokenizer("bpe", bos=True)

    def model(ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, len(words), dtype=torch.float64)

    report = perplexity(model, words, text, window=16, stride=8)
    told, said = json.loads(report.to_json()), repr(report)
    one = report.overall
    assert report.perplexity == pytest.approx(len(words), rel=1e-12)
    assert one.amounts["byte"] == len(text.encode())
    assert report.bits_per_byte == pytest.approx(one.nats / math.log(2) / len(text.encode()), rel=1e-12)
    assert (report.protocol.window, report.protocol.stride) == (16, 8)
    for part in ("perplexity=", "bits_per_byte=", f"tokens={one.amounts['token']}", "documents=1", "window 16, stride 8"):
        assert part in said
    assert {"protocol", "tokenizer", "context", "data", "model"} <= told.keys()
    assert told["tokenizer"]["vocabulary"] == len(words)
    assert told["context"]["most"] == 16
    bare: Any = report
    with pytest.raises(TypeError):
        float(bare)


@pytest.mark.claim("R38")
@pytest.mark.parametrize(
    ("ours", "theirs", "target"),
    [
        (lk.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.1), lambda y: y),
        (lk.BCEWithLogitsLoss(), nn.BCEWithLogitsLoss(), lambda y: F.one_hot(y, CLASSES).float()),
        (lk.FocalLoss(gamma=0.0), nn.CrossEntropyLoss(), lambda y: y),
        (lk.CrossEntropyLoss(), nn.CrossEntropyLoss(), lambda y: (0.7 * F.one_hot(y, CLASSES) + 0.3 / CLASSES).float()),
    ],
    ids=["smoothing", "binary", "focal", "mixed targets"],
)
def test_a_criterion_of_logits_and_target_trains_a_plain_loop_as_torchs_does(ours: Any, theirs: Any, target: Any) -> None:
    generator = torch.Generator().manual_seed(0)
    data = TensorDataset(torch.randn(64, WIDTH, generator=generator), torch.randint(CLASSES, (64,), generator=generator))
    weights = []
    for criterion in (ours, theirs):
        torch.manual_seed(0)
        model = nn.Linear(WIDTH, CLASSES)
        start = model.weight.detach().clone()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
        for x, y in DataLoader(data, 16):
            optimizer.zero_grad()
            criterion(model(x), target(y)).backward()
            optimizer.step()
        weights.append(model.weight.detach())
        assert float((weights[-1] - start).abs().max()) > 0.01
    torch.testing.assert_close(weights[0], weights[1], rtol=1e-5, atol=1e-6)


class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Sequences of features with labels, a different number of which count in each."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(1)
        self.x = torch.randn(8, 6, WIDTH, generator=generator)
        self.labels = torch.randint(CLASSES, (8, 6), generator=generator)
        for row in range(8):
            self.labels[row, 1 + row % 5 :] = -100

    def __len__(self) -> int:
        return 8

    def __getitem__(self, at: int) -> dict[str, Tensor]:
        return {"x": self.x[at], "labels": self.labels[at]}


class Tagger(nn.Module):
    """A class for each position; what Trainer calls a model."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        return {"logits": self.head(x)}


def told(outputs: dict[str, Tensor], labels: Tensor, num_items_in_batch: Tensor | int | None = None) -> Tensor:
    """What Trainer calls with the number of labels of the whole accumulated batch."""
    return lk.cross_entropy(outputs["logits"], labels, normalizer=num_items_in_batch)


@pytest.mark.claim("R38")
def test_accumulated_micro_batches_of_trainer_are_one_batch_if_the_normalizer_is_given(tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Trainer needs accelerate")
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    weights = []
    for rows, times in ((8, 1), (2, 4), (1, 8)):
        arguments = transformers.TrainingArguments(
            str(tmp_path), max_steps=1, per_device_train_batch_size=rows, gradient_accumulation_steps=times, learning_rate=0.1,
            optim="sgd", max_grad_norm=0.0, lr_scheduler_type="constant", report_to=[], save_strategy="no", use_cpu=True,
            disable_tqdm=True, remove_unused_columns=False, dataloader_pin_memory=False,
        )  # fmt: skip
        model = Tagger()
        start = model.head.weight.detach().clone()
        transformers.Trainer(model, arguments, train_dataset=Rows(), compute_loss_func=told).train()
        weights.append(model.head.weight.detach() - start)
    whole = Tagger()
    told(whole(Rows().x), Rows().labels).backward()
    for moved in weights:
        assert whole.head.weight.grad is not None
        torch.testing.assert_close(moved, -0.1 * whole.head.weight.grad, rtol=1e-4, atol=1e-7)
        assert float(moved.abs().max()) > 1e-3
