"""What an optimizer's name says of its steps."""

from __future__ import annotations

__all__ = ["ignores_scale"]

# a constant factor in the gradient falls out of their steps
_SCALE_FREE = ("Adam", "Adamax", "NAdam", "RAdam", "RMSprop", "Adagrad", "Adadelta", "Adafactor", "Lion", "LAMB", "Rprop", "Muon")


def ignores_scale(optimizer: str) -> bool:
    """Whether an optimizer ("AdamW", "FusedAdam", "Adam (lr 0.001)") makes the same steps from gradients that are all doubled."""
    kind = optimizer.partition("(")[0].split(" ")[0].rpartition(".")[2]
    return any(kind.endswith(one) or kind.startswith(one) for one in _SCALE_FREE)
