"""D115: the input is far from unit scale, and the loss at the start shows it."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..before.labels import entry_of
from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_start import start_of, starts_high

__all__ = ["input_is_not_scaled"]

LARGE = 10.0  # standard deviation of a feature; pixels of 0..255 have about 70, nets take 1, and the loss must show it besides


@finding("D115", severity="warning", phases=("before",), explains=("D401", "D312", "D217", "D218", "D503"))
def input_is_not_scaled(evidence: Evidence) -> Iterator[Hit]:
    """The input has features of a standard deviation above 10, and the fresh model's loss is far above that of a guess.

    Cause:       Layers are initialised for inputs of mean 0 and standard deviation 1. Inputs of standard deviation s make
                 first outputs and gradients about s times as large: the loss starts high, saturates units, and wants a
                 smaller learning rate.
    Rule:        The largest standard deviation of a feature (column of a floating entry of the batch that is no target) is
                 above 10, and the mean loss of the samples is above that of a guess (chance; in a regression the best
                 constant) by more than half of it and by more than 6 standard errors, from_scratch=True. Where from_scratch
                 was not said: by more than twice the guess.
    Silent when: the loss at the start is what a guess has (a norm layer in front takes the scale away), or the model is
                 pre-trained. A feature that never changes in the batch is no fault: borders of images are like that.
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
    fresh = evidence.settings.from_scratch
    starts = [
        start for call in evidence.calls if (start := start_of(call, values=True)) is not None and starts_high(start, fresh)
    ]
    if not starts:
        return
    targets = {entry_of(evidence.batch, call.tensors["target"]) for call in evidence.calls if "target" in call.tensors}
    for name, tensor in evidence.batch.tensors.items():
        if not tensor.is_floating_point() or tensor.dim() < 2 or len(tensor) < 2 or name in targets:
            continue
        features = tensor.detach().double().flatten(1)
        spread = float(torch.where(features.isfinite(), features, 0).std(0).max())
        if spread > LARGE:
            value, guess = starts[0].mean, starts[0].chance
            said = f'"{name}" has a feature of standard deviation {spread:.4g}'
            numbers = {"deviation": spread, "loss": value, "guess": guess}
            yield Hit(f"{said}: the loss starts at {value:.4g}, a guess has {guess:.4g}", numbers, where=name, confidence=0.8)
