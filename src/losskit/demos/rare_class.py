"""A class that is one row in a hundred: what weighting, focal loss and logit adjustment change, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses.binary import binary_cross_entropy_with_logits
from ..losses.focal import binary_focal_loss
from ..losses.imbalance import logit_adjusted_loss
from . import generator
from .data import digits

__all__ = ["Plan", "average_precision", "rare_class"]

RARE = 8
POSITIVES, NEGATIVES = 9, 811
RATIO = NEGATIVES / POSITIVES
COUNTS = torch.tensor([NEGATIVES, POSITIVES], dtype=torch.float64)
HIDDEN, RATE, EVERY = 16, 0.01, 20
RECALLS = tuple(i / 20 for i in range(1, 21))

CODE = """\
import torch, losskit

logits = torch.tensor([-4.0, -3.0, 0.5])   # three rows, the last one a rare positive
target = torch.tensor([0.0, 0.0, 1.0])
counts = torch.tensor([811.0, 9.0])        # negatives and positives in the training data

losskit.binary_cross_entropy_with_logits(logits, target)
losskit.binary_cross_entropy_with_logits(logits, target, pos_weight=counts[0] / counts[1])
losskit.binary_focal_loss(logits, target, gamma=2.0)

both = torch.stack([torch.zeros(3), logits], -1)   # the same logit as a pair of scores
losskit.logit_adjusted_loss(both, target.long(), prior=counts / counts.sum())
losskit.adjust_logits(both, prior=counts / counts.sum())   # after training: moves the threshold, nothing else
"""


class Plan(NamedTuple):
    """How much to measure: the random subsamples and the steps of a training."""

    splits: Sequence[int] = tuple(range(10))
    steps: int = 600


class Split(NamedTuple):
    """Training rows, test rows, and what each test row counts so that the rare class is as rare as in training."""

    images: Tensor
    target: Tensor
    unseen: Tensor
    truth: Tensor
    weight: Tensor


def splits(seeds: Sequence[int]) -> Split:
    """For every seed nine 8s and 811 other digits to learn from, and all other rows to test on."""
    images, labels = digits()
    rare, common = (labels == RARE).nonzero().squeeze(-1), (labels != RARE).nonzero().squeeze(-1)
    learn: list[Tensor] = []
    test: list[Tensor] = []
    for seed in seeds:
        source = generator(seed)
        eights, others = (rows[torch.randperm(len(rows), generator=source)] for rows in (rare, common))
        learn.append(torch.cat([eights[:POSITIVES], others[:NEGATIVES]]))
        test.append(torch.cat([eights[POSITIVES:], others[NEGATIVES:]]))
    rows, unseen = torch.stack(learn), torch.stack(test)
    truth = (labels[unseen] == RARE).double()
    negatives, positives = (1 - truth).sum(-1, keepdim=True), truth.sum(-1, keepdim=True)
    weight = torch.where(truth == 1, negatives / positives / RATIO, 1.0)
    return Split(images[rows], (labels[rows] == RARE).double(), images[unseen], truth, weight)


def pair(logits: Tensor) -> Tensor:
    """A binary logit as the scores of two classes."""
    return torch.stack([torch.zeros_like(logits), logits], -1)


def prior() -> Tensor:
    """The class frequencies of the training rows."""
    return COUNTS / COUNTS.sum()


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "BCE": binary_cross_entropy_with_logits,
    "weighted": lambda logits, target: binary_cross_entropy_with_logits(logits, target, pos_weight=RATIO),
    "focal": lambda logits, target: binary_focal_loss(logits, target, gamma=2.0),
    "focal, alpha 0.9": lambda logits, target: binary_focal_loss(logits, target, gamma=2.0, alpha=0.9),
    "logit-adjusted": lambda logits, target: logit_adjusted_loss(pair(logits), target.long(), prior=prior()),
}
MOVED = "BCE, threshold moved"


def train(loss: Callable[[Tensor, Tensor], Tensor], data: Split, steps: int) -> Tensor:
    """The test logits of a small network every 20 steps of Adam, for every split; (times, splits, rows)."""
    source, count = generator(7), len(data.images)

    def layer(inputs: int, outputs: int) -> list[Tensor]:
        weight = torch.randn(count, inputs, outputs, generator=source, dtype=torch.float64) / math.sqrt(inputs)
        return [weight.requires_grad_(), torch.zeros(count, 1, outputs, dtype=torch.float64, requires_grad=True)]

    hidden, last = layer(64, HIDDEN), layer(HIDDEN, 1)

    def scores(images: Tensor) -> Tensor:
        return (torch.relu(images @ hidden[0] + hidden[1]) @ last[0] + last[1]).squeeze(-1)

    optimizer = torch.optim.Adam([*hidden, *last], lr=RATE)
    seen: list[Tensor] = []
    for step in range(steps + 1):
        if step % EVERY == 0:
            seen.append(scores(data.unseen).detach())
        optimizer.zero_grad()
        (count * loss(scores(data.images), data.target)).backward()
        optimizer.step()
    return torch.stack(seen)


def average_precision(logits: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """The mean of the precisions at every positive, rows counting ``weight``; (*, rows) -> (*)."""
    positive, precision = _ranked(logits, truth, weight)
    return (positive * precision).sum(-1) / positive.sum(-1)


def _ranked(logits: Tensor, truth: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight of each positive and the precision down to it, best score first."""
    order = logits.argsort(dim=-1, descending=True, stable=True)
    counts = weight.expand_as(logits).gather(-1, order)
    positive = counts * truth.expand_as(logits).gather(-1, order)
    return positive, positive.cumsum(-1) / counts.cumsum(-1)


def judge(logits: Tensor, data: Split) -> dict[str, Tensor]:
    """What the test rows say: recall, precision, ranking and calibration; each (*, splits)."""
    probability, positive = logits.sigmoid(), data.weight * data.truth
    found = ((logits > 0) * positive).sum(-1)
    alarms = ((logits > 0) * data.weight).sum(-1)
    always = prior()[0] * prior()[1] * data.weight.sum(-1)  # the Brier sum of saying the prior to everyone
    return {
        "recall": found / positive.sum(-1),
        "precision": torch.where(alarms > 0, found / alarms, 0),
        "ap": average_precision(logits, data.truth, data.weight),
        "claimed": (probability * data.weight).sum(-1) / positive.sum(-1),
        "brier": ((probability - data.truth).square() * data.weight).sum(-1) / always,
    }


def precision_at(logits: Tensor, data: Split) -> list[float]:
    """The mean precision over the splits where each recall is first reached."""
    positive, precision = _ranked(logits, data.truth, data.weight)
    recall = positive.cumsum(-1) / positive.sum(-1, keepdim=True)
    return [float(precision.gather(-1, (recall >= r - 1e-9).int().argmax(-1, keepdim=True)).mean()) for r in RECALLS]
