"""D501: the loss leaves its lowest level for good, or grows without end."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch

from ..during.origin_words import overflows
from ..evidence import Evidence
from ..evidence.replay import Replay
from ..evidence.run import Run
from ..finding import Hit, Severity, finding
from ..levels_standing import levels_of_run
from ..statistics.blocks import median
from ..statistics.curve import Curve, curve_of
from ..statistics.noise import noise
from ..statistics.rising import above_its_start, climb, growth_before_end
from ..statistics.slope import slope

__all__ = ["divergence"]

SOON = 200  # points of a live run before which a rise may be noise that lasts long
LATER = 1000  # and before which it has to be four times the low
FOURFOLD = 4.0
SUMS = 1e6  # times what a guess costs: few batches have as many samples or tokens that a loss could be the sum of
VAST = 1000.0  # times what a guess costs: a sum over a batch may be that large, but it falls while it learns
SIGMAS = 3.0  # of the noise, by which a level has to be lower before it is
FIRST = 5  # points, whose median is the start
FEW = 10  # points near the start: before them there is hardly a checkpoint
SMALLER = "Divide the peak learning rate by 3, then by 10; warm up over 1 to 5 % of the run; clip gradients to norm 1. "
CHECKPOINT = SMALLER + "Start again from the checkpoint before step {step:,}: later weights are spoilt."
NO_CHECKPOINT = SMALLER + (
    "Start again from fresh weights, or from a checkpoint older than step {step:,}: the log has no good step to go back to."
)
ABOVE = 1.2  # times the level before a growth: less may be noise
HUGE = 1e15  # what went into an operation: its square is far beyond any data, and float32 ends at 3e38


@finding(
    "D501",
    severity="error",
    phases=("during", "after"),
    explains=("D301", "D302", "D303", "D304", "D309", "D403", "D502", "D505", "D507", "D601", "D604", "D904"),
)
def divergence(evidence: Evidence) -> Iterator[Hit]:
    """The loss rises and does not come back.

    Cause:       The steps are longer than the loss surface is smooth: each one overshoots and the next gradient is larger.
                 Gradient descent is stable only while lr < 2 / curvature (for Adam 38 / curvature of the preconditioned
                 loss at beta1 = 0.9).
    Rule:        One of: (1) of at most 60 block medians (5 points or more each) the last two are above the lowest by more
                 than 6 of their standard deviations, 50 % of it, and 30 % of the way the loss had come; 70 % of the highest
                 rise is still there, and the slope since is positive with its whole 95 % interval, or 80 % of the way is
                 lost, or both are above twice the median of the first five; a warning below 100 % and half of the way. (2)
                 nine of ten points of the last half are above twice the median of the first five, or five times the first.
                 (3) the last 20 points before the first NaN or infinity end at five times their beginning, or the
                 very last is at 100 times. (4) in a log, nine of ten points are above a million times chance (or the loss of
                 the best constant), and the last half is not below the first five by more than 3 standard errors, nor does
                 the whole fall: a warning, since a sum may be as large; info above a thousand times.
    Silent when: the rise is one jump (a level shift), the low was reached at a learning rate below two thirds of the
                 present one (restarts, one cycle), an event was declared after it, the objective is adversarial (all but 3)
                 or mining (1), the NaN was traced to an entry of the batch or to one operation on numbers of ordinary size
                 (unless the rise comes after it), and in the first 50 steps (a live run: 1 from 200 points on, and below
                 1000 only at four times the low).
    Fix:         Divide the peak learning rate by 3, then by 10; warm up over 1 to 5 % of the run; clip gradients to norm 1.
                 Start again from the checkpoint before the step named here: later weights are spoilt.
    Confirm:     200 steps from the same checkpoint with a third of the learning rate: the loss no longer rises.
    Reference:   Cohen et al. 2021, arXiv:2103.00065 (edge of stability); Cohen et al. 2022, arXiv:2207.14484 (Adam).
    Example:
        torch.optim.SGD(model.parameters(), lr=10.0)   # sick
        torch.optim.SGD(model.parameters(), lr=0.1)    # healthy
    """
    losses = None if evidence.run is None else evidence.run.main("train_loss")
    for hit in _found(evidence):
        at_first = losses is not None and len(losses) > 0 and hit.step == int(losses.steps[0])
        yield replace(hit, fix=NO_CHECKPOINT.format(step=hit.step)) if at_first and not hit.fix else hit


def _found(evidence: Evidence) -> Iterator[Hit]:
    run, objective = evidence.run, evidence.settings.objective
    losses = None if run is None else run.main("train_loss")
    if run is None or losses is None:
        return
    other = evidence.replay if _begins_elsewhere(evidence.replay) else None
    if other is None and (grown := growth_before_end(losses.values)):
        step = int(losses.steps[~torch.isfinite(losses.values)][0])
        begin = _grew_at(run, grown[0], step)
        said = f"the loss grows from {grown[0]:.4g} to {grown[1]:.4g} from step {begin} on and is no number at step {step}"
        yield Hit(said, {"before": grown[0], "last": grown[1], "ratio": grown[1] / grown[0]}, step=begin)
        return
    curve = curve_of(run)
    if curve is None or objective == "adversarial":
        return
    points = len(curve) if evidence.phase == "during" and not run.finished else LATER
    hits = list(_lasting(run, curve, objective is None and points >= SOON, 1.0 if points >= LATER else FOURFOLD))
    if not hits and evidence.phase == "after" and objective is None:
        hits = list(_all_along(run, curve))
    for hit in hits:
        if other is None or (hit.step or 0) > (other.step or 0):
            yield hit


def _begins_elsewhere(replay: Replay | None) -> bool:
    """Whether the bad batch was run again, and no size of step made its NaN."""
    if replay is None or replay.kind in ("input", "target"):
        return replay is not None
    thrown = overflows(replay) or (replay.largest_before or 0.0) > HUGE
    return replay.kind in ("forward", "loss", "backward") and not thrown


def _grew_at(run: Run, before: float, end: int) -> int:
    """The first of the last points that are all above the level before by a fifth."""
    losses = run.main("train_loss")
    assert losses is not None
    sooner = losses.steps < end
    low = (losses.values[sooner] <= ABOVE * before).nonzero()
    steps = losses.steps[sooner]
    return int(steps[min(int(low[-1]) + 1, steps.numel() - 1)]) if low.numel() else int(steps[0])


def _lasting(run: Run, curve: Curve, may_climb: bool, times: float) -> Iterator[Hit]:
    curve = curve.anew(run)
    if high := above_its_start(curve):
        said = f"the loss was {high[0]:.4g} at the start and its median over the last half is {high[1]:.4g}"
        left = _calm_until(curve, high[0])
        fix = "" if left is None else CHECKPOINT.format(step=left)
        numbers = {"start": high[0], "now": high[1], "ratio": high[1] / high[0]}
        yield Hit(said, numbers, step=int(curve.steps[0]), fix=fix, confidence=0.9)
        return
    settled = curve.settled()
    found = climb(run, settled) if may_climb and len(settled) else None
    if found and found.now >= times * abs(found.low):
        numbers = {"low": found.low, "low_step": float(found.at), "now": found.last, "rise": found.last - found.low}
        said = f"the loss was {found.low:.4g} at step {found.at}, leaves it after step {found.left} and is {found.last:.4g} now"
        sure = found.whole
        yield Hit(said, numbers, step=found.left, severity=None if sure else "warning", confidence=0.9 if sure else 0.7)


def _calm_until(curve: Curve, start: float) -> int | None:
    """The last step of the first half at which the loss was near its start; None if that is over within a few points."""
    calm = (curve.values[: len(curve) // 2] <= ABOVE * start).nonzero()
    return int(curve.steps[int(calm[-1])]) if calm.numel() > FEW else None


def _all_along(run: Run, curve: Curve) -> Iterator[Hit]:
    """A log that begins after the explosion: far above what a guess costs, from its first step to its last."""
    guesses = [level for level in levels_of_run(run) if level.kind in ("chance", "constant") and level.value > 0]
    highest = max(guesses, key=lambda level: level.value, default=None)
    if highest is None or curve.start <= 0:
        return
    lowest = float(curve.values.kthvalue(max(1, len(curve) // 10)).values)
    now = median(curve.values[len(curve) // 2 :])
    error = 1.2533 * noise(curve.values) / math.sqrt(FIRST)
    if lowest <= VAST * highest.value or now < curve.start - SIGMAS * error or slope(curve.values).falls:
        return
    vast = lowest > SUMS * highest.value
    severity: Severity = "warning" if vast else "info"
    said = (
        f"the loss is {curve.start:.4g} at the first logged step and {now:.4g} over the last half, {now / highest.value:.2g} "
        f"times {highest.name}: it may be a sum over samples or tokens, or another loss than the facts say; if it is neither, "
        "the run exploded before the log begins"
    )
    numbers = {"start": curve.start, "now": now, "level": highest.value, "ratio": now / highest.value}
    step = int(curve.steps[0])
    yield Hit(said, numbers, step=step, severity=severity, confidence=0.6 if vast else 0.4, level=highest.name)
