"""D507: the loss jumps to a higher level and stays there."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..statistics.blocks import median
from ..statistics.curve import Curve, curve_of
from ..statistics.excursions import Excursion, excursions
from ..statistics.expected import Around, around
from ..statistics.slope import slope
from ..statistics.warmup import steady_from

__all__ = ["level_shift"]

HEALED = 0.5  # of the jump gone by the end: the model learns what is new
CHANGED = 0.25  # of the level: a shift with no known reason is worth a warning from there on
SOON = 40  # points that must be there after a jump before it is called lasting


@finding("D507", severity="warning", phases=("during", "after"))
def level_shift(evidence: Evidence) -> Iterator[Hit]:
    """The loss jumps to a higher level from one step to the next and stays there.

    Cause:       Something other than learning changed: a run resumed without the optimizer's state or with a schedule that
                 began anew, other data, another loss weight. Adam without its moments makes its first steps at full size in
                 every direction.
    Rule:        4 points in a row (2 of means) more than 8 robust standard deviations and 15 % above the 40 points before,
                 not back within 150 steps (20 points; at most a tenth of the curve). A warning if counting went back or the
                 clock stood still there (a resume), or if it is above 25 % and at the end neither half healed nor falling;
                 info otherwise, and where the learning rate grew 1.5 times once.
    Silent when: the user declared an event there, the learning rate rises there twice or more (restarts), the objective is
                 adversarial, and in warm-up.
    Fix:         Save and load all of it: torch.save({"model": ..., "optimizer": optimizer.state_dict(), "scheduler":
                 scheduler.state_dict(), "step": step}); continue the data where it stopped. If the data changed on purpose,
                 say so with events=[(step, "stage 2")].
    Confirm:     Evaluate the checkpoint before the jump on the batches after it: the old level means optimizer or schedule,
                 the new one means data.
    Reference:   PyTorch tutorial "Saving and loading a general checkpoint"; huggingface/transformers issues on
                 resume_from_checkpoint.
    Example:
        model.load_state_dict(state["model"])                                                     # sick: moments start at zero
        model.load_state_dict(state["model"]); optimizer.load_state_dict(state["optimizer"])      # healthy
    """
    curve = curve_of(evidence.run)
    if evidence.run is None or curve is None or evidence.settings.objective == "adversarial":
        return
    curve = curve.since(steady_from(evidence.run))
    for one in excursions(curve):
        if one.stop is not None or not one.over:
            continue
        near = around(evidence.run, curve, one.start)
        if not near.event and not _scheduled(evidence.run, near):
            yield _said(curve, one, near)
            return


def _scheduled(run: Run, near: Around) -> bool:
    """A schedule that rises there is one that restarts, unless the run was resumed there."""
    rates = run.main("lr")
    if near.rate <= 1.1 or near.resumed or rates is None:
        return False
    jumps = (rates.values[1:] > 1.1 * rates.values[:-1]).nonzero().flatten()
    return bool((jumps > 0.1 * len(rates)).sum() >= 2)


def _said(curve: Curve, one: Excursion, near: Around) -> Hit:
    rest = curve.values[one.start :]
    now, step = median(rest[-SOON:]), int(curve.steps[one.start])
    healed = (one.after - now) / (one.after - one.before) if one.after > one.before else 1.0
    trend = slope(rest)
    falls = trend.falls and not trend.flat
    lasting = rest.numel() >= SOON and healed < HEALED and not falls and one.height > CHANGED * one.scale
    numbers = {"before": one.before, "after": one.after, "now": now, "sigmas": one.sigmas, "lr_ratio": near.rate}
    said = (
        f"the loss goes from {one.before:.4g} to {one.after:.4g} at step {step} and does not come back soon; it is {now:.4g} now"
    )
    if near.resumed:
        return Hit(f"{said}; the run was resumed there", numbers, step=step, confidence=0.9)
    if near.explained:
        return Hit(f"{said}; the learning rate grows {near.rate:.3g} times there", numbers, step=step, severity="info")
    confidence = min(0.8, 0.5 + math.log10(max(one.sigmas, 1.0)) / 10)
    return Hit(said, numbers, step=step, confidence=confidence, severity=None if lasting else "info")
