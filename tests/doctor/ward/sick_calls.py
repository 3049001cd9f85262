"""D1xx: the loss is called on the wrong numbers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from losskit.doctor.report import Report

from .cases import Batch, before, during, mlp, sick, stream, task


def _batch(size: int = 64, classes: int = 10) -> Batch:
    x, y = task(classes=classes)
    return x[:size], y[:size]


def _adam(model: nn.Module, lr: float = 1e-3) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters(), lr=lr)


def _houses(rows: int = 64) -> Batch:
    """Area, rooms and age of a house, and what it costs."""
    area, rooms, age = 40 + 200 * torch.rand(rows), torch.randint(1, 8, (rows,)).float(), 80 * torch.rand(rows)
    price = 3000 * area + 20_000 * rooms - 500 * age + 20_000 * torch.randn(rows)
    return torch.stack([area, rooms, age], 1), price


@sick("D101")
def softmax_layer_and_cross_entropy() -> Report:
    model = mlp(20, 10, 64, nn.Softmax(dim=1))
    return before(model, _batch(), nn.CrossEntropyLoss(), _adam(model))


@sick("D101")
def softmax_in_forward_and_cross_entropy_live() -> Report:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two = nn.Linear(20, 64), nn.Linear(64, 10)

        def forward(self, x: Tensor) -> Tensor:
            return torch.softmax(self.two(torch.relu(self.one(x))), dim=-1)

    model = Net()
    return during(model, stream(task(), 150), F.cross_entropy, _adam(model))


@sick("D102")
def nll_loss_of_plain_scores() -> Report:
    model = mlp()
    return before(model, _batch(), nn.NLLLoss(), _adam(model))


@sick("D102")
def nll_loss_of_probabilities() -> Report:
    model = mlp(20, 10, 64, nn.Softmax(dim=1))
    return before(model, _batch(), nn.NLLLoss(), _adam(model))


@sick("D102")
def bce_loss_of_plain_scores() -> Report:
    x, y = _batch(classes=2)
    model = mlp(20, 1)
    return before(model, (x, y.float()[:, None]), nn.BCELoss(), _adam(model))


@sick("D102")
def input_and_target_swapped() -> Report:
    x, y = _batch(classes=2)
    model = mlp(20, 1)
    return before(
        model, (x, y.float()[:, None]), lambda out, target: F.binary_cross_entropy_with_logits(target, out), _adam(model)
    )


@sick("D103")
def sigmoid_and_bce_with_logits() -> Report:
    x, y = _batch(classes=2)
    model = mlp(20, 1, 64, nn.Sigmoid())
    return before(model, (x, y.float()[:, None]), nn.BCEWithLogitsLoss(), _adam(model))


@sick("D104")
def classes_counted_from_one() -> Report:
    x, y = _batch()
    model = mlp()
    return before(model, (x, y + 1), nn.CrossEntropyLoss(), _adam(model))


@sick("D104")
def border_pixels_are_255() -> Report:
    x, y = torch.randn(4, 3, 16, 16), torch.randint(0, 5, (4, 16, 16))
    y[:, 0], y[:, -1] = 255, 255
    model = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 5, 1))
    return before(model, (x, y), nn.CrossEntropyLoss(), _adam(model))


@sick("D106")
def column_against_row() -> Report:
    x = torch.randn(64, 8)
    model = mlp(8, 1)
    return before(model, (x, x[:, 0] - x[:, 1]), nn.MSELoss(), _adam(model))


@sick("D106")
def column_against_row_by_hand() -> Report:
    x = torch.randn(64, 8)
    model = mlp(8, 1)
    return before(model, (x, x[:, 0] * 2), lambda out, y: ((out - y) ** 2).mean(), _adam(model))


@sick("D107")
def several_labels_a_sample_into_cross_entropy() -> Report:
    x, y = torch.randn(64, 20), (torch.rand(64, 10) < 0.3).float()
    model = mlp()
    return before(model, (x, y), nn.CrossEntropyLoss(), _adam(model))


@sick("D108")
def class_axis_last_and_as_long_as_the_sequence() -> Report:
    class Tagger(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.out = nn.Embedding(50, 32), nn.Linear(32, 12)

        def forward(self, ids: Tensor) -> Tensor:
            return self.out(self.embed(ids))  # (N, T, C) with T = C = 12

    ids = torch.randint(0, 50, (16, 12))
    model = Tagger()
    return before(model, (ids, ids % 12), nn.CrossEntropyLoss(), _adam(model))


@sick("D109")
def log_softmax_over_the_batch() -> Report:
    model = mlp(20, 10, 64, nn.LogSoftmax(dim=0))
    return before(model, _batch(), nn.NLLLoss(), _adam(model))


@sick("D110")
def one_score_for_two_classes() -> Report:
    x, y = _batch(classes=2)
    model = mlp(20, 1)
    return before(model, (x, torch.zeros_like(y)), nn.CrossEntropyLoss(), _adam(model))


@sick("D111")
def every_label_is_ignored() -> Report:
    x, y = _batch()
    model = mlp()
    return before(model, (x, torch.full_like(y, -100)), nn.CrossEntropyLoss(), _adam(model))


@sick("D113")
def kl_div_of_probabilities() -> Report:
    x, _ = _batch()
    teacher, model = mlp(), mlp()
    soft = torch.softmax(teacher(x), 1).detach()
    return before(model, (x, soft), lambda out, t: F.kl_div(out.softmax(1), t, reduction="batchmean"), _adam(model))


@sick("D114")
def transcript_longer_than_the_sound() -> Report:
    model = nn.Linear(16, 12)
    frames, text = torch.randn(10, 4, 16), torch.randint(1, 12, (4, 14))

    def loss(out: Tensor, target: Tensor) -> Tensor:
        lengths = torch.full((4,), 10), torch.full((4,), 14)
        return F.ctc_loss(out.log_softmax(-1), target, *lengths)

    return before(model, (frames, text), loss, _adam(model))


@sick("D115")
def raw_columns_of_a_table() -> Report:
    x, price = _houses()
    x[:, 0] *= 1000
    model = mlp(3, 2)
    return before(
        model, (x, (price > price.median()).long()), nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), lr=0.01)
    )


@sick("D116")
def prices_as_they_are() -> Report:
    x, price = _houses()
    x = (x - x.mean(0)) / x.std(0)
    model = mlp(3, 1)
    return before(model, (x, price[:, None]), nn.MSELoss(), _adam(model))


@sick("D117")
def data_sorted_by_class() -> Report:
    x, y = task()
    order = y.argsort()
    model = mlp()
    return before(model, (x[order][:64], y[order][:64]), nn.CrossEntropyLoss(), _adam(model))


@sick("D118")
def weight_of_the_commonest_class_is_zero() -> Report:
    x, y = _batch()
    y[:30] = 0
    counts = torch.bincount(y, minlength=10).float()
    model = mlp()
    return before(model, (x, y), nn.CrossEntropyLoss(weight=counts.max() - counts), _adam(model))


@sick("D119")
def sum_over_the_batch() -> Report:
    model = mlp()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return before(model, _batch(256), nn.CrossEntropyLoss(reduction="sum"), optimizer)
