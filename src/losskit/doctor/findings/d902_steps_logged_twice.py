"""D902: the log goes back in its steps, or has steps twice."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["steps_logged_twice"]

SHOWN = 5
SHARE = 0.1  # of the points stand at a step that comes again: a line or two are nothing to tell
GONE = 0.2  # of the points are replaced after a step back: what is judged is not the log as a person knows it


@finding("D902", severity="info", phases=("after",), explains=())
def steps_logged_twice(evidence: Evidence) -> Iterator[Hit]:
    """Some steps are in the log twice, most often because the run was started again, and the later ones count.

    Cause:       A job that is resumed from its last checkpoint repeats the steps after it, and writes them into the same log. So
                 do several processes that write into one, and runs one after the other in the same file.
    Rule:        The step of a line is below that of a line before it, in at most 10 % of the lines (more are lines out of order,
                 which are sorted); or 10 % of the points of the main loss stand at a step that comes again. Warning where more
                 than 20 % of them are replaced after a step back.
    Silent when: every curve goes forward, or its lines are only out of order.
    Fix:         None for the run. Log from one process (rank 0) into a file of its own for each run; for a plot, keep the last
                 value of each step.
    Confirm:     The number of restarts is that of the job's.
    Reference:   The steps are those of Run.reading.restarts, the points those of Run.reading.repeated.
    Example:
        step 900, 1000, 1100, 1000, 1100, 1200   # resumed at 1000
        step 900, 1000, 1100, 1200               # in one go
    """
    run = evidence.run
    if run is None:
        return
    restarts, repeated = run.reading.restarts, run.reading.repeated
    main = run.main("train_loss") or run.main("eval_loss") or run.main("perplexity")
    points = repeated + (0 if main is None else len(main))
    if not restarts:
        if main is not None and repeated >= SHARE * points and repeated > 1:
            said = f"{repeated} of {points} points of {main.name} stand at a step that comes again: the last value of each counts"
            yield Hit(said, {"repeated": repeated, "points": points})
        return
    shown = ", ".join(map(str, restarts[:SHOWN])) + (", ..." if len(restarts) > SHOWN else "")
    times = "once" if len(restarts) == 1 else f"{len(restarts)} times"
    said = f"counting went back {times}, to step {shown}: where a step is there twice, its later value counts"
    said += f"; {repeated} of {points} points are left out" if repeated else ""
    numbers = {"restarts": len(restarts), "first": restarts[0], "repeated": repeated, "points": points}
    gone = repeated > GONE * points
    yield Hit(said, numbers, step=restarts[0], severity="warning" if gone else None)
