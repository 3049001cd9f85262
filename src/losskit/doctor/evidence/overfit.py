"""Whether one batch can be learned by heart."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Anew", "Attempt", "Overfit"]


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
class Anew:
    """A loss that is another one each time, of outputs that are the same: what is learned of it with new random numbers."""

    losses: tuple[float, float]
    """Of the same weights, with two draws."""
    attempt: Attempt
    """Adam with a new draw at each step."""
    constant: float | None = None
    """The loss of the best constant for these samples, where one known loss is all of it."""


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
    plain: Attempt | None = None
    """The user's optimizer without clipping, where ``own`` is the trial whose gradients were clipped."""
    anew: Anew | None = None
    """Where the loss of the same outputs hangs on random numbers."""
