"""D115: the input is far from unit scale, and the loss at the start shows it."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["input_is_not_scaled"]

LARGE = 100.0  # standard deviation of a feature; pixels of 0..255 have about 70, and nets take unit scale
START = 1.5  # times the expected loss: half as much again, as the rule for the loss at the start has it
ERRORS = 6.0  # standard errors of the mean over the samples


@finding("D115", severity="warning", phases=("before",), explains=("D401", "D312", "D217", "D218", "D503"))
def input_is_not_scaled(evidence: Evidence) -> Iterator[Hit]:
    """The input has values in the hundreds, and the fresh model's loss is far above that of a guess.

    Cause:       Layers are initialised for inputs of mean 0 and standard deviation 1. Inputs of standard deviation s make
                 first outputs and gradients about s times as large: the loss starts high, saturates units, and wants a
                 smaller learning rate.
    Rule:        The largest standard deviation of a feature (column of a floating entry of the batch that is no target) is
                 above 100, and the loss of the batch is above 1.5 times the loss of a guess and more than 6 standard errors
                 above it.
    Silent when: the loss at the start is what a guess has (a norm layer in front takes the scale away), or the model is
                 pre-trained.
    Fix:         standardise: x = (x - mean) / std with the moments of the training data, or put nn.BatchNorm1d(features) in
                 front.
    Confirm:     after it, the loss at the start is within 10 % of the loss of a guess (ln C for C classes).
    Reference:   LeCun et al., Efficient BackProp, 1998, section 4.3.
    Example:
        model(torch.randn(64, 20) * 1000)  # sick
        model(torch.randn(64, 20))         # healthy
    """
    if evidence.batch is None or evidence.settings.from_scratch is False:
        return
    high = next(
        ((call, guess) for call in evidence.calls if (guess := _guess(call)) is not None and _starts_high(call, guess)), None
    )
    if high is None:
        return
    targets = [call.tensors["target"] for call in evidence.calls if "target" in call.tensors]
    for name, tensor in evidence.batch.tensors.items():
        if not tensor.is_floating_point() or tensor.dim() < 2 or len(tensor) < 2 or any(_same(tensor, t) for t in targets):
            continue
        features = tensor.detach().double().flatten(1)
        spread = float(torch.where(features.isfinite(), features, 0).std(0).max())
        if spread > LARGE:
            value = float(high[0].value if high[0].value is not None else math.nan)
            said = f'"{name}" has a feature of standard deviation {spread:.4g}'
            numbers = {"deviation": spread, "loss": value, "guess": high[1]}
            yield Hit(f"{said}: the loss starts at {value:.4g}, a guess has {high[1]:.4g}", numbers, where=name, confidence=0.8)


def _guess(call: LossCall) -> float | None:
    """What the loss is without any knowledge."""
    levels = [level.value for level in call.levels if level.kind in ("chance", "constant") and math.isfinite(level.value)]
    return max(levels, default=None)


def _starts_high(call: LossCall, guess: float) -> bool:
    if call.value is None or call.value.numel() != 1 or guess <= 0:
        return False
    error = 0.0
    if call.per_sample is not None and call.per_sample.numel() > 1:
        error = float(call.per_sample.std()) / call.per_sample.numel() ** 0.5
    return float(call.value) > max(START * guess, guess + ERRORS * error)


def _same(one: Tensor, other: Tensor) -> bool:
    return one.numel() == other.numel() and torch.equal(one.flatten().double(), other.flatten().double())
