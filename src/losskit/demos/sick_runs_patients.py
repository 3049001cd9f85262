"""Runs that are sick on purpose, each as somebody writes it by mistake, and their healthy twins on the same data."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from typing_extensions import override

from ..losses.info_nce import info_nce_loss
from ..losses.linear_cross_entropy import linear_cross_entropy
from .data import diabetes, digits, topics
from .gpt import GPT, Rows, Shape, pack
from .sick_runs_ward import Patient, Training

__all__ = ["PATIENTS"]

BATCH = 64
LENGTH = 64
BYTES = 257  # and the token that begins a document
HELD = 8  # topics
TEMPERATURE = 0.1
DIGITS: Mapping[str, Any] = {"loss": "cross_entropy", "num_classes": 10}
PAIRS: Mapping[str, Any] = {"loss": "info_nce_loss", "batch_size": BATCH}
TEXT: Mapping[str, Any] = {"loss": "linear_cross_entropy", "vocab_size": BYTES}
Source = torch.Generator
Batch = Callable[[int], tuple[Tensor, ...]]


def rows_of(source: Source, images: Tensor, labels: Tensor, size: int = BATCH) -> Batch:
    """Random rows at every step."""

    def batch(_: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(labels), (size,), generator=source)
        return images[rows], labels[rows]

    return batch


# ---------------------------------------------------------------------- digits


@functools.cache
def _digits() -> tuple[Tensor, Tensor]:
    images, labels = digits()
    return images.float(), labels


def _network(units: int = 32, activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, units), activation(), nn.Linear(units, 10))


def _classifier(source: Source, model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], rate: float = 0.5) -> Training:
    sgd = torch.optim.SGD(model.parameters(), lr=rate)
    return Training(model, rows_of(source, *_digits()), sgd, loss, facts=DIGITS)


def healthy_digits(source: Source) -> Training:
    """A network of 32 hidden units under SGD."""
    return _classifier(source, _network(), F.cross_entropy)


def softmax_twice(source: Source) -> Training:
    """cross_entropy takes scores, and is given probabilities."""
    return _classifier(source, nn.Sequential(_network(), nn.Softmax(dim=-1)), F.cross_entropy)


def shuffled_labels(source: Source) -> Training:
    """A join by the wrong column: every image has some other image's label."""
    images, labels = _digits()
    run = healthy_digits(source)
    run.batch = rows_of(source, images, labels[torch.randperm(len(labels), generator=source)])
    return run


def another_models_optimizer(source: Source) -> Training:
    """The model is built anew after the optimizer."""
    run = healthy_digits(source)
    run.model = _network()
    return run


def wrong_sign(source: Source) -> Training:
    """A log-likelihood is to grow, and is handed over as a loss."""
    run = _classifier(source, _network(), lambda scores, labels: -F.cross_entropy(scores, labels), rate=0.02)
    run.steps = 100
    return run


def rate_of_ten(source: Source) -> Training:
    """lr=10 with tanh."""
    return _classifier(source, _network(activation=nn.Tanh), F.cross_entropy, rate=10.0)


def gradients_kept(source: Source) -> Training:
    """No zero_grad in the loop."""
    run = _classifier(source, _network(), F.cross_entropy, rate=0.1)
    run.clears = False
    return run


def schedule_in_epochs(source: Source) -> Training:
    """The schedule counts 30 epochs, and is stepped once for each of 300 batches."""
    run = healthy_digits(source)
    run.rate = lambda step: max(0.0, 1 - step / 30)
    return run


def pixels_scaled_twice(source: Source) -> Training:
    """Is it an 8? The loader scales pixels to [0, 1], and the model's transform divides by 255 once more, and once more."""
    images, labels = _digits()
    model = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 2))
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    batch = rows_of(source, images / 255**2, (labels == 8).long())
    return Training(model, batch, sgd, F.cross_entropy, facts={**DIGITS, "num_classes": 2})


def smoothing_floor(source: Source) -> Training:
    """128 images under label smoothing, by heart: 0.5003 is as low as it gets."""
    images, labels = _digits()
    model = _network(64)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    smoothed = functools.partial(F.cross_entropy, label_smoothing=0.1)
    batch = rows_of(source, images[:128], labels[:128])
    return Training(model, batch, adam, smoothed, steps=500, facts={**DIGITS, "label_smoothing": 0.1})


# ---------------------------------------------------------------------- diabetes


@functools.cache
def _diabetes() -> tuple[Tensor, Tensor]:
    columns, progression = diabetes()
    return columns.float(), ((progression - progression.mean()) / progression.std()).float()


def _regression(source: Source, *tail: nn.Module, rate: float = 0.02) -> Training:
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Linear(32, 1), *tail)
    return Training(model, rows_of(source, *_diabetes()), torch.optim.SGD(model.parameters(), lr=rate), F.mse_loss)


def healthy_diabetes(source: Source) -> Training:
    """A network of 32 hidden units; (N,) against (N,)."""
    return _regression(source, nn.Flatten(0))


def column_against_row(source: Source) -> Training:
    """The model gives (N, 1), and the targets are (N,): every prediction is compared with every target."""
    return _regression(source)


def missing_measurement(source: Source) -> Training:
    """One number of one patient was not measured."""
    run = _regression(source, nn.Flatten(0))
    columns, target = _diabetes()
    columns = columns.clone()
    columns[177, 3] = math.nan
    run.batch = rows_of(source, columns, target, 16)
    return run


def explodes(source: Source) -> Training:
    """Least squares with a rate above 2 / curvature."""
    model = nn.Sequential(nn.Linear(10, 1), nn.Flatten(0))
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    return Training(model, rows_of(source, *_diabetes()), sgd, F.mse_loss, steps=100)


# ---------------------------------------------------------------------- Python's manual


@functools.cache
def _manual() -> tuple[Rows, Rows, Rows]:
    """Bytes of all topics but some, of the first alone, and of those held out."""
    texts = topics()
    names = sorted(texts)

    def packed(chosen: Sequence[str], most: int) -> Rows:
        rows = pack([[BYTES - 1, *texts[name]] for name in chosen], LENGTH)
        return Rows(rows.labels[:most], rows.document[:most])

    return packed(names[:-HELD], 4000), packed(names[:1], 16), packed(names[-HELD:], 16)


def _next_byte(model: nn.Module, rows: Rows) -> Tensor:
    assert isinstance(model, GPT)
    return linear_cross_entropy(model(rows), model.table, rows.targets())


def _language(source: Source, learned: Rows, held: Rows, width: int) -> Training:
    model = GPT(BYTES, Shape(width, 1, 2, LENGTH), source)

    def batch(_: int) -> Rows:
        some = torch.randperm(len(learned.labels), generator=source)[:8]
        return Rows(learned.labels[some], learned.document[some])

    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    return Training(model, batch, adam, loss=_next_byte, steps=160, held=held, facts=TEXT)


def healthy_language(source: Source) -> Training:
    """A transformer over bytes of the manual."""
    learned, _, held = _manual()
    return _language(source, learned, held, 32)


def overfitting_language(source: Source) -> Training:
    """A thousand bytes, again and again."""
    _, few, held = _manual()
    return _language(source, few, held, 32)


# ---------------------------------------------------------------------- pairs of images


class Encoder(nn.Module):
    """Embeddings of two noisy copies of the same digits."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 16))

    @override
    def forward(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
        return self.layers(query), self.layers(key)


def _to_each_its_own(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    query, key = model(*batch)
    return info_nce_loss(query, key, temperature=TEMPERATURE)


def _pairs(source: Source, *, shuffled: bool) -> Training:
    images, _ = _digits()
    model = Encoder()

    def noisy(rows: Tensor) -> Tensor:
        return images[rows] + 0.1 * torch.randn(len(rows), 64, generator=source)

    def batch(_: int) -> tuple[Tensor, Tensor]:
        rows = torch.randperm(len(images), generator=source)[:BATCH]
        others = rows[torch.randperm(BATCH, generator=source)] if shuffled else rows
        return noisy(rows), noisy(others)

    adam = torch.optim.Adam(model.parameters(), lr=1e-3)
    return Training(model, batch, adam, loss=_to_each_its_own, steps=280, facts=PAIRS)


def healthy_pairs(source: Source) -> Training:
    """InfoNCE of noisy copies."""
    return _pairs(source, shuffled=False)


def pairs_shuffled(source: Source) -> Training:
    """Both sides of the pairs are shuffled, each by itself."""
    return _pairs(source, shuffled=True)


PATIENTS: Sequence[Patient] = (
    Patient("healthy digits", "digits", "a small network", ("",), healthy_digits),
    Patient("softmax twice", "digits", "Softmax before cross_entropy", ("D101",), softmax_twice),
    Patient("another's optimizer", "digits", "model rebuilt after its optimizer", ("D204",), another_models_optimizer),
    Patient("wrong sign", "digits", "-cross_entropy minimised", ("D220",), wrong_sign),
    Patient("gradients kept", "digits", "no zero_grad", ("D206",), gradients_kept),
    Patient("schedule at 0", "digits", "schedule made for 30 of 300 steps", ("D214",), schedule_in_epochs),
    Patient("learning rate 10", "digits", "lr=10, tanh", ("D501", "D503"), rate_of_ten),
    Patient("shuffled labels", "digits", "labels permuted", ("D403", "D505"), shuffled_labels),
    Patient("scaled twice", "digits", "pixels / 255 / 255: is it an 8?", ("D606",), pixels_scaled_twice),
    Patient("smoothing floor", "digits", "label_smoothing=0.1", ("D404",), smoothing_floor),
    Patient("healthy diabetes", "diabetes", "a small network", ("",), healthy_diabetes),
    Patient("(N, 1) against (N,)", "diabetes", "no squeeze before mse_loss", ("D106",), column_against_row),
    Patient("NaN in a feature", "diabetes", "one missing value of 4420", ("D301",), missing_measurement),
    Patient("explodes", "diabetes", "lr=1, above 2 / curvature", ("D501",), explodes),
    Patient("healthy language", "manual", "a small transformer", ("",), healthy_language),
    Patient("overfits", "manual", "16 rows of text, again and again", ("D601",), overfitting_language),
    Patient("healthy pairs", "pairs", "InfoNCE of two copies", ("",), healthy_pairs),
    Patient("pairs shuffled", "pairs", "queries and keys shuffled apart", ("D701", "D702"), pairs_shuffled),
)
