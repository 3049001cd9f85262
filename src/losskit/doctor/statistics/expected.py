"""What happened around a step that moves a loss for good reason, or that explains why it moved."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..evidence.run import Run
from .curve import RISE, Curve, rate_rises

__all__ = ["Around", "around", "grad_norm_around"]

NEAR = 20  # points on either side of a jump that belong to it
PAUSE = 60.0  # seconds, and 50 times the usual distance of two points: somebody stopped and resumed


@dataclass(frozen=True)
class Around:
    """What is known of the points around one of them."""

    rate: float
    """How many times the learning rate grew."""
    event: str
    """What the user said that happened."""
    resumed: bool
    """Counting went back, or the clock stood still."""

    @property
    def explained(self) -> bool:
        """The schedule or the user wanted it."""
        return self.rate >= RISE or bool(self.event)


def around(run: Run, curve: Curve, index: int) -> Around:
    """Looks 20 points back and forth."""
    step = int(curve.steps[index])
    reach = max(1, int(NEAR * curve.spacing))
    said = [text for at, text in run.events if at - reach // 4 <= step <= at + reach]
    restarted = any(at - 1 <= step <= at + reach for at in run.reading.restarts)
    return Around(rate_rises(run, step, reach, reach // 4), said[0] if said else "", restarted or _paused(run, step, reach))


def grad_norm_around(run: Run, step: int, reach: int) -> float | None:
    """Largest gradient norm near a step over the median before it; None where it is not logged."""
    norms = run.main("grad_norm")
    if norms is None:
        return None
    norms = norms.finite()
    low, middle, high = torch.searchsorted(norms.steps, torch.tensor([step - 10 * reach, step - reach, step + reach])).tolist()
    old, new = norms.values[low:middle], norms.values[middle:high]
    if old.numel() < NEAR // 4 or not new.numel() or float(old.median()) <= 0:
        return None
    return float(new.max()) / float(old.median())


def _paused(run: Run, step: int, reach: int) -> bool:
    losses = run.main("train_loss")
    if losses is None or losses.walls is None or len(losses) < NEAR:
        return False
    gaps = losses.walls.diff()
    at = int(torch.searchsorted(losses.steps, step))
    near = gaps[max(0, at - NEAR) : at]
    return bool(near.numel()) and float(near.max()) > max(PAUSE, 50 * float(gaps.median()))
