"""The last layer of a language model, and what it says of rows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["MEMORY", "Details", "Head", "ModelError", "Scores", "seen"]

MEMORY = 32 << 20  # bytes for scores in flight


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


class Scores(NamedTuple):
    """Of each row, (n,)."""

    nats: Tensor
    """-log p of the target, float64."""
    top: Tensor
    """The likeliest token."""


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
