"""D304: the loss is finite and its gradient is not."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..during.origin_words import fix_of_backward, overflows, place, what_came_out
from ..evidence import Evidence
from ..evidence.replay import Replay
from ..finding import Hit, finding

__all__ = ["gradient_not_finite"]


@finding("D304", severity="error", phases=("before", "during"), explains=("D205", "D217", "D501", "D505", "D904"))
def gradient_not_finite(evidence: Evidence) -> Iterator[Hit]:
    """A derivative is infinite or 0 * inf where the function itself is finite.

    Cause:       sqrt, norm, powers below 1, acos have infinite derivatives at a point of their domain, and torch.where does not
                 help: the branch that is not taken gets a gradient of 0, and 0 * inf is NaN. Clipping makes it worse: it divides
                 all gradients by a norm that is NaN.
    Rule:        The loss of the batch is finite and a weight's gradient is not. From that weight back, the first node of the
                 backward pass with a finite gradient in and another one out is named, with the line of its forward pass.
    Silent when: a gradient scaler searches its factor (infinite scaled gradients at some steps are how it works), and where a bad
                 gradient is masked again before it reaches a weight.
    Fix:         Give the function an input that is safe everywhere, then mask: safe = torch.where(keep, x, 1); y =
                 torch.where(keep, safe.sqrt(), 0).
    Confirm:     torch.autograd.detect_anomaly() raises at the same function before the change and not after it; the norm of the
                 gradients of that batch is finite.
    Reference:   pytorch/pytorch issues 52248, 68425, 156212 (NaN through where); torch.autograd.detect_anomaly.
    Example:
        torch.where(d > 0, d.sqrt(), 0.0).sum()                        # sick: NaN gradient at d = 0
        torch.where(d > 0, torch.where(d > 0, d, 1.0).sqrt(), 0.0)     # healthy
    """
    replay = evidence.replay
    if replay is not None and replay.kind == "backward":
        numbers = {"bad": float(replay.bad), "numel": float(replay.numel)}
        if replay.sample is not None:
            numbers["sample"] = float(replay.sample)
        where = replay.where or replay.module or replay.name
        yield Hit(_said(replay), numbers, where=where, step=replay.step, fix=fix_of_backward(replay))
    elif replay is None or replay.kind == "not reproduced":
        yield from _unexplained(evidence)


def _said(replay: Replay) -> str:
    came = what_came_out(replay)
    wide = f"; in {' and '.join(replay.finite_in)} it is finite" if overflows(replay) else ""
    if not replay.op:
        return f'the loss is finite and the gradient of "{replay.name}" is not: {came}{wide}'
    saw = f" (lowest value that it saw: {replay.lowest_before:.4g})" if replay.lowest_before is not None else ""
    reached = f'; it reaches "{replay.name}"' if replay.name else ""
    return f"the loss is finite; the derivative of {replay.op} in {place(replay)}, is not{saw}: {came}{reached}{wide}"


def _unexplained(evidence: Evidence) -> Iterator[Hit]:
    """Without a replay: what was counted while a run was watched, or one backward pass."""
    probes, run, wiring, total = evidence.probes, evidence.run, evidence.wiring, evidence.total
    scaled = run is not None and run.main("loss_scale") is not None
    if probes is not None and probes.first_bad is not None and probes.first_bad[1] != "loss" and not scaled:
        step = probes.first_bad[0]
        said = f"the loss of step {step} is finite and a gradient is not; the batch could not be replayed"
        yield Hit(said, {"step": float(step)}, step=step, confidence=0.8)
    if evidence.phase != "before" or wiring is None or total is None or not math.isfinite(total):
        return
    if bad := [p.name for p in wiring.parameters if p.grad == "non-finite" and p.finite]:
        said = f'the loss is {total:.4g} and the gradients of {len(bad)} weights are not finite, of "{bad[0]}" first'
        yield Hit(said, {"weights": float(len(bad)), "loss": total}, where=bad[0], confidence=0.8)
