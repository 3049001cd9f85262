"""The curves of a run, whatever wrote them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor

from .calls import Level

__all__ = ["Kind", "Reading", "Run", "Series"]

Kind = Literal["train_loss", "eval_loss", "lr", "grad_norm", "loss_scale", "perplexity", "epoch", "metric"]


@dataclass(frozen=True)
class Series:
    """One curve: steps in ascending order, each once, and a value at each; values may be NaN or infinite."""

    name: str
    """As the log calls it: "train/loss"."""
    kind: Kind
    steps: Tensor
    """(n,) int64."""
    values: Tensor
    """(n,) float64."""
    every: int = 1
    """Each value is the mean over so many steps; 1 for the value of a step."""
    walls: Tensor | None = None
    """(n,) float64, seconds since 1970, where the log has them."""

    def __len__(self) -> int:
        return self.steps.numel()

    def finite(self) -> Series:
        """Only the points that are numbers."""
        keep = torch.isfinite(self.values)
        walls = None if self.walls is None else self.walls[keep]
        return Series(self.name, self.kind, self.steps[keep], self.values[keep], self.every, walls)


@dataclass(frozen=True)
class Reading:
    """How the log was read, and what it does to numbers."""

    format: str
    """"hf", "lightning", "tensorboard", "wandb", "mlflow", "trackio", "jsonl", "csv", "stdout", "live"."""
    files: tuple[str, ...] = ()
    points: int = 0
    skipped: int = 0
    """Lines or records that could not be read."""
    truncated: bool = False
    """The last record is half written."""
    hides_nan: bool = False
    """The writer replaces losses that are not finite (HF Trainer's logging_nan_inf_filter)."""
    restarts: tuple[int, ...] = ()
    """Steps at which counting went back: the log has the steps from there on twice, the later ones count."""
    series_seen: tuple[str, ...] = ()
    """Every name in the log, used or not."""
    repeated: int = 0
    """Points of the main loss that are left out: a later one of the same step, or of a restart, counts."""
    unsorted: bool = False
    """The lines were not in the order of their steps."""


@dataclass(frozen=True)
class Run:
    """All curves of one run, with what is known of it."""

    name: str
    series: tuple[Series, ...]
    reading: Reading
    levels: tuple[Level, ...] = ()
    """Where its loss may stand: from the calls of a live run, from the run's config or the user's facts for a log."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """num_classes, vocab_size, batch_size, margin, label_smoothing, max_steps, accumulate, loss (a name in the catalogue), ..."""
    events: tuple[tuple[int, str], ...] = ()
    """What the user says happened: (3000, "stage 2")."""
    finished: bool | None = None
    """Whether the run came to its end, where the log says so."""

    def of(self, kind: Kind) -> tuple[Series, ...]:
        """All curves of a kind, the main one first."""
        return tuple(s for s in self.series if s.kind == kind)

    def main(self, kind: Kind) -> Series | None:
        """The curve of a kind that counts, None if there is none."""
        found = self.of(kind)
        return found[0] if found else None
