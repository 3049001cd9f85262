"""What the look of a target decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .advice import Question

__all__ = ["Decision"]


@dataclass(frozen=True)
class Decision:
    """A task, or why there is none."""

    task: str | None
    shape: str = ""
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    questions: tuple[Question, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str = ""
