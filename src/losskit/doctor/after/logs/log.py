"""What a reader makes of one log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...evidence.run import Kind
from .table import Table

__all__ = ["Log"]


@dataclass
class Log:
    """The points of a log, and what it says besides."""

    table: Table = field(default_factory=Table)
    files: tuple[str, ...] = ()
    """What was read of the source's files."""
    truncated: bool = False
    hides_nan: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)
    finished: bool | None = None
    means: frozenset[Kind] = frozenset()
    """Kinds whose values are means since the last one."""
    aligned: bool = True
    """What stands in one row was logged together."""
