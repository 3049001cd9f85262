"""The last layer of a language model, and what it says of rows."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MEMORY", "Details", "Head", "ModelError", "Scores", "apart", "seen"]

MEMORY = 32 << 20  # bytes for scores in flight
# root mean square between the model's own scores and ours, as a share of theirs: three to five times the dtype's rounding
_TOLERANCE = {torch.float64: 1e-10, torch.float32: 2e-5, torch.float16: 1e-3, torch.bfloat16: 5e-3}


class ModelError(ValueError):
    """A model that cannot be evaluated as it is."""


class Head(NamedTuple):
    """The last layer: scores = softcap * tanh(scale * (x @ weight.T + bias) / softcap)."""

    weight: Tensor
    """(V, D)"""
    bias: Tensor | None = None
    """(V,)"""
    scale: float = 1.0
    softcap: float | None = None

    def checked(self) -> Head:
        """The same, its bias in the dtype of the weights.

        Raises:     ModelError for shapes that do not fit.
        """
        if self.weight.ndim != 2 or not self.weight.is_floating_point():
            raise ModelError(f'"head" has weight {tuple(self.weight.shape)}, expected (V, D) of floating point')
        if self.bias is None:
            return self
        if self.bias.shape != self.weight.shape[:1]:
            raise ModelError(f'"head" has bias {tuple(self.bias.shape)}, expected ({len(self.weight)},) like its weight')
        return self._replace(bias=self.bias.to(self.weight))


class Scores(NamedTuple):
    """Of each row, (n,)."""

    nats: Tensor
    """-log p of the target, float64."""
    top: Tensor | None
    """The likeliest token, where it was asked for."""


class Details(NamedTuple):
    """Of each row, (n,)."""

    nats: Tensor
    """-log p of the target, float64."""
    rank: Tensor
    """Of the target; 1 is the likeliest."""
    entropy: Tensor
    """In nats."""
    top: Tensor
    """The likeliest token."""


def seen(scores: Tensor, target: Tensor, nats: Tensor) -> Details:
    """Details from scores (n, V) in float64."""
    own = scores.gather(1, target.unsqueeze(1))
    log_p = scores.log_softmax(1)
    entropy: Tensor = torch.special.entr(log_p.exp()).sum(1)
    return Details(nats, 1 + (scores > own).sum(1), entropy, scores.argmax(1))


def apart(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> float:
    """How far two sets of scores (n, V) are apart, 1 at the edge of what rounding in ``dtype`` makes; inf where one is no number.

    By root mean square, where a cap that was missed stands out from rounding; and by the largest difference, where a
    single class does.
    """
    finite = theirs.isfinite()
    if bool((finite != ours.isfinite()).any()):
        return math.inf
    size = theirs[finite].abs().max() if bool(finite.any()) else 0
    if not size:
        return 0.0 if not bool(finite.any()) or bool((ours[finite] == 0).all()) else math.inf
    off = (ours - theirs)[finite]
    share = _TOLERANCE.get(dtype, 2e-5)
    mean = off.square().mean().sqrt() / theirs[finite].square().mean().sqrt()
    # a rounded score is half a unit off at most: eight times the share at the size of the largest
    return max(float(mean) / share, float(off.abs().max() / size) / (2 * share))
