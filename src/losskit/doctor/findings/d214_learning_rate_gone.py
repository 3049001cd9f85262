"""D214: the learning rate is gone before the run is over."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..levels_config import number

__all__ = ["learning_rate_gone"]

ZERO = 1e-8  # of the peak: cosine and linear schedules end there or at 0 itself
SMALL = 1e-3  # of the peak: three drops by ten, the most that step schedules make
BEFORE_ZERO = 0.7  # of the run
BEFORE_SMALL = 0.5  # of the run: ReduceLROnPlateau and exponential schedules come to 1e-3 later
POINTS = 20  # at the rate, so that the end of a schedule is none
FEW_POINTS = 5  # where each is the mean of many steps
LIVE_STEPS = 50  # of a live run that has had no other rate than 0: schedules begin with it for a step or two


@finding(
    "D214",
    severity="error",
    phases=("during", "after"),
    explains=("D205", "D403", "D504", "D505", "D606", "D702", "D703", "D804"),
)
def learning_rate_gone(evidence: Evidence) -> Iterator[Hit]:
    """The learning rate is 0, or next to nothing, long before the end of the run: the rest of it changes nothing.

    Cause:       The schedule has ended early: it was made for fewer steps than the run has (steps of one process, epochs in place
                 of steps), or it is stepped several times for each step (by each of k processes, or for every batch where it
                 counts epochs).
    Rule:        From some step to the end the learning rate is 0 (<= 1e-8 of its peak), and that step lies before 70 % of the
                 run: error. It is below 1e-3 of its peak from before 50 % of the run on: warning. At least 20 points (5 where
                 each is a mean over many steps). The run is as long as the log, or as "max_steps" of its facts says.
    Silent when: the rate comes back (restarts), or the small tail is the end of a schedule; a staircase of three drops by ten
                 ends at 1e-3 itself.
    Fix:         Give the schedule the number of optimizer steps of the whole run: len(loader) // accumulate * epochs, and call
                 scheduler.step() once for each of them; with accelerate, total steps times the number of processes, as its
                 prepared scheduler steps that often.
    Confirm:     The logged learning rate is above 1 % of its peak at 80 % of the run.
    Reference:   huggingface/accelerate issues 2165 and 2926.
    Example:
        CosineAnnealingLR(optimizer, T_max=epochs)               # sick if stepped for every batch
        CosineAnnealingLR(optimizer, T_max=epochs * len(loader))   # healthy
    """
    run = evidence.run
    series = run.main("lr") if run is not None else None
    if run is None or series is None:
        return
    series = series.finite()
    least = FEW_POINTS if _coarse(run) else POINTS
    if len(series) < least:
        return
    steps, rates = series.steps, series.values.abs()
    first, end = int(steps[0]), int(steps[-1])
    whole = max(end, int(number(run.facts.get("max_steps")) or 0))
    peak = float(rates.max())
    for level, before, severity in ((ZERO, BEFORE_ZERO, "error"), (SMALL, BEFORE_SMALL, "warning")):
        begin = _last_run_below(rates, level * peak if peak > 0 else 0.0)
        if begin is None or len(rates) - begin < least:
            continue
        share = (int(steps[begin]) - first) / max(1, whole - first)
        if share >= before or (peak == 0 and end - first < LIVE_STEPS):
            continue
        said = (
            f"the learning rate is {float(rates[begin:].max()):.3g} from step {int(steps[begin])} to step {end}, where the "
            f"log ends: after {share:.0%} of the run nothing is learned any more (its peak was {peak:.3g})"
        )
        numbers = {"step": int(steps[begin]), "share of the run": share, "peak": peak, "rate": float(rates[begin:].max())}
        yield Hit(
            said, numbers, where=series.name, step=int(steps[begin]), severity="error" if severity == "error" else "warning"
        )
        return


def _last_run_below(rates: Tensor, level: float) -> int | None:
    """Index from which on every rate is at most so high (below it, for one above 0)."""
    above = (rates > level * (1 - 1e-6)).nonzero() if level > 0 else (rates > 0).nonzero()
    begin = int(above[-1]) + 1 if above.numel() else 0
    return begin if begin < len(rates) else None


def _coarse(run: Run) -> bool:
    losses = run.main("train_loss")
    return losses is not None and losses.every > 1
