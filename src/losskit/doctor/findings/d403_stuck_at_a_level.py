"""D403: the loss stands at a number that has a name."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import Level
from ..finding import RULES, Hit, Severity, finding, reflowed
from ..levels_standing import AGAINST, hit_of, levels_of_run, loss_of_run, stuck
from ..statistics.warmup import steady_from

__all__ = ["stuck_at_a_level"]

LOW, HIGH = 0.7, 2.1  # ln(e + C - 1) - 1 of 4 and of 20 classes is 0.744 and 2.076; a sigmoid twice ends below ln 2 = 0.693
POINTS = 100  # in four quarters
CLOSE = 0.03  # of the level: a softmax twice comes this near in 800 steps, and is slow beyond
SLOWER = 0.5  # of the fall before: 0.3 to 0.4 for a softmax twice at 800 steps, 0.57 to 1.1 for runs without one that pass
RESTS = 0.01  # of the level: no fall to speak of; and how far below it the end may seem to be
MEANING = {
    "chance": "the model predicts nothing, whatever it is shown",
    "constant": "the model has learned the mean answer and ignores its input",
    "plateau": "every answer may be right, and this loss cannot say so",
}


@finding("D403", severity="warning", phases=("during", "after"), explains=("D504", "D505", "D604"))
def stuck_at_a_level(evidence: Evidence) -> Iterator[Hit]:
    """The loss stands at a number that has a name: chance, the best constant answer, or where a known mistake stops.

    Cause:       A loss at ln C has learned nothing about C classes; one at the entropy of the class frequencies, or at the
                 variance of the targets, has learned the mean answer alone; one at ln(e + C - 1) - 1 goes through a softmax
                 twice. Labels that are shuffled against the inputs, an input that never reaches the output, a learning rate of 0
                 or one so large that every unit is dead all end there.
    Rule:        The median of the last max(40 points, 25 %) after warm-up is within max(2 %, 3 standard errors) of the level,
                 and the window is flat (doctor/statistics/level.py). In a log with parts of a loss, that of classes (cls, ce,
                 xent) is the one that is compared, never their sum. In a live run whose whole loss is one plain call over
                 targets of the batch, what the best constant so far would have cost each batch is taken from the loss first.
                 Error where the loss stands at chance for half of the run; in a live run only after 1000 steps, and nothing is
                 said before 200 steps, nor, before its end, while 3 standard errors are more than 2 % of the level. Info for a
                 plateau of a log that healthy runs stop at as well (a sigmoid twice, or a softmax twice over fewer than 4 or
                 more than 20 classes). Info as well for a log of 100 points that creeps towards the plateau of a softmax twice
                 (4 to 20 classes): the median of its last quarter is up to 3 % above it, falls at most 0.5 times as far from
                 the third quarter as that fell from the second (or by less than 1 %), and by such a ratio goes on to no less
                 than 1 % below the plateau; no median of a fifth of a quarter was there before.
    Silent when: the objective is adversarial, or the loss is called that of a generator or discriminator (ln 2 is their
                 equilibrium); the loss still falls by more than 1 % within the window; it has been below a plateau before; the
                 level is at a finding with a name of its own (tokens, candidates, triplets, one class).
    Fix:         Run losskit.doctor.check on one batch: it overfits the batch and names what is not wired. If the batch can be
                 learned, compare labels with inputs by hand for 10 samples, then try a learning rate 10 times smaller and 10
                 times larger.
    Confirm:     After the fix the loss leaves the level by more than 2 % within the number of points that the window had.
    Reference:   Karpathy 2019, "A Recipe for Training Neural Networks" (verify the loss at initialisation); losskit.reference.
    Example:
        loss = F.cross_entropy(model(x), y[torch.randperm(len(y))])   # sick: 2.3026 with 10 classes, for ever
        loss = F.cross_entropy(model(x), y)                           # healthy
    """
    found = stuck(evidence)
    if found is None and evidence.phase == "after":
        yield from _creeping(evidence)
    if found is None or found.owner != "D403":
        return
    level = found.level
    yield hit_of(
        found, evidence, MEANING.get(level.kind, "it does not move"), severity=_severity(level, evidence), fix=_fix(level)
    )


def _fix(level: Level) -> str:
    """At the plateau of a known mistake, what the finding of that mistake says."""
    known = RULES.get(level.code) if level.kind == "plateau" else None
    return "" if known is None else reflowed(known.sections["Fix"])


def _severity(level: Level, evidence: Evidence) -> Severity | None:
    """A plateau that nobody saw a mistake for is a number like any other, unless healthy runs hardly ever stop there."""
    seen = evidence.run is not None and evidence.run.reading.format == "live"
    by_accident = level.kind == "plateau" and not seen and not LOW < level.value < HIGH
    return "info" if by_accident else None


def _creeping(evidence: Evidence) -> Iterator[Hit]:
    """A loss that slows down a little above the plateau of a mistake: it is on its way there."""
    run = evidence.run
    series = loss_of_run(run) if run is not None else None
    if run is None or series is None or evidence.settings.objective is not None or AGAINST.search(series.name.lower()):
        return
    series = series.finite()
    kept = series.steps >= steady_from(run)
    steps, values = series.steps[kept], series.values[kept]
    if values.numel() < POINTS:
        return
    last = values[-(values.numel() // 4) :]
    middle, step = float(last.median()), int(steps[-last.numel()])
    for level in levels_of_run(run):
        if level.kind == "plateau" and LOW < level.value < HIGH and (falls := _creeps(values / level.value)):
            said = (
                f"{series.name} may be creeping towards {level.name}. Median {middle:.4f} over the last {last.numel()} points is "
                f"{middle / level.value - 1:.1%} above it; the last quarter brought {falls[1]:.1%}, the one before {falls[0]:.1%}"
            )
            numbers = {"level": level.value, "median": middle, "points": last.numel(), "fall before": falls[0], "fall": falls[1]}
            fix = _fix(level)
            yield Hit(said, numbers, series.name, step=step, fix=fix, severity="info", confidence=0.4, level=level.name)


def _creeps(values: Tensor) -> tuple[float, float] | None:
    """Of a curve in units of the level, how far the third and the last quarter were below the one before, if it creeps."""
    size = values.numel() // 4
    second, third, last = (float(part.median()) for part in values[-3 * size :].split(size))
    before, now = second - third, third - last
    if not 1 < last <= 1 + CLOSE or before <= 0 or not -RESTS < now <= max(SLOWER * before, RESTS):
        return None
    # a fall that shrinks by the same ratio from quarter to quarter ends here
    end = last - now * now / (before - now) if 0 < now < before else last
    part = max(1, size // 5)
    lowest = float(values[-4 * size :].unfold(0, part, part).median(dim=1).values.min())
    return (before, now) if min(end, lowest) > 1 - RESTS else None
