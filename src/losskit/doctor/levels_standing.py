"""At which named level a run's loss stands, and which finding is to say so: one test for all of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .after.logs.names import place_in_kind, words
from .evidence import Evidence
from .evidence.calls import Level
from .evidence.run import Run, Series
from .finding import Hit, Severity
from .levels import levels_of_facts
from .levels_config import number
from .levels_constant import less_the_targets
from .levels_words import FOR_THESE
from .statistics.level import NEAR as NEAR_LEVEL
from .statistics.level import Standing, stands_at
from .statistics.noise import noise
from .statistics.slope import slope
from .statistics.warmup import steady_from

__all__ = ["AGAINST", "hit_of", "levels_of_run", "loss_of_run", "of_classes", "stuck"]

OWNERS = ("D606", "D702", "D703", "D804")  # findings with a special name for a level; every other one is D403's
LIVE_STEPS = 200  # of a run that goes on: fresh models may wait as long before they begin to learn
LIVE_ERROR = 1000  # steps at a level of a live run before it is called lost
HALF = 0.5  # of the run at a level: it never learned, or has long stopped to
LEARNED = 0.01  # falling by more than this within the window: it learns, if slowly
A_LITTLE = 0.003  # surely below chance by more than this: it has learned something, if only how frequent the classes are
NEAR = 0.06  # no test is made of levels that are further from the last quarter's median
WAY = 0.03  # block medians within this of the level are part of the same standstill
BLOCKS = 50
_KEPT = "_stuck"
PADDED = 0.01  # the logits of a padded vocabulary are a few more than its tokens
# in the name of the part of a total that is a cross-entropy
CLASSES = frozenset(
    {"cls", "class", "classes", "classification", "classifier", "ce", "xent", "nll", "lm", "mlm", "seg", "crossentropy"}
)
PART, WHOLE = 0.02, 0.98  # of the total: a loss below is not worth a thought, one above is the total once more
LONG = 20_000  # points, above which a curve is read as the means of neighbours: the test looks at 40 blocks anyway
# losses of two networks against each other rest at ln 2 when all is well
AGAINST = re.compile(r"(^|[^a-z])(d|g|dis|disc|gen|gan|adv|critic|discriminator|generator|adversarial)([^a-z]|$)")


@dataclass(frozen=True)
class Stuck:
    """A loss that stands at a named level."""

    level: Level
    standing: Standing
    series: Series
    owner: str
    """The code of the finding that says it."""
    begin: int
    """The step from which on it stands there."""
    end: int
    share: float
    """Of the run, warm-up not counted."""
    error: float
    """Three standard errors of the window's median."""
    window: int = 0
    """The step that the window begins with."""
    less: bool = False
    """Whether it is the loss less what the targets of its batches make of it that stands there."""


def stuck(evidence: Evidence) -> Stuck | None:
    """The nearest level at which the training loss stands; None for a loss that moves, or that may rightly stand."""
    kept = vars(evidence)  # six rules ask the same of one evidence
    if _KEPT not in kept:
        kept[_KEPT] = _stuck(evidence)
    found: Stuck | None = kept[_KEPT]
    return found


def _stuck(evidence: Evidence) -> Stuck | None:
    run, settings = evidence.run, evidence.settings
    if run is None or settings.objective == "adversarial":
        return None
    series = loss_of_run(run)
    series = None if series is None else of_classes(run, series)
    if series is None or AGAINST.search(series.name.lower()):
        return None
    begin = steady_from(run)
    kept = series.steps >= begin
    steps, values = series.steps[kept], series.values[kept]
    if values.numel() < 3 or not math.isfinite(float(values[-1])):
        return None
    found, steps, values, less = _found(run, steps, values, series.every)
    if found is None:
        return None
    level, standing = found
    # a live run that passes a level in noise as wide as its fall seems to stand there: it is judged once its median is known,
    # or when it has come to its end
    if evidence.phase == "during" and not run.finished and standing.delta > 1.001 * NEAR_LEVEL * level.value:
        return None
    first = _since(values, level.value, standing)
    start, end = int(steps[first]), int(steps[-1])
    if evidence.phase == "during" and end - start < LIVE_STEPS:
        return None
    share = (end - start) / max(1, end - int(steps[0]))
    error = 3 * 1.2533 * noise(values[-standing.n :]) / math.sqrt(standing.n)
    return Stuck(level, standing, series, _owner(level, evidence), start, end, share, error, int(steps[standing.start]), less)


def _found(run: Run, steps: Tensor, values: Tensor, every: int) -> tuple[tuple[Level, Standing] | None, Tensor, Tensor, bool]:
    """The level, with the curve that stands there: the loss, or (True) the loss less what its targets make of it."""
    short, thinned, times = _thin(steps, values)
    found = _nearest(thinned, levels_of_run(run), every * times)
    less = less_the_targets(run, steps, values) if found is None or found[0].kind == "constant" else None
    if less is not None:
        others, level, (_, smooth, times) = short, less[0], _thin(steps, less[1])
        if (sure := _nearest(smooth, [level], every * times)) is not None:
            return sure, others, smooth, True
    return found, short, thinned, False


def _thin(steps: Tensor, values: Tensor) -> tuple[Tensor, Tensor, int]:
    """The finite points of a long curve as means of so many neighbours, each at the step that it begins with."""
    if values.numel() <= LONG:
        return steps, values, 1
    finite = torch.isfinite(values)
    steps, values = steps[finite], values[finite]
    times = max(1, values.numel() // (LONG // 2))
    count = values.numel() // times
    skip = values.numel() - count * times
    return steps[skip:].reshape(count, times)[:, 0], values[skip:].reshape(count, times).mean(dim=1), times


def loss_of_run(run: Run) -> Series | None:
    """The training loss; without one that of the evaluation; without either the logarithm of a perplexity."""
    series = run.main("train_loss") or run.main("eval_loss")
    if series is not None:
        return series
    other = run.main("perplexity")
    return None if other is None else Series(other.name, "train_loss", other.steps, other.values.log(), other.every, other.walls)


def of_classes(run: Run, main: Series) -> Series | None:
    """The loss that levels are those of: where a total has parts, the one of classes; None if none is called so."""
    if main.kind != "train_loss" or _says_classes(main.name):
        return main
    whole, is_part = _tail(main), place_in_kind(main.name, 0)[1] > 0
    others = [one for one in run.of("train_loss") if one is not main and place_in_kind(one.name, 0)[1] > 0]
    parts = [o for o in others if PART < _tail(o) / whole < WHOLE or (is_part and _tail(o) * WHOLE > whole)]
    return main if not parts else next((one for one in parts if _says_classes(one.name)), None)


def _says_classes(name: str) -> bool:
    said = set(words(name))
    return bool(said & CLASSES) or {"cross", "entropy"} <= said


def _tail(series: Series) -> float:
    values = series.values[-max(20, len(series) // 4) :]
    values = values[torch.isfinite(values)]
    return float(values.abs().median()) or math.nan if values.numel() else math.nan


def levels_of_run(run: Run) -> tuple[Level, ...]:
    """Those of its calls, with what facts add to a batch: frequencies and floors; otherwise those of its facts."""
    told = levels_of_facts(run.facts)
    if not run.levels:
        return told
    seen = {round(level.value, 6) for level in run.levels}
    return (*run.levels, *(t for t in told if t.kind in ("constant", "floor") and round(t.value, 6) not in seen))


def _nearest(values: Tensor, levels: Sequence[Level], every: int) -> tuple[Level, Standing] | None:
    """The level that the loss stands at; of several the nearest."""
    finite = values[torch.isfinite(values)]
    if not finite.numel():
        return None
    tail = finite[-max(20, finite.numel() // 4) :]
    middle = float(tail.median())
    found: list[tuple[float, Level, Standing]] = []
    for level in levels:
        if level.value <= 0 or abs(level.value - middle) > NEAR * level.value or not _lasting(level):
            continue
        standing = stands_at(values, level.value, every=every)
        if standing is not None and not _excused(finite, level, standing):
            found.append((abs(standing.median - level.value), level, standing))
    best = min(found, key=lambda one: one[0], default=None)
    return None if best is None else best[1:]


def _lasting(level: Level) -> bool:
    """Whether it is one of the whole run: the floor of a batch is not."""
    return not level.name.endswith(FOR_THESE)


def _excused(finite: Tensor, level: Level, standing: Standing) -> bool:
    """Chance while it learns slowly; a plateau or a floor that the loss has been below."""
    window = finite[-standing.n :]
    if level.kind in ("plateau", "floor"):
        size = max(1, finite.numel() // BLOCKS)
        lowest = (
            float(finite[: finite.numel() // size * size].reshape(-1, size).median(dim=1).values.min()) if size > 1 else math.inf
        )
        return lowest < level.value - 2 * standing.delta
    trend = slope(window)
    return trend.falls and -trend.value * standing.n > LEARNED * level.value


def _since(values: Tensor, level: float, standing: Standing) -> int:
    """Index of the first point of the standstill that the window is the end of."""
    size = max(1, standing.n // 10)
    start = standing.start
    while start - size >= 0:
        block = values[start - size : start]
        block = block[torch.isfinite(block)]
        if block.numel() and abs(float(block.median()) - level) > max(WAY * level, 2 * standing.delta):
            return start
        start -= size
    return 0 if start < size else start


def _owner(level: Level, evidence: Evidence) -> str:
    if level.kind == "floor":
        return "D404"
    if level.code in OWNERS:
        return level.code
    size = number(evidence.run.facts.get("vocab_size")) if evidence.run is not None else None
    if size is None or size <= 1:
        is_tokens = evidence.settings.task == "language"
    else:
        is_tokens = abs(level.value - math.log(size)) < PADDED * level.value
    return "D804" if level.kind == "chance" and is_tokens else "D403"


def hit_of(found: Stuck, evidence: Evidence, meaning: str, *, severity: Severity | None = None, fix: str = "") -> Hit:
    """The sentence with its window and numbers; an error where the run never left the level."""
    standing, level = found.standing, found.level
    lost = found.share >= HALF and (evidence.phase == "after" or found.end - found.begin >= LIVE_ERROR)
    below = level.value - standing.median > max(A_LITTLE * level.value, found.error)
    if severity is None and lost and level.kind == "chance" and not below:
        severity = "error"
    if below and level.kind == "chance":
        meaning = f"{meaning}, or next to nothing ({1 - standing.median / level.value:.1%} below)"
    less = " (what rare labels of a batch add taken off)" if found.less else ""
    width = "2 % of it" if standing.delta <= 1.001 * NEAR_LEVEL * level.value else "3 standard errors"
    said = (
        f"{found.series.name} stands at {level.name}. Its median{less} over the last {standing.n} points, steps {found.window} "
        f"to {found.end}, is {standing.median:.4f}, and up to {standing.delta:.4f} from the level ({width}) counts as there; so "
        f"it has been since step {found.begin} ({found.share:.0%} of the run, warm-up not counted): {meaning}"
    )
    numbers = {
        "level": level.value,
        "median": standing.median,
        "within": standing.delta,
        "points": standing.n,
        "from step": found.begin,
        "to step": found.end,
        "share of the run": found.share,
    }
    return Hit(said, numbers, where=found.series.name, step=found.begin, fix=fix, severity=severity, level=level.name)
