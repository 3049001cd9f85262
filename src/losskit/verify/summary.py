"""What a verify run came to: counts, the machine, and the document for programs."""

from __future__ import annotations

import math
import os
import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .. import __version__
from .claim import Answer, Finding

__all__ = ["Summary", "document", "summary"]


@dataclass(frozen=True)
class Summary:
    """Counts: ``passed`` has ``tied`` in it; what was not run is in neither ``passed`` nor ``failed``."""

    passed: int
    tied: int
    failed: int
    not_run: int
    seconds: float

    @property
    def on(self) -> dict[str, str]:
        """The versions and the machine."""
        return {
            "losskit": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "system": platform.system(),
            "machine": platform.machine(),
            "cores": str(os.cpu_count()),
        }

    @property
    def line(self) -> str:
        """One line for a person."""
        on = self.on
        counted = f"{self.passed} of {self.passed + self.failed} passed ({self.tied} of them ties with torch)"
        made = f"losskit {on['losskit']}, torch {on['torch']}, Python {on['python']}"
        place = f"{on['system']} {on['machine']}, {on['cores']} cores"
        return f"losskit verify: {counted}, {self.failed} failed, {self.not_run} not run; {made}; {place}; {self.seconds:.0f} s"


def summary(found: Sequence[Finding], seconds: float = 0.0) -> Summary:
    """The counts of what was found."""
    count = Counter(f.outcome for f in found)
    return Summary(count["passed"] + count["tied"], count["tied"], count["failed"], count["not run"], seconds)


def document(found: Sequence[Finding], total: Summary) -> dict[str, object]:
    """Everything as JSON has it: what is not finite is a string."""
    rows = [
        {
            "group": f.claim.group,
            "about": f.claim.about,
            "truth": _plain(f.claim.truth),
            "at_most": f.claim.at_most,
            "losskit": _plain(f.ours),
            "torch": _plain(f.torch),
            "tolerance": f.claim.tolerance,
            "outcome": f.outcome,
            "passed": f.passed,
            "tie": f.outcome == "tied",
        }
        for f in found
    ]
    return {
        "version": 1,
        "on": total.on,
        "seconds": round(total.seconds, 1),
        "passed": total.passed,
        "tied": total.tied,
        "failed": total.failed,
        "not_run": total.not_run,
        "summary": total.line,
        "claims": rows,
    }


def _plain(value: Answer | None) -> Answer | None:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
