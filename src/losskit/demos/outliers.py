"""A tenth of the targets with a slipped decimal point: what each regression loss makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..losses.huber import huber_loss
from ..losses.regression import l1_loss, mse_loss
from ..losses.robust import general_robust_loss
from . import Cell, Chart, Column, Figure, Mark, Result, Series, Table, Tick, demo, generator, measure
from .data import diabetes

__all__ = ["Plan", "outliers"]

ROWS = 309
SLIP = 10
SHARES = (0.0, 0.025, 0.05, 0.1, 0.2, 0.3)
SHOWN = 0.1
DELTAS = (0.1, 0.2, 0.5, 1.0, 1.345, 2.0, 3.0, 5.0, 10.0)
DELTA = 1.345  # Huber: 95 % of the efficiency of squared error when the errors are normal
NORMAL = 1.4826  # the standard deviation of a normal distribution over its median absolute deviation

CODE = """\
import torch, losskit

target = torch.tensor([1.0, 2.0, 3.0, 4.0, 1000.0])         # the last one slipped
input = torch.tensor([1.5, 1.5, 3.5, 3.5, 5.0])

scale = 1.4826 * (input - target).abs().median()            # robust: the outlier does not move it
losskit.huber_loss(input, target, delta=1.345 * float(scale))
losskit.general_robust_loss(input, target, alpha=0.0, scale=float(scale))
losskit.mse_loss(input, target)                             # 198005.2: all of it from one row
"""


class Plan(NamedTuple):
    """How much to measure: the random splits and the steps of a fit."""

    splits: Sequence[int] = tuple(range(10))
    steps: int = 600


class Data(NamedTuple):
    """Training rows and targets, test rows and targets; the training targets for every share of slips."""

    features: Tensor
    targets: Tensor
    unseen: Tensor
    truth: Tensor


def splits(seeds: Sequence[int]) -> Data:
    """Random splits; of the training targets a growing share is multiplied by ten: (shares, splits, rows)."""
    features, progression = diabetes()
    order = torch.stack([torch.randperm(len(progression), generator=generator(seed)) for seed in seeds])
    learn, test = order[:, :ROWS], order[:, ROWS:]
    targets = progression[learn].repeat(len(SHARES), 1, 1)
    for share, wrong in zip(SHARES, targets, strict=True):
        wrong[:, : round(share * ROWS)] *= SLIP  # the order is random already
    return Data(features[learn], targets, features[test], progression[test])


class Fit(NamedTuple):
    """Linear models: (..., features, 1) and (..., 1, 1), and the unit of the targets they were fitted in."""

    weight: Tensor
    bias: Tensor
    middle: Tensor
    unit: Tensor

    def __call__(self, features: Tensor) -> Tensor:
        """The predictions, in the unit of the data."""
        return (features @ self.weight + self.bias).squeeze(-1) * self.unit + self.middle


Loss = Callable[[Tensor, Tensor], Tensor]
"""Of predictions and targets, both in units of the robust scale."""


def fit(loss: Loss, features: Tensor, targets: Tensor, steps: int, scale: Tensor | None = None) -> Fit:
    """Linear regression under a loss for every share and split at once: Adam on all rows, its rate falling to 0.

    Targets are measured from their median in units of ``scale``, by default that of the targets themselves.
    """
    middle = targets.median(-1, keepdim=True).values
    unit = robust_scale(targets - middle) if scale is None else scale
    wanted = (targets - middle) / unit
    weight = torch.zeros(*targets.shape[:-1], features.shape[-1], 1, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(*targets.shape[:-1], 1, 1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=0.1)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    models = targets[..., 0].numel()
    for _ in range(steps):
        optimizer.zero_grad()
        (models * loss((features @ weight + bias).squeeze(-1), wanted)).backward()
        optimizer.step()
        schedule.step()
    return Fit(weight.detach(), bias.detach(), middle, unit)


def robust_scale(errors: Tensor) -> Tensor:
    """The standard deviation that a normal distribution with this median absolute error has; (*, rows) -> (*, 1)."""
    return NORMAL * errors.abs().median(-1, keepdim=True).values


LOSSES: dict[str, Loss] = {
    "squared error": mse_loss,
    "absolute error": l1_loss,
    "Huber": lambda input, target: huber_loss(input, target, delta=DELTA),
    "Barron, alpha 1": lambda input, target: general_robust_loss(input, target, alpha=1.0, scale=1.0),
    "Barron, alpha 0": lambda input, target: general_robust_loss(input, target, alpha=0.0, scale=1.0),
}
KEYS = {"squared error": "mse", "absolute error": "mae", "Huber": "huber", "Barron, alpha 1": "barron1", "Barron, alpha 0": "barron0"}


def mean_error(model: Fit, data: Data) -> Tensor:
    """The mean absolute error on clean test targets, for each share and split."""
    return (model(data.unseen) - data.truth).abs().mean(-1)


def by_delta(data: Data, scale: Tensor, steps: int) -> Tensor:
    """The clean test error of Huber's loss at the shown share, for each delta (in units of ``scale``) and split."""
    deltas = torch.tensor(DELTAS, dtype=torch.float64).reshape(-1, 1, 1)
    targets = data.targets[SHARES.index(SHOWN)].expand(len(DELTAS), -1, -1)
    # delta = 1 in units of delta * scale: all deltas in one fit
    return mean_error(fit(huber_loss, data.features, targets, steps, scale=deltas * scale), data)
