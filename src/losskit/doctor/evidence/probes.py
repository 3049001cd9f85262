"""What a live run looks at every so often."""

from __future__ import annotations

from dataclasses import dataclass, field

from .precision import Module
from .wiring import Parameter

__all__ = ["Look", "Probes"]


@dataclass(frozen=True)
class Look:
    """One look at one batch."""

    step: int
    modules: tuple[Module, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    training: bool = True
    """The model's mode."""
    mixed: tuple[str, ...] = ()
    """Modules whose mode is not that of the model."""
    same_batch: tuple[float, float] | None = None
    """The loss of one batch before and after the step, the same random numbers in both."""
    embeddings: tuple[tuple[str, float, float], ...] = ()
    """For each tensor of embeddings that a loss was given: its name, the mean over features of the standard deviation over
    rows (of unit rows), and the mean cosine of different rows."""
    predicted: tuple[float, ...] = ()
    """Share of the rows for which each class is the highest."""
    true: tuple[float, ...] = ()
    """Share of the rows that have each class."""
    temperature: tuple[str, float, float | None] | None = None
    """A learned temperature: its name, its value, and the bound that it stands at, if any."""
    noise_scale: float | None = None
    """B_simple = tr(Sigma) / |G|^2 of McCandlish et al. 2018, from gradients of halves of the batch."""
    batch_size: int = 0
    supervised: int | None = None
    """Rows that the loss counted."""
    outputs: tuple[tuple[str, float, float], ...] = ()
    """For each output of the model, where the loss is written by hand: its name, the mean over features of the standard deviation
    over rows, and the mean cosine of different rows."""


@dataclass(frozen=True)
class Probes:
    """All looks so far, and what was counted in between."""

    looks: tuple[Look, ...] = ()
    clip_ratios: tuple[float, ...] = ()
    """max_norm / norm of the gradients, of the steps at which a clip was seen; above 1 nothing was clipped."""
    clipped_scaled: float | None = None
    """The gradient scaler's factor if gradients were clipped before they were unscaled."""
    cleared_between: int = 0
    """Steps at which the gradients were gone between backward and step."""
    grads_before: int = 0
    """Steps that began with gradients of the step before, no accumulation declared."""
    steps: int = 0
    skipped: int = 0
    """Steps that the guard or the scaler left out."""
    parts_without_grad: tuple[tuple[str, float], ...] = ()
    """Parts of the loss that need no gradient, with their share of it."""
    first_bad: tuple[int, str] | None = field(default=None)
    """The first step whose loss or gradient was not finite, and which of them."""
    late: int = 0
    """Of the first calls of monitor.step(), those that came after the optimizer's step."""
    late_cleared: int = 0
    """Those of them at which the gradients were gone."""
    order_looked: int = 0
    """Calls at which this was looked at."""
