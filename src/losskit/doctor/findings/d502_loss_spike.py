"""D502: the loss jumps up for a while and comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..statistics.curve import Curve, curve_of
from ..statistics.excursions import Excursion, excursions
from ..statistics.expected import around, grad_norm_around
from ..statistics.warmup import steady_from

__all__ = ["loss_spike"]

SMALL = 0.3  # of the level: one spike below that did no harm and is only worth knowing
LEAST = 10  # points that one must last which has not come back yet


@finding("D502", severity="warning", phases=("during", "after"))
def loss_spike(evidence: Evidence) -> Iterator[Hit]:
    """The loss jumps up for several steps in a row and then returns.

    Cause:       One step was far too large: a batch unlike the others, an Adam second moment that had shrunk before
                 gradients grew, or a learning rate at the edge of what is stable. Where the gradient norm jumps first, the
                 batch or the optimizer did it.
    Rule:        At least 4 points in a row (2 where each point is a mean of 4 steps or more), each above the median of the
                 40 points before by more than 8 robust standard deviations and by more than 15 % of that median (or of half
                 the way the loss has come, if that is more), and, for the first one, twice as high as anything before it;
                 points of a spike leave the baseline. Back within 150 steps (20 points; at most a tenth of the curve), or
                 still up at the end. A single spike below 30 % that came back is only info.
    Silent when: single points stick out, the learning rate grows 1.5 times (a warm restart), the user declared an event
                 there, the objective is adversarial, and in warm-up and the first 50 steps.
    Fix:         In this order: look at the batches of these steps and drop what does not belong; clip gradients to about
                 twice their median norm (torch.nn.utils.clip_grad_norm_); lower Adam's beta2 from 0.999 to 0.95; a longer
                 warm-up; a lower peak learning rate. After a spike that does not return, go back to the checkpoint before
                 it and leave these batches out.
    Confirm:     Run the batch of the first step of the spike again from the checkpoint before it: a loss far above the
                 others means data, an ordinary one means optimizer.
    Reference:   Chowdhery et al. 2022, arXiv:2204.02311, section 5.1 (batches skipped at spikes); Molybog et al. 2023,
                 arXiv:2304.09871.
    Example:
        torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999))                       # sick at large batches
        torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95)), clip_grad_norm_(..., 1.0)  # healthy
    """
    curve = curve_of(evidence.run)
    if evidence.run is None or curve is None or evidence.settings.objective == "adversarial":
        return
    curve = curve.since(steady_from(evidence.run))
    found = [one for one in excursions(curve) if _is_spike(one, curve)]
    found = [one for one in found if not around(evidence.run, curve, one.start).explained]
    if found:
        yield _said(evidence.run, curve, found)


def _is_spike(one: Excursion, curve: Curve) -> bool:
    return one.stop is not None or (not one.over and len(curve) - one.start >= LEAST)


def _said(run: Run, curve: Curve, found: Sequence[Excursion]) -> Hit:
    first, worst = found[0], max(found, key=lambda one: one.height / one.scale)
    step, end = int(curve.steps[worst.start]), None if worst.stop is None else int(curve.steps[worst.stop])
    numbers = {
        "spikes": float(len(found)),
        "before": worst.before,
        "peak": worst.peak,
        "sigmas": worst.sigmas,
        "steps": float((end or int(curve.steps[-1])) - step),
    }
    said = f"the loss jumps from {worst.before:.4g} to {worst.peak:.4g} at step {step}"
    said += f" and is back after {end - step} steps" if end is not None else " and is not back yet"
    said += f"; {len(found)} spikes like that" if len(found) > 1 else ""
    ratio = grad_norm_around(run, step, max(1, int(5 * curve.spacing)))
    if ratio is not None:
        numbers["grad_norm_ratio"] = ratio
        said += f"; the gradient norm is {ratio:.3g} times its usual one there"
    harmless = len(found) == 1 and worst.stop is not None and worst.height < SMALL * worst.scale
    return Hit(said, numbers, step=int(curve.steps[first.start]), severity="info" if harmless else None)
