"""D903: the log has no loss, or too little of it."""

from __future__ import annotations

from collections.abc import Iterator

from ...evaluate.page.wording import plural
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["no_loss_to_judge"]

FEW = 20  # points, below which no rule about curves speaks
SHOWN = 8  # names of what was seen
LONGEST = 40  # characters of a name


@finding("D903", severity="warning", phases=("after",), explains=())
def no_loss_to_judge(evidence: Evidence) -> Iterator[Hit]:
    """The log holds no curve that is called a loss, or so few points of it that nothing can be said.

    Cause:       The loss is logged under another name, less often than every 1/20 of the run, or not at all.
    Rule:        No curve is a training or evaluation loss or a perplexity: warning. The longest of them has fewer than 20 points:
                 info.
    Silent when: some loss has 20 points or more.
    Fix:         Log the training loss at least 100 times in a run (logging_steps=10, log_every_n_steps=10), under a name that has
                 "loss" in it.
    Confirm:     losskit doctor PATH names the curve and its number of points.
    Reference:   The names that were seen are those of Run.reading.series_seen.
    Example:
        logger.log({"metric": value})       # nothing to judge
        logger.log({"train/loss": value})   # healthy
    """
    run = evidence.run
    if run is None:
        return
    losses = [s for kind in ("train_loss", "eval_loss", "perplexity") for s in run.series if s.kind == kind]
    longest = max(losses, key=len, default=None)
    points = 0 if longest is None else len(longest)
    if points >= FEW:
        return
    seen = run.reading.series_seen or tuple(s.name for s in run.series)
    names = ", ".join(name[:LONGEST] for name in seen[:SHOWN]) or "nothing"
    more = f" and {len(seen) - SHOWN} more" if len(seen) > SHOWN else ""
    if longest is not None and points:
        said = f"the longest loss curve, {longest.name[:LONGEST]}, has {plural(points, 'point')}; curves are judged from {FEW} on"
    else:
        said = f"no loss among {plural(len(seen), 'curve')}: the log has {names}{more}"
    yield Hit(said, {"points": points, "curves": len(seen)}, severity="info" if points else "warning")
