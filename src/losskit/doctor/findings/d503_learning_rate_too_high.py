"""D503: a step makes the loss of its own batch larger, or the loss stands above that of knowing nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from statistics import median

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.probes import Look
from ..evidence.run import Run
from ..finding import Hit, Severity, finding
from ..levels_config import known_of_facts, tidy
from ..levels_standing import levels_of_run, of_classes, stuck
from ..statistics.curve import Curve, curve_of
from ..statistics.slope import slope
from ..statistics.warmup import steady_from
from .d215_loss_is_a_multiple import GUESSES
from .d501_divergence import divergence

__all__ = ["learning_rate_too_high"]

LOOKS, MOST = 20, 50  # looks that are needed, and that are used: a run changes
SHARE = 0.6  # of the looks at which the loss rises; ours: a coin has a half
CHANCE = 0.01  # that a fair coin has it so often
ABOVE = 1.03  # times chance: a model that knows nothing stands at 1
WARM = 50  # steps that are not looked at
LONG = 0.01  # of the weights, the length of a step: ours: a small net's steps are 3 to 4 % with SGD at 10, 0.5 % at 0.1
POINTS, FEW = 100, 3  # of the second half; looks at its steps
CHANGE = 0.005  # median relative rise: near a minimum the sign alone is noise
SHORT = 40  # points of a log
FRESH, AT_CHANCE = 1.5, 1.1  # times chance, where fresh models begin, and where they surely stand at it
FAR = 2.0  # times chance: a loss still there in the last half wasted the run, though it falls
HARD = re.compile(r"(^|[^a-z])(ohem|hard|hardest|mined|mining|topk)([^a-z]|$)")  # means over what is learned worst
LOWER = (
    "Divide the learning rate by 10, then by 10 again, from fresh weights; warm it up; clip gradients to norm 1. If it is no "
    "higher than is usual, look at the labels: losskit.doctor.check on one batch."
)


@finding("D503", severity="warning", phases=("during", "after"), explains=("D309", "D403", "D501", "D502", "D505", "D507"))
def learning_rate_too_high(evidence: Evidence) -> Iterator[Hit]:
    """The step overshoots: the same batch has a higher loss after the step that was made for it.

    Cause:       A step along the gradient lowers the loss of its batch as long as the learning rate is below 2 / curvature.
                 Beyond that it climbs the other side of the valley, and the loss bounces instead of falling.
    Rule:        One batch is evaluated before and after the step, with the same random numbers. Of the last 20 to 50 such looks
                 after warm-up more than 60 % rise (a fair coin does that with a chance below 1 %), the median change is a rise
                 of at least 0.5 %, and the loss over the second half of the run does not fall. Or the mean of the last half,
                 100 points or more, is 3 % and two standard errors above chance, its median is not below, and it does not fall,
                 while the median step is longer than 1 % of the weights. In a log of classes or tokens (40 points): the last
                 half is as far above chance, and above the first point, and does not fall (or nine of ten of its points are
                 above twice chance). An error where the first point was within 10 % of chance, or below.
    Silent when: the loss falls all the same (the edge of stability), in warm-up, at a minimum where the changes are tiny, and
                 for an adversarial objective. In a log also where it begins above 1.5 times chance (a sum of more than this
                 loss), is negative somewhere, is a mean over hard samples, has another named finding at its level, where the
                 evaluations of the last half are below chance, and where D501 says it.
    Fix:         Divide the learning rate by 3 to 10, or warm it up; then look at the share again.
    Confirm:     The share of rising looks goes below a half, and the loss falls.
    Reference:   Cohen et al. 2021, arXiv:2103.00065; Schneider et al. 2021 (Cockpit's alpha), arXiv:2102.06604.
    Example:
        torch.optim.SGD(model.parameters(), lr=10.0)   # sick
        torch.optim.SGD(model.parameters(), lr=0.1)    # healthy
    """
    probes, run = evidence.probes, evidence.run
    if evidence.phase == "after":
        yield from _logged_above_chance(evidence)
        return
    if probes is None or run is None or evidence.settings.objective == "adversarial":
        return
    if hit := _above_chance(evidence, run):
        yield hit
        return
    start = max(steady_from(run), WARM)
    pairs = [look.same_batch for look in probes.looks if look.same_batch is not None and look.step >= start][-MOST:]
    changes = [(after - before) / max(abs(before), 1e-12) for before, after in pairs if math.isfinite(before + after)]
    if len(changes) < LOOKS:
        return
    rises, count = sum(change > 0 for change in changes), len(changes)
    middle = median(changes)
    if rises / count <= SHARE or middle < CHANGE or _coin(rises, count) > CHANCE:
        return
    loss = run.main("train_loss")
    if loss is not None and len(loss) > LOOKS and slope(loss.values[len(loss) // 2 :]).falls:
        return
    said = f"the step makes the loss of its own batch larger at {rises} of {count} looks, by {middle:.1%} in the median"
    numbers = {"share of rises": rises / count, "looks": count, "median change": middle}
    rate = run.main("lr")
    if rate is not None and len(rate):
        numbers["learning rate"] = float(rate.values[-1])
    yield Hit(said, numbers, step=int(probes.looks[-1].step))


def _above_chance(evidence: Evidence, run: Run) -> Hit | None:
    """A loss worse than that of knowing nothing, held there by steps that are long beside the weights."""
    loss, chance = run.main("train_loss"), [level.value for level in run.levels if level.kind == "chance" and level.value > 0]
    if loss is None or len(chance) != 1 or len(loss) < 2 * POINTS or evidence.probes is None or evidence.settings.objective:
        return None
    late = loss.values[len(loss) // 2 :]
    steps = [length for look in evidence.probes.looks if look.step >= WARM and (length := _step(look))]
    if not bool(torch.isfinite(late).all()) or len(steps) < FEW or median(steps) < LONG:
        return None
    level = _mean_above(late, chance[0])
    if level is None or slope(late).falls:
        return None
    long = median(steps)
    said = f"the loss stands at {level:.4g}, above the {chance[0]:.4g} of chance, while a step moves the weights by {long:.1%}"
    return Hit(said, {"level": level, "chance": chance[0], "step": long})


def _mean_above(late: Tensor, chance: float) -> float | None:
    """The mean, if it is above chance by 3 % and two standard errors and its median is not below."""
    level, error = float(late.mean()), float(late.std()) / math.sqrt(len(late))
    return level if level > max(ABOVE * chance, chance + 2 * error) and float(late.median()) >= chance else None


def _logged_above_chance(evidence: Evidence) -> Iterator[Hit]:
    """A log that begins as fresh models do and ends worse than them."""
    found = _beside_chance(evidence)
    if found is None:
        return
    curve, chance, name = found
    late, start = curve.values[len(curve) // 2 :], curve.first
    level, middle = _mean_above(late, chance), float(late.median())
    lowest = float(late.kthvalue(max(1, len(late) // 10)).values)
    if level is None or start > FRESH * chance or middle <= ABOVE * start or (slope(late).falls and lowest <= FAR * chance):
        return
    if stuck(evidence) is not None or any(divergence(evidence)):
        return
    severity: Severity = "error" if start <= AT_CHANCE * chance else "warning"
    at_chance = (curve.values[: len(curve) // 2] <= chance).nonzero()
    step = int(curve.steps[max(1, int(at_chance[-1]) + 1 if at_chance.numel() else 0)])
    said = (
        f"the loss was {start:.4g} at the start and its median over the last half is {middle:.4g}, above {name}: worse than a "
        "model that knows nothing, as steps that are too long make it"
    )
    numbers = {"start": start, "median": middle, "mean": level, "chance": chance}
    yield Hit(said, numbers, step=step, severity=severity, fix=LOWER, confidence=0.8, level=name)


def _beside_chance(evidence: Evidence) -> tuple[Curve, float, str] | None:
    """The curve, chance and its name, where both are surely of one plain loss."""
    run = evidence.run
    main = None if run is None else run.main("train_loss")
    series = None if run is None or main is None or evidence.settings.objective else of_classes(run, main)
    if run is None or series is None or HARD.search(series.name.lower()):
        return None
    known, evaluated = known_of_facts(tidy(run.facts)), run.main("eval_loss")
    if known is None or known.card not in GUESSES or known.candidates:
        return None
    levels = {level.value: level.name for level in levels_of_run(run) if level.kind == "chance" and level.value > 0}
    curve = curve_of(replace(run, series=(series, *(one for one in run.series if one is not series))), SHORT)
    curve = None if curve is None else curve.anew(run)
    if len(levels) != 1 or curve is None or len(curve) < SHORT or float(curve.values.min()) < 0:
        return None
    chance, name = next(iter(levels.items()))
    ends = None if evaluated is None else evaluated.values[len(evaluated) // 2 :]
    below = ends is not None and len(ends) > 0 and not float(ends.nanmedian()) >= chance
    return None if below else (curve, chance, name)


def _step(look: Look) -> float:
    """The length of a step beside that of the weights."""
    moved = sum((p.moved or 0.0) ** 2 for p in look.parameters)
    return math.sqrt(moved / (sum(p.weight_norm**2 for p in look.parameters) or 1.0))


def _coin(heads: int, count: int) -> float:
    """The chance of so many heads or more of a fair coin."""
    return float(sum(math.comb(count, k) for k in range(heads, count + 1)) / 2**count)
