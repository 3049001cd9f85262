"""D505: the loss is where it was at the start."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..levels_constant import quieter
from ..statistics.blocks import in_blocks, median, pairwise
from ..statistics.curve import Curve, curve_of
from ..statistics.level import stands_at
from ..statistics.slope import slope
from ..statistics.warmup import steady_from

__all__ = ["no_improvement"]

EARLY, LATE = 0.15, 0.5  # shares of the points that are compared
LITTLE = 0.01  # of the level: what is less is no improvement
SURE = 0.03  # of the level: a curve too noisy to exclude an improvement of that much says nothing
POINTS = 40
PATIENCE = 500  # points of a live run, or three tenths of it where its length is known: healthy plateaus at chance are shorter
SHARE = 0.3
BELOW = 0.9  # of chance: a model that knows something started trained


@finding("D505", severity="warning", phases=("during", "after"))
def no_improvement(evidence: Evidence) -> Iterator[Hit]:
    """The loss has not improved since the start.

    Cause:       Nothing that is trained reaches the loss, or what reaches it carries no information: an optimizer without
                 the model's parameters, a detached output, a learning rate of 0, labels that have nothing to do with the
                 inputs, a constant output.
    Rule:        After the warm-up, the median difference (Hodges-Lehmann) of the block medians of the last half and of the
                 first 15 % is above -max(2 SE, 1 %) and its lower end above -3 %; the last half is flat; and the first
                 point and the median of the first five are not above the last half by more than 1 % (3 %) and 3 standard
                 deviations. Live, where it is known what the best constant would have cost each batch, that is taken from the
                 loss first. 40 points, counted from the last declared event; in a live run 500, or 30 % of max_steps and at
                 least 100.
    Silent when: the objective is mining or adversarial (such a loss need not fall), the loss stands at its known floor, the
                 learning rate still warms up, the loss is below 0 somewhere and no loss is known whose levels it could
                 be held against, or the run ends in NaN. Info where from_scratch is False, or the loss is below 90 % of chance: a
                 model that started trained.
    Fix:         Run losskit.doctor.check(model, batch, loss_fn, optimizer) on one batch: it names the parameter that gets
                 no gradient or is in no optimizer, and says whether one batch can be learned. If it finds nothing, raise
                 the learning rate 10 times.
    Confirm:     Train on one batch for 200 steps: a loss that falls to a tenth means that the data or the learning rate is
                 to blame, one that stays means the wiring.
    Reference:   Karpathy 2019, A Recipe for Training Neural Networks ("overfit one batch"); Hodges and Lehmann 1963.
    Example:
        optimizer = torch.optim.Adam(old_model.parameters()); model = Net()   # sick
        model = Net(); optimizer = torch.optim.Adam(model.parameters())       # healthy
    """
    run = quieter(evidence.run)
    curve = curve_of(run, POINTS)
    if run is None or curve is None or evidence.settings.objective is not None or _ends_in_nan(run):
        return
    if not run.levels and bool((curve.values < 0).any()):  # a policy gradient, or another loss whose height means nothing
        return
    curve = curve.anew(run)
    rest = curve.since(steady_from(run))
    if len(curve) < POINTS or len(rest) < POINTS * 3 // 4 or (evidence.phase == "during" and not _long_enough(run, curve)):
        return
    if any(stands_at(curve.values, level.value, every=curve.every) for level in run.levels if level.kind == "floor"):
        return
    found = _shift(curve, rest)
    if found is None:
        return
    shift, error, now = found
    knows = any(level.kind == "chance" and level.value > 0 and now < BELOW * level.value for level in run.levels)
    trained = knows or evidence.settings.from_scratch is False
    said, medians = _said(rest, error, whole=len(rest) == len(curve), less=run is not evidence.run)
    numbers = {"start": curve.start, **medians, "shift": shift, "error": error, "points": float(len(curve))}
    yield Hit(said, numbers, step=int(rest.steps[-1]), severity="info" if trained else None, confidence=0.5 if trained else 0.8)


def _said(rest: Curve, error: float, *, whole: bool, less: bool) -> tuple[str, dict[str, float]]:
    """Two medians with the steps that they are of, so that they can be found in the log, and what a fall would have to be."""
    parts = in_blocks(rest.steps, rest.values, POINTS)
    skip, half = len(rest) - parts.size * len(parts), parts.size * int(LATE * len(parts))
    early = slice(skip, skip + parts.size * max(1, int(EARLY * len(parts))))
    late = slice(skip + half, len(rest))
    first, now = median(rest.values[early]), median(rest.values[late])
    (a, b), (c, d) = ((int(rest.steps[one][0]), int(rest.steps[one][-1])) for one in (early, late))
    noisy = 2 * error > LITTLE * abs(now)
    little = f"{2 * error:.2g} (two standard errors)" if noisy else f"{LITTLE * abs(now):.2g} (1 % of it)"
    taken = ", what rare labels of a batch add taken off," if less else ""
    said = f"the median of the loss{taken} is {first:.4g} over steps {a} to {b}"
    said += (
        f" (the first 15 %{'' if whole else ' after the warm-up'}) and {now:.4g} over steps {c} to {d} (the last half): no fall"
    )
    return f"{said}, or one below {little}", {"early": first, "now": now}


def _ends_in_nan(run: Run) -> bool:
    """Whether the run ended in NaN: other findings say why, and what was before is no whole run."""
    losses = run.main("train_loss")
    return losses is not None and len(losses) > 0 and not math.isfinite(float(losses.values[-1]))


def _long_enough(run: Run, curve: Curve) -> bool:
    whole = run.facts.get("max_steps")
    if run.finished:
        return True
    if isinstance(whole, int | float) and whole > 0:
        return len(curve) >= 100 and int(curve.steps[-1]) >= SHARE * whole
    return len(curve) >= PATIENCE


def _shift(curve: Curve, rest: Curve) -> tuple[float, float, float] | None:
    """(change, its standard error, the level of the last half) if there is no improvement."""
    parts = in_blocks(rest.steps, rest.values, POINTS)
    early = parts.level[: max(1, int(EARLY * len(parts)))]
    late = parts.level[int(LATE * len(parts)) :]
    shift = pairwise(early, late)
    error = parts.sigma * math.sqrt(1 / early.numel() + 1 / late.numel())
    now = float(late.median())
    point = parts.sigma * math.sqrt(parts.size)
    fell = max(
        curve.first - now - max(SURE * abs(now), 3 * point), curve.start - now - max(LITTLE * abs(now), 3 * point / math.sqrt(5))
    )
    if not math.isfinite(error) or fell > 0 or shift - 2 * error < -SURE * abs(now) or shift < -max(2 * error, LITTLE * abs(now)):
        return None
    return (shift, error, now) if slope(late).flat or shift > 0 else None
