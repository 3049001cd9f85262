"""All healthy runs."""

from __future__ import annotations

from . import (
    healthy_classes,
    healthy_embeddings,
    healthy_habits,
    healthy_language,
    healthy_libraries,
    healthy_numbers,
    healthy_schedules,
)
from .healthy_run import HEALTHY, PHASES, SEEDS, alarms, looked_at

__all__ = ["HEALTHY", "PHASES", "SEEDS", "alarms", "looked_at"]

# each enters its runs when it is loaded
FILES = (
    healthy_classes,
    healthy_schedules,
    healthy_numbers,
    healthy_embeddings,
    healthy_language,
    healthy_habits,
    healthy_libraries,
)
