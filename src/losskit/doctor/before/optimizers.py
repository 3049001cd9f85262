"""What an optimizer's name says of its steps, and which one a wrapper holds."""

from __future__ import annotations

from typing import Any

from torch.optim import Optimizer

__all__ = ["ignores_scale", "inner_optimizer"]

# a constant factor in the gradient falls out of their steps
_SCALE_FREE = ("Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adafactor", "Lion", "LAMB", "Rprop", "Muon")


def ignores_scale(optimizer: str) -> bool:
    """Whether an optimizer ("AdamW", "FusedAdam", "Adam (lr 0.001)") makes the same steps from gradients that are all doubled."""
    kind = optimizer.partition("(")[0].split(" ")[0].rpartition(".")[2]
    return any(kind.endswith(one) or kind.startswith(one) for one in _SCALE_FREE)


def inner_optimizer(optimizer: Any) -> Any:
    """The torch optimizer inside of what a library wraps around it."""
    while isinstance(getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = optimizer.optimizer
    return optimizer
