"""D207: gradients are cleared between backward() and step()."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["gradients_cleared_before_the_step"]

SEEN = 2  # looks of a live run: once may be a batch that the loop rejects


@finding("D207", severity="error", phases=("before", "during"), explains=("D202", "D205", "D310", "D403", "D504", "D505"))
def gradients_cleared_before_the_step(evidence: Evidence) -> Iterator[Hit]:
    """zero_grad() stands between backward() and step(): the optimizer finds no gradient and does nothing.

    Cause:       The three calls are in the wrong order; or zero_grad() is called once more, by a callback or by a scheduler of
                 one's own.
    Rule:        Parameters got a gradient that is not 0 from backward(), and it is None or 0 when the optimizer steps: all that
                 the optimizer holds, in a step of step(), or at two looks of a live run.
    Silent when: a part of the gradients is cleared on purpose, or a single step is.
    Fix:         optimizer.zero_grad(); loss.backward(); optimizer.step(), in this order.
    Confirm:     the weights change with a step: (p - before).norm() > 0.
    Reference:   torch documentation, Optimizer.zero_grad.
    Example:
        loss.backward(); optimizer.zero_grad(); optimizer.step()    # sick
        optimizer.zero_grad(); loss.backward(); optimizer.step()    # healthy
    """
    seen, probes = evidence.wiring, evidence.probes
    if seen is not None and seen.cleared_between:
        count = sum(p.grad == "finite" and p.optimized is not False for p in seen.parameters)
        said = f"the gradients of {count} parameters are gone when {seen.optimizer or 'the optimizer'} steps"
        yield Hit(said, {"parameters": count, "of": len(seen.parameters)}, where="step()")
    elif probes is not None and probes.cleared_between >= SEEN:
        looks = max(len(probes.looks), probes.cleared_between)
        said = f"gradients were gone when the optimizer stepped, in {probes.cleared_between} of {looks} steps looked at"
        yield Hit(said, {"times": probes.cleared_between, "looks": looks, "steps": probes.steps})
