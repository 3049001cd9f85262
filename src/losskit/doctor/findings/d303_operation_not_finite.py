"""D303: an operation of the model or of the loss makes NaN or an infinity of finite numbers."""

from __future__ import annotations

from collections.abc import Iterator

from ..during.origin_words import fix_of_operation, overflows, place, what_came_out, what_went_in
from ..evidence import Evidence
from ..evidence.replay import Replay
from ..finding import Hit, finding

__all__ = ["operation_not_finite"]


@finding("D303", severity="error", phases=("before", "during"), explains=("D205", "D217", "D301", "D304", "D501", "D505", "D904"))
def operation_not_finite(evidence: Evidence) -> Iterator[Hit]:
    """The first value that is not finite is made by one operation of the forward pass.

    Cause:       The operation leaves its domain (log of 0, root of a negative number, 0 / 0, a softmax over a row that is masked
                 whole, a mean over nothing) or its number format (65504 in float16). All that is computed from it is lost.
    Rule:        The batch is run again with a look at every operation. From the loss back along what is not finite, the first
                 operation whose inputs are finite is named. Infinities that were written as constants are masks and not followed.
    Silent when: a NaN or an infinity is masked out again, so that loss and gradients are finite; log-probabilities of -inf that
                 no target asks for.
    Fix:         Change the named line so that the operation stays inside its domain: mask its input, not its output; compute in
                 the logarithm; divide by max(count, 1). If its inputs are huge, look at the operations before it in the trail.
    Confirm:     losskit.doctor.check(model, batch, loss_fn) on the same batch names no operation; the loss of that batch is
                 finite.
    Reference:   pytorch/pytorch issues 160016 and 143658; Goldberg 1991, What every computer scientist should know about
                 floating-point.
    Example:
        -torch.log(torch.softmax(z, -1))[rows, target].mean()   # sick: log(0) below z = -104
        losskit.cross_entropy(z, target)                        # healthy
    """
    replay = evidence.replay
    if replay is None or replay.kind not in ("forward", "loss"):
        return
    numbers = {"bad": float(replay.bad), "numel": float(replay.numel)}
    known = {"largest": replay.largest_before, "lowest": replay.lowest_before, "sample": replay.sample}
    numbers |= {name: float(value) for name, value in known.items() if value is not None}
    where = replay.where or replay.module or "the loss"
    yield Hit(_said(replay), numbers, where=where, step=replay.step, fix=fix_of_operation(replay))


def _said(replay: Replay) -> str:
    came, there = what_came_out(replay), place(replay)
    operation = replay.op or "an operation"
    if replay.name:
        return f"{operation} in {there}, is handed a tensor that is not finite and neither in the batch nor in the model: {came}"
    if replay.masked_row:
        return f"{operation} in {there}, sees a row in which everything is masked: {came}"
    if replay.empty_count:
        return f"{operation} in {there}, divides by a count of 0: {came}"
    if overflows(replay):
        wide = " and ".join(replay.finite_in)
        return (
            f"{operation} in {there}, leaves {replay.dtype}: {came}; in {wide} the same batch is finite; {what_went_in(replay)}"
        )
    wide = f"; in {' and '.join(replay.finite_in)} the same batch is finite" if replay.finite_in else ""
    return f"{operation} in {there}, is the first to leave the finite numbers: {came}; {what_went_in(replay)}{wide}"
