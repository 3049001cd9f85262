"""D206: gradients of the step before are still there when the next one begins."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["gradients_are_not_cleared"]

SEEN = 2  # looks of a live run: one may be a step that was skipped


@finding("D206", severity="warning", phases=("before", "during"), explains=("D309", "D501", "D502", "D503"))
def gradients_are_not_cleared(evidence: Evidence) -> Iterator[Hit]:
    """zero_grad() is missing: each step goes along the sum of all gradients so far.

    Cause:       backward() adds to .grad. Without optimizer.zero_grad() step n uses the sum of n gradients, which acts like a
                 momentum of 1 and a learning rate that grows.
    Rule:        At the first backward pass after an optimizer step, parameters still have gradients that are not 0, and no
                 accumulation is declared: any in the second of two steps of step(), or at two looks of a live run.
    Silent when: accumulate > 1; gradients are set to None or 0 anywhere between the step and the next backward pass.
    Fix:         optimizer.zero_grad() right before loss.backward() (or right after optimizer.step()).
    Confirm:     all(p.grad is None for p in model.parameters()) right before backward(); the gradient norm no longer grows with
                 the number of steps.
    Reference:   torch documentation, Optimizer.zero_grad.
    Example:
        loss.backward(); optimizer.step()                           # sick
        optimizer.zero_grad(); loss.backward(); optimizer.step()    # healthy
    """
    if evidence.settings.accumulate > 1:
        return
    seen, probes = evidence.wiring, evidence.probes
    if seen is not None and seen.grads_before and seen.optimizer:
        said = (
            f"{seen.grads_before} of {len(seen.parameters)} parameters still have the gradient of the step before at backward()"
        )
        yield Hit(said, {"parameters": seen.grads_before, "of": len(seen.parameters)}, where="step()")
    elif probes is not None and probes.grads_before >= SEEN:
        looks = max(len(probes.looks), probes.grads_before)
        times = f"in {probes.grads_before} of {looks} steps that were looked at"
        said = f"the gradients of the step before were still there at backward(), {times}"
        yield Hit(said, {"times": probes.grads_before, "looks": looks, "steps": probes.steps})
