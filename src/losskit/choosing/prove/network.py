"""Many small models trained side by side: one for each fold and learning rate, as one batch of matrix products."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["HIDDEN", "RATES", "STEPS", "Data", "Objective", "fit", "predict"]

HIDDEN = 64
RATES = {"linear": (0.01, 0.03, 0.1), "mlp": (0.003, 0.01, 0.03)}  # from slow to fast for Adam on standardised inputs
STEPS = 300
LOOK = 10  # steps between two looks at the rows held out
PATIENCE = 5  # looks in which the best model of no fold became better by a thousandth
BATCH = 128  # units a step; fewer are taken all at once

Weights = list[Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]
"""Outputs (M, n, ..., O) and the units (M, n) they are of -> the mean loss of each of the M models, (M,)."""


class Data(NamedTuple):
    """Standardised inputs of every fold, and which units it trains on and stops by; all of one length."""

    inputs: Tensor
    """(F, U, ..., D): the units as each fold sees them"""
    train: Tensor
    """(F, n)"""
    stop: Tensor
    """(F, m)"""


def _begin(models: int, width: int, outputs: int, hidden: bool, generator: torch.Generator) -> Weights:
    """The same first weights for every model: He 2015 below the ReLU, and outputs so small that all begin at the constant."""
    below = HIDDEN if hidden else width
    made = [0.01 * torch.randn(below, outputs, generator=generator) / math.sqrt(below), torch.zeros(1, outputs)]
    if hidden:
        made = [torch.randn(width, HIDDEN, generator=generator) * math.sqrt(2 / width), torch.zeros(1, HIDDEN), *made]
    return [w.repeat(models, 1, 1).requires_grad_() for w in made]


def predict(weights: Weights, inputs: Tensor) -> Tensor:
    """(M, n, ..., D) inputs to (M, n, ..., O) outputs."""
    flat = inputs.flatten(1, -2)
    for i in range(0, len(weights), 2):
        flat = torch.baddbmm(weights[i + 1], flat.relu() if i else flat, weights[i])
    return flat.reshape(*inputs.shape[:-1], -1)


def fit(data: Data, objective: Objective, outputs: int, *, model: str, seed: int, steps: int = STEPS) -> Weights:
    """The weights of each fold at its best step and learning rate, both chosen by the units held out inside the fold."""
    generator = torch.Generator().manual_seed(seed)
    folds, rates = len(data.inputs), torch.tensor(RATES[model])
    weights = _begin(folds * len(rates), data.inputs.shape[-1], outputs, model == "mlp", generator)
    rate = rates.repeat(folds)[:, None, None]
    moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
    held = _gathered(data.inputs, data.stop, len(rates))
    kept, best, quiet = [w.detach().clone() for w in weights], torch.full((len(rate),), 1e30), 0
    every = _gathered(data.inputs, data.train, len(rates)) if data.train.shape[1] <= BATCH else None
    for t in range(steps + 1):
        if t % LOOK == 0:
            with torch.no_grad():
                now = objective(predict(weights, held[0]), held[1]).to(best.dtype)
            better = now < best - 1e-6 * best.abs()
            lead = best.view(folds, -1).amin(1)
            best = torch.where(better, now, best)
            gained = lead - best.view(folds, -1).amin(1) > 1e-3 * lead.abs()
            quiet = 0 if t == 0 or bool(gained.any()) else quiet + 1
            kept = [torch.where(better[:, None, None], w.detach(), k) for w, k in zip(weights, kept, strict=True)]
            if quiet > PATIENCE:
                break
        inputs, at = every or _gathered(data.inputs, _some(data.train, generator), len(rates))
        loss = objective(predict(weights, inputs), at).sum()
        _adam(weights, torch.autograd.grad(loss, weights), moments, rate, t + 1)
    chosen = best.view(folds, -1).argmin(1) + torch.arange(folds) * len(rates)
    return [k[chosen] for k in kept]


def _some(train: Tensor, generator: torch.Generator) -> Tensor:
    """The units of a step, (F, BATCH)."""
    return train[:, torch.randperm(train.shape[1], generator=generator)[:BATCH]]


def _gathered(inputs: Tensor, at: Tensor, rates: int) -> tuple[Tensor, Tensor]:
    """The inputs at these units, once for each learning rate, (M, b, ..., D), and the units, (M, b)."""
    fold = torch.arange(len(inputs))[:, None]
    return inputs[fold, at].repeat_interleave(rates, 0), at.repeat_interleave(rates, 0)


@torch.no_grad()
def _adam(weights: Weights, gradients: tuple[Tensor, ...], moments: list[tuple[Tensor, Tensor]], rate: Tensor, t: int) -> None:
    """Kingma and Ba 2015 with a learning rate for each model; a gradient that is no number moves nothing."""
    for w, g, (first, second) in zip(weights, gradients, moments, strict=True):
        g = g.nan_to_num(0, 0, 0)
        first.lerp_(g, 0.1)
        second.lerp_(g * g, 0.001)
        w -= rate * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-12)
