"""One call of a loss as it was intercepted, and the batch that it was called for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

__all__ = ["Batch", "Level", "LossCall"]


@dataclass(frozen=True)
class Level:
    """A number with a name that a loss may stand at: "ln 10: chance among 10 classes"."""

    name: str
    value: float
    kind: str
    """chance (knows nothing), constant (ignores the input), floor (at best), plateau (a known mistake stops there)."""
    code: str = ""
    """The finding that names what is wrong at a plateau, e.g. "D101"."""


@dataclass(frozen=True)
class LossCall:
    """A call of a torch.nn.functional loss, of a losskit loss, or of a module that is one."""

    name: str
    """As torch or losskit calls the function: "cross_entropy", "binary_cross_entropy_with_logits", "info_nce_loss"."""
    home: str
    """"torch", "losskit", or "written" for a difference or product by hand ("sub", "mul")."""
    tensors: Mapping[str, Tensor]
    """The tensor arguments by their names, detached: input, target, weight, anchor, ..."""
    options: Mapping[str, Any]
    """All other arguments by name, defaults included."""
    value: Tensor | None
    """What it returned, detached; None if it raised."""
    error: str = ""
    """What it raised, in one line."""
    upstream: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """For each tensor argument the names of the autograd nodes above it, nearest first, views skipped ("SoftmaxBackward0")."""
    needs_grad: Mapping[str, bool] = field(default_factory=dict)
    """For each tensor argument whether it required a gradient."""
    dims: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """For each tensor argument the dimension of each node above it that has one: {"input": {"SoftmaxBackward0": 1}}."""
    where: str = ""
    """The user's line: "train.py:41"."""
    slope: float | None = None
    """d total / d value: 1 for a loss that is minimised as it is, -1 for the wrong sign, 0 or None for a part cut off."""
    per_sample: Tensor | None = None
    """The same call with reduction="none" where it has one, detached, float64."""
    levels: tuple[Level, ...] = ()
    """Where its value may stand."""


@dataclass(frozen=True)
class Batch:
    """What went into the model: floating tensors and indices, by their path in the batch ("0", "input_ids", "x.mask")."""

    tensors: Mapping[str, Tensor]
    samples: int
    """The first dimension that most tensors share."""
    tokenizer: Mapping[str, int | None] = field(default_factory=dict)
    """Special ids if a tokenizer was given: pad_token_id, eos_token_id, bos_token_id, vocab_size."""
