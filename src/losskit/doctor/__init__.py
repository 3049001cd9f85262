"""Why is this loss stuck, exploding, NaN or lying? Before training, during it, and from the log it left."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .after.diagnosis import diagnose as diagnose
    from .before.checkup import check as check
    from .during.live import Monitor as Monitor
    from .during.live import NonFiniteError as NonFiniteError
    from .evidence.run import Run as Run
    from .evidence.run import Series as Series
    from .finding import Finding as Finding
    from .finding import rules as rules
    from .report import Case as Case
    from .report import Report as Report

# where each public name lives: who trains must not wait for readers of logs
_HOMES = {
    "after.diagnosis": ("diagnose",),
    "before.checkup": ("check",),
    "during.live": ("Monitor", "NonFiniteError"),
    "evidence.run": ("Run", "Series"),
    "finding": ("Finding", "rules"),
    "report": ("Case", "Report"),
}
__all__ = ["Case", "Finding", "Monitor", "NonFiniteError", "Report", "Run", "Series", "check", "diagnose", "rules"]


def __getattr__(name: str) -> Any:
    """Load the file of a name when it is asked for."""
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
