"""What the look of a target decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .advice import Question

__all__ = ["Decision", "all_rows"]


def all_rows(count: int) -> str:
    """So many rows, where it is all of them."""
    return f"all {count} rows" if count > 1 else "its only row"


@dataclass(frozen=True)
class Decision:
    """A task, or why there is none."""

    task: str | None
    shape: str = ""
    roles: Mapping[str, str] = field(default_factory=dict[str, str])
    questions: tuple[Question, ...] = ()
    warnings: tuple[str, ...] = ()
    refusal: str = ""
    unread: str = ""
    """The column whose numbers are written in a way that is not read."""
