"""D218: one batch is learned with Adam 1e-3, but not with the optimizer that was given."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..before.overfit import MOST_STEPS, progress
from ..evidence import Evidence
from ..evidence.overfit import Attempt, Overfit
from ..finding import Hit, Severity, finding

__all__ = ["optimizer_does_not_learn_one_batch"]

STANDS = 0.005  # of the way in 200 steps; SGD at 1e-3 makes 4 %, AdamW at 1e-5 makes 2 % on a small net
SOARED = 5.0  # times the start, and not half way down again at the end
EXPLODED = 100.0  # times the start, at the end: as good as NaN, no training starts again from there
HALF = 0.5  # of the way down; of the weights, which a step of that length makes anew
CLIP = "divide the learning rate by 10, or torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0) before each step"


@finding("D218", severity="warning", phases=("before",), explains=("D501", "D503", "D504", "D505"))
def optimizer_does_not_learn_one_batch(evidence: Evidence) -> Iterator[Hit]:
    """Adam at 1e-3 learns a few samples by heart, the optimizer that was given goes nowhere or away.

    Cause:       Model and loss are sound; what differs is the optimizer: a learning rate far too high (the loss soars) or
                 far too low (it stands), weight decay that outweighs the gradient, or parameters that it does not hold.
    Rule:        Adam reaches a tenth of the way above the floor. The user's optimizer, in 200 steps with its own settings,
                 makes less than 0.5 % of the way, ends above its start or not finite, or soars above 5 times the start and
                 is not half way down at the end; clipping gradients to 1 does not make it learn either. Where clipping does,
                 info, since whether the loop clips is not seen here; no info if a gradient of norm 1 moves the weights by
                 half of their norm or more. An error where the loss ends as NaN or infinity, or above 100 times
                 its start.
    Silent when: it learns, however slowly; a scheduler's warm-up is gone through first; the time ran out.
    Fix:         {"it soars": lr / 10, "it stands": lr * 10}; Adam or AdamW at 1e-3 to begin with.
    Confirm:     losskit.doctor.check again: the loss of one batch falls with the new setting.
    Reference:   Godbole et al., Deep Learning Tuning Playbook, 2023: unstable workloads.
    Example:
        torch.optim.SGD(model.parameters(), lr=10.0)   # sick
        torch.optim.SGD(model.parameters(), lr=0.05)   # healthy
    """
    seen = evidence.overfit
    if seen is None or seen.own is None or seen.adam is None or not seen.adam.reached:
        return
    own = seen.plain or seen.own
    if evidence.settings.objective is not None or not seen.start > seen.floor or own.reached:
        return
    made, worst = progress(own.losses, seen.floor), max(own.losses)
    what = _what(seen, own, made)
    if what and seen.plain is not None:
        length = _length(evidence)
        said = f"{own.optimizer}: the loss of one batch {what}, and is learned if gradients are clipped to 1"
        said += f"; such a step moves the weights by {length:.1%}" if length else ""
        numbers = {"start": seen.start, "after one step": own.losses[1], "end": own.losses[-1], "highest": worst, "step": length}
        yield Hit(said, numbers, fix=CLIP, severity=_severity(seen, own) if length > HALF else "info", confidence=0.6)
    elif what:
        said = f"{own.optimizer}: the loss of one batch {what}; {seen.adam.optimizer} learns it in {seen.adam.steps} steps"
        numbers = {"start": seen.start, "end": own.losses[-1], "highest": worst, "adam_steps": seen.adam.steps}
        wish = "multiply the learning rate by 10" if "stands" in what else "divide the learning rate by 10"
        fix = f"{wish}, or begin with torch.optim.AdamW(model.parameters(), lr=1e-3)"
        yield Hit(said, numbers, fix=fix, severity=_severity(seen, own), confidence=0.8)


def _severity(seen: Overfit, own: Attempt) -> Severity | None:
    """An error where nothing is left to train on; a loss that only fails to fall is a warning."""
    end, far = own.losses[-1], max(EXPLODED * abs(seen.start), seen.floor + EXPLODED * (seen.start - seen.floor))
    return None if math.isfinite(end) and end <= far else "error"


def _length(evidence: Evidence) -> float:
    """Of the step for a gradient of norm 1 beside the weights; 0 where no step was made."""
    seen = [] if evidence.wiring is None else [p for p in evidence.wiring.parameters if p.moved is not None and p.optimized]
    moved, slope, weights = (
        math.sqrt(sum(x * x for x in each))
        for each in ([p.moved or 0.0 for p in seen], [p.grad_norm for p in seen], [p.weight_norm for p in seen])
    )
    return moved / (slope * weights) if slope * weights > 0 else 0.0


def _what(seen: Overfit, own: Attempt, made: float) -> str:
    if not math.isfinite(own.losses[-1]):
        return f"is {own.losses[-1]} after {own.steps} steps"
    if own.steps < MOST_STEPS:  # out of time
        return ""
    highest = max(own.losses)
    if highest > seen.floor + SOARED * (seen.start - seen.floor) and made < HALF:
        return f"soars from {seen.start:.4g} to {highest:.4g} and ends at {own.losses[-1]:.4g}"
    if made < -STANDS:
        return f"goes up from {seen.start:.4g} to {own.losses[-1]:.4g} in {own.steps} steps"
    return f"stands at {seen.start:.4g} for {own.steps} steps" if made < STANDS else ""
