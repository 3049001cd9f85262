"""D213: the clip makes nearly nothing of every gradient, and the loss does not fall."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..before.optimizers import ignores_scale
from ..evidence import Evidence
from ..finding import Hit, finding
from ..statistics.slope import slope

__all__ = ["clipping_throttles"]

CLIPS = 50  # enough that the median is not the start of the run
RATIO = 1e-3  # max_norm / norm: a step of SGD is a thousand times shorter than the learning rate says


@finding("D213", severity="warning", phases=("during",), explains=("D504",))
def clipping_throttles(evidence: Evidence) -> Iterator[Hit]:
    """Nearly every step is clipped to less than a thousandth of its gradient, and the loss is flat.

    Cause:       Clipping by norm multiplies the gradient by max_norm / norm. Far below 1 at every step it is no protection from
                 outliers but a second learning rate.
    Rule:        The median of max_norm / norm over the last 50 to 200 clips is below 1e-3, and the loss over the second half of
                 the run is flat. Only info for Adam and its kin, whose step does not change with the gradient's scale.
    Silent when: the loss falls, or fewer than 50 clips were seen.
    Fix:         Raise max_norm to about the median norm of the gradients (named where the run has it), or clip by it and raise
                 the learning rate.
    Confirm:     With the clip at the median norm, half of the steps are not clipped, and the loss falls.
    Reference:   Pascanu et al. 2013, arXiv:1211.5063 (thresholds of half to ten times the average norm); Google's tuning
                 playbook.
    Example:
        clip_grad_norm_(model.parameters(), 1e-4)   # sick for gradients of norm 3
        clip_grad_norm_(model.parameters(), 3.0)    # healthy
    """
    probes, run = evidence.probes, evidence.run
    if probes is None or run is None or len(probes.clip_ratios) < CLIPS:
        return
    loss, middle = run.main("train_loss"), median(probes.clip_ratios)
    if not 0 < middle < RATIO or loss is None or len(loss) < CLIPS:
        return
    half = len(loss) // 2
    if not slope(loss.values[half:], loss.steps[half:]).flat:
        return
    free = ignores_scale(str(run.facts.get("optimizer", "")))
    said = f"clipping leaves {middle:.1e} of the gradient (median of {len(probes.clip_ratios)} steps), and the loss is flat"
    numbers, fix = {"median max_norm / norm": middle, "clips": len(probes.clip_ratios)}, ""
    norms = run.main("grad_norm")
    if norms is not None and len(norms.finite()):
        norm = float(norms.finite().values[-CLIPS:].median())
        numbers |= {"median norm": norm, "max_norm": middle * norm}
        said += f"; the median norm before the clip is {norm:.4g}"
        fix = f"Raise max_norm from {middle * norm:.2g} to about {norm:.2g}, the median norm of the gradients, or raise "
        fix += "the learning rate instead."
    yield Hit(said, numbers, severity="info" if free else None, fix=fix)
