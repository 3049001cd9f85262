"""Whether one batch can be learned by heart."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Attempt", "Overfit"]


@dataclass(frozen=True)
class Attempt:
    """Training on one batch alone."""

    optimizer: str
    """"Adam 1e-3" or the user's own, described."""
    losses: tuple[float, ...]
    steps: int
    reached: bool
    """Whether the loss came down to the floor and a tenth of the way from there to the start."""


@dataclass(frozen=True)
class Overfit:
    """Attempts with the user's optimizer and with Adam 1e-3, on copies."""

    samples: int
    start: float
    floor: float
    """What this batch allows at best: label smoothing, contradicting labels."""
    target: float
    """floor + 10 % of (start - floor)."""
    own: Attempt | None
    adam: Attempt | None
    out_of_time: bool = False
    parameters: int = 0
    """Numbers that could be trained."""
    labels: int = 0
    """Numbers that had to be learned by heart."""
