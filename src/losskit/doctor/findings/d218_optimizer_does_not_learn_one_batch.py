"""D218: one batch is learned with Adam 1e-3, but not with the optimizer that was given."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..before.overfit import MOST_STEPS, progress
from ..evidence import Evidence
from ..evidence.overfit import Attempt, Overfit
from ..finding import Hit, finding

__all__ = ["optimizer_does_not_learn_one_batch"]

STANDS = 0.005  # of the way in 200 steps; SGD at 1e-3 makes 4 %, AdamW at 1e-5 makes 2 % on a small net
SOARED = 5.0  # times the start, and not half way down again at the end
HALF = 0.5


@finding("D218", severity="warning", phases=("before",), explains=("D501", "D503", "D504", "D505"))
def optimizer_does_not_learn_one_batch(evidence: Evidence) -> Iterator[Hit]:
    """Adam at 1e-3 learns a few samples by heart, the optimizer that was given goes nowhere or away.

    Cause:       Model and loss are sound; what differs is the optimizer: a learning rate far too high (the loss soars) or
                 far too low (it stands), weight decay that outweighs the gradient, or parameters that it does not hold.
    Rule:        Adam reaches a tenth of the way above the floor. The user's optimizer, in 200 steps with its own settings,
                 makes less than 0.5 % of the way, ends above its start or not finite, or soars above 5 times the start and
                 is not half way down at the end; clipping gradients to 1 does not make it learn either.
    Silent when: it learns, however slowly; a scheduler's warm-up is gone through first; the time ran out.
    Fix:         {"it soars": lr / 10, "it stands": lr * 10}; Adam or AdamW at 1e-3 to begin with.
    Confirm:     losskit.doctor.check again: the loss of one batch falls with the new setting.
    Reference:   Godbole et al., Deep Learning Tuning Playbook, 2023: unstable workloads.
    Example:
        torch.optim.SGD(model.parameters(), lr=10.0)   # sick
        torch.optim.SGD(model.parameters(), lr=0.05)   # healthy
    """
    seen = evidence.overfit
    if seen is None or seen.own is None or seen.adam is None or not seen.adam.reached or seen.own.reached:
        return
    if evidence.settings.objective is not None or not seen.start > seen.floor:
        return
    made, worst = progress(seen.own.losses, seen.floor), max(seen.own.losses)
    what = _what(seen, seen.own, made)
    if what:
        said = f"{seen.own.optimizer}: the loss of one batch {what}; {seen.adam.optimizer} learns it in {seen.adam.steps} steps"
        numbers = {"start": seen.start, "end": seen.own.losses[-1], "highest": worst, "adam_steps": seen.adam.steps}
        wish = "multiply the learning rate by 10" if "stands" in what else "divide the learning rate by 10"
        yield Hit(said, numbers, fix=f"{wish}, or begin with torch.optim.AdamW(model.parameters(), lr=1e-3)", confidence=0.8)


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
