"""D504: every step goes the right way, and hardly any way at all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import median

from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..statistics.slope import slope
from ..statistics.warmup import steady_from

__all__ = ["learning_rate_too_low"]

LOOKS = 20  # as many as a sign test needs
CLEAN = 0.8  # share of looks at which the loss falls: the direction is right
PACE = 1e-4  # relative fall of a batch's loss by its own step; ours: healthy runs of the tests have 1e-3 to 1e-1
LEFT = 0.7  # of the first loss: a run that came further has learned
ALIVE = 0.5  # of the first gradient norm: below, the run has converged
DECAYED = 0.5  # of the largest learning rate: below, it is small on purpose
POINTS = 100  # of a log, for a straight line to be one
NEAR = 0.15  # of chance, for the first points: a run from scratch


@finding("D504", severity="warning", phases=("during", "after"))
def learning_rate_too_low(evidence: Evidence) -> Iterator[Hit]:
    """The loss falls along a straight line that will not arrive.

    Cause:       The learning rate is so small that each step moves the weights by next to nothing: the loss of the step's own
                 batch falls by less than 1 part in 10,000.
    Rule:        During: one batch before and after the step, the last 20 looks after warm-up: at least 80 % fall, the median
                 relative fall is below 1e-4, the loss is above 70 % of what it was at the start, the gradient's norm above half
                 of what it was, and the learning rate above half of its largest value. After, for a run that begins within 15 %
                 of chance: over at least 100 points it falls in both halves at the same pace (within a factor of 2) and has
                 come less than 10 % of the way down, but as far as it came in its first steps.
    Silent when: the run has converged (small gradients), the rate is decaying, and in a log wherever the chance level is not
                 known.
    Fix:         Multiply the learning rate by 3 to 10; or find one by a range test: Adam at 1e-3, SGD with momentum at 0.1 are
                 where most begin.
    Confirm:     The same batch's loss falls by 1e-3 to 1e-1 of itself in a step.
    Reference:   Smith 2017, arXiv:1506.01186 (range test); Karpathy, "A Recipe for Training Neural Networks", 2019.
    Example:
        torch.optim.SGD(model.parameters(), lr=1e-6)   # sick
        torch.optim.SGD(model.parameters(), lr=1e-1)   # healthy
    """
    run = evidence.run
    if run is None or evidence.settings.objective is not None:
        return
    if evidence.phase == "during":
        yield from _by_looks(evidence, run)
    else:
        yield from _by_the_line(run)


def _by_looks(evidence: Evidence, run: Run) -> Iterator[Hit]:
    looks = evidence.probes.looks if evidence.probes else ()
    start = max(steady_from(run), 50)
    pairs = [look.same_batch for look in looks if look.same_batch is not None and look.step >= start][-LOOKS:]
    falls = [(before - after) / max(abs(before), 1e-12) for before, after in pairs if math.isfinite(before + after)]
    if len(falls) < LOOKS or sum(fall > 0 for fall in falls) < CLEAN * len(falls) or not 0 < median(falls) < PACE:
        return
    loss, norm, rate = run.main("train_loss"), run.main("grad_norm"), run.main("lr")
    if loss is None or norm is None or rate is None or not (len(loss) and len(norm) and len(rate)):
        return
    if _kept(loss.finite().values) < LEFT or _kept(norm.finite().values) < ALIVE:
        return
    if not _held(rate.values):
        return
    now, pace = float(rate.values[-1]), median(falls)
    said = (
        f"a step at learning rate {now:g} lowers the loss of its own batch by {pace:.1e} of itself (median of {len(falls)} looks)"
    )
    yield Hit(said, {"learning rate": now, "relative fall": pace, "looks": len(falls)}, step=int(loss.steps[-1]))


def _held(rates: Tensor) -> bool:
    """Whether the learning rate is still near its largest."""
    return 0 < float(rates[-1]) >= DECAYED * float(rates.max())


def _kept(values: Tensor) -> float:
    """The last quarter's median over that of the first tenth."""
    if values.numel() < LOOKS:
        return 0.0
    first = float(values[: max(values.numel() // 10, 5)].median())
    return float(values[-max(values.numel() // 4, 5) :].median()) / first if first > 0 else 0.0


def _by_the_line(run: Run) -> Iterator[Hit]:
    loss = run.main("train_loss")
    chance = next((level.value for level in run.levels if level.kind == "chance"), None)
    if loss is None or chance is None or chance <= 0:
        return
    loss = loss.finite()
    steady = loss.steps >= steady_from(run)
    values, steps = loss.values[steady], loss.steps[steady]
    rate = run.main("lr")
    if values.numel() < POINTS or (rate is not None and len(rate) and not _held(rate.values)):
        return
    half = values.numel() // 2
    start, end = float(values[: half // 5].median()), float(values[-half // 5 :].median())
    first, second = slope(values[:half], steps[:half]), slope(values[half:], steps[half:])
    straight = first.falls and second.falls and 0.5 < second.value / first.value < 2.0
    begun = float(loss.values[:5].median())
    if begun - start > start - end:  # it fell fast at first: a rate that is too low knows no fast start
        return
    if not straight or abs(start - chance) > NEAR * chance or start - end > 0.1 * start or start - end <= 0:
        return
    done = (start - end) / start
    said = f"the loss falls along a straight line from {start:.4g} to {end:.4g}, {done:.1%} in {int(steps[-1] - steps[0])} steps"
    yield Hit(said, {"start": start, "end": end, "share": done, "chance": chance}, step=int(steps[0]), confidence=0.7)
