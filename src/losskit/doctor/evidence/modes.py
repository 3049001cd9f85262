"""One batch in train and in eval mode."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Modes", "Norm"]


@dataclass(frozen=True)
class Norm:
    """A batch-norm's running moments beside those of the batch."""

    name: str
    shift: float
    """Largest |running mean - batch mean| in running standard deviations."""
    ratio: float
    """Largest of batch variance / running variance and its inverse."""
    steps: int | None
    """num_batches_tracked."""
    rows: int = 0
    """Values of each channel in this batch."""


@dataclass(frozen=True)
class Modes:
    """Losses of the same batch in both modes."""

    train: float
    evaluation: float
    without_dropout: float | None
    """Train mode with dropout off: what batch norms alone make."""
    spread: float
    """Standard error of the loss over the samples."""
    norms: tuple[Norm, ...] = ()
    mixed: tuple[str, ...] = ()
    """Modules whose mode is not that of the model."""
    training: bool = True
    """The model's mode as it was handed over."""
