"""D902: the log goes back in its steps."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["steps_logged_twice"]

SHOWN = 5


@finding("D902", severity="info", phases=("after",), explains=())
def steps_logged_twice(evidence: Evidence) -> Iterator[Hit]:
    """The run was started again from an earlier step: some steps are in the log twice, and the later ones count.

    Cause:       A job that is resumed from its last checkpoint repeats the steps after it, and writes them into the same log.
    Rule:        The step of a line is not above that of a line before it, other than the same step again.
    Silent when: every curve goes forward.
    Fix:         None for the run. For a plot, keep the last value of each step.
    Confirm:     The number of restarts is that of the job's.
    Reference:   The steps are those of Run.reading.restarts.
    Example:
        step 900, 1000, 1100, 1000, 1100, 1200   # resumed at 1000
        step 900, 1000, 1100, 1200               # in one go
    """
    run = evidence.run
    restarts: tuple[int, ...] = run.reading.restarts if run is not None else ()
    if not restarts:
        return
    shown = ", ".join(map(str, restarts[:SHOWN])) + (", ..." if len(restarts) > SHOWN else "")
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    said = f"counting went back {times}, to step {shown}: where a step is there twice, its later value counts"
    yield Hit(said, {"restarts": len(restarts), "first": restarts[0]}, step=restarts[0])
