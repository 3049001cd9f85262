"""Digits, a linear classifier that starts sure of class 0: steps to 90 % of the test digits, for each bias and loss."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor

import losskit

GOAL, LIMIT, RATE = 0.9, 400, 0.5
LOSSES = {
    "ce": losskit.cross_entropy,
    "mse": lambda scores, labels: losskit.mse_loss(scores.softmax(1), torch.nn.functional.one_hot(labels, 10).to(scores)) * 10,
}


def record() -> dict[str, Any]:
    """Run all biases with both losses (about 30 seconds)."""
    data = load_digits()
    x, y = torch.tensor(data.data / 16.0), torch.tensor(data.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    train, test = order[:1400], order[1400:]
    found: dict[str, Any] = {"goal": GOAL, "limit": LIMIT}
    for name, loss in LOSSES.items():
        runs = [_run(loss, bias, x[train], y[train], x[test], y[test]) for bias in range(16)]
        found[name] = {"steps": [steps for steps, _ in runs], "first_norm": [norm for _, norm in runs]}
    return found


def _run(loss: Any, start: float, x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> tuple[int | None, float]:
    """Steps until the goal, and the norm of the first gradient."""
    weight = torch.zeros(64, 10, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(10, dtype=torch.float64)
    bias[0] = start
    bias.requires_grad_()
    first = 0.0
    for step in range(LIMIT + 1):
        if ((x_test @ weight + bias).argmax(1) == y_test).double().mean() >= GOAL:
            return step, first
        gradients = torch.autograd.grad(loss(x @ weight + bias, y), (weight, bias))
        if step == 0:
            first = float(torch.cat([g.flatten() for g in gradients]).norm())
        with torch.no_grad():
            for parameter, gradient in zip((weight, bias), gradients, strict=True):
                parameter -= RATE * gradient
    return None, first
