"""D221: monitor.step stands after optimizer.step."""

from __future__ import annotations

from collections.abc import Iterator

from ..during.order import SEEN
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["monitor_after_the_step"]


@finding("D221", severity="warning", phases=("during",), explains=("D206", "D207", "D220", "D310"))
def monitor_after_the_step(evidence: Evidence) -> Iterator[Hit]:
    """monitor.step() stands after optimizer.step(): the monitor sees other weights than the loss, and a used or cleared gradient.

    Cause:       The monitor measures the gradient of this very loss, evaluates the batch with the weights that made it, and keeps
                 a step that is not finite from the weights. After optimizer.step() the weights are those of the next step, and
                 after zero_grad() there is no gradient: norms and looks are of nothing, and on_nonfinite="skip" or "raise" comes
                 too late.
    Rule:        The optimizer has stepped since the last call of monitor.step(), with gradients, and since that step no gradient
                 of a trainable parameter was written to but to clear it: at 2 or more of the first 8 such calls.
    Silent when: a backward pass lies between the optimizer's step and the monitor's; the optimizer is called with a closure, or
                 while a backward pass runs (fused into it); fewer than half of the trainable parameters had a gradient at
                 the step; gradients are not kept in p.grad.
    Fix:         loss.backward(); monitor.step(loss, batch=batch); optimizer.step(), in this order. zero_grad() stands before
                 backward() or after the optimizer's step.
    Confirm:     monitor.run.main("grad_norm") has a norm above 0 at every step.
    Reference:   losskit.doctor.Monitor.
    Example:
        loss.backward(); optimizer.step(); monitor.step(loss)    # sick
        loss.backward(); monitor.step(loss); optimizer.step()    # healthy
    """
    probes = evidence.probes
    if probes is None or probes.late < SEEN:
        return
    what = "the gradients were cleared already" if probes.late_cleared == probes.late else "the gradients had been used already"
    said = f"monitor.step() came after optimizer.step() at {probes.late} of {probes.order_looked} calls looked at: {what}"
    yield Hit(said, {"late": probes.late, "looked": probes.order_looked}, where="monitor.step()")
