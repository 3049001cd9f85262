"""D302: weights, buffers or the optimizer's state are not finite although loss and gradients are."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.replay import Replay
from ..evidence.wiring import Parameter
from ..finding import Hit, finding

__all__ = ["weights_not_finite"]


@finding("D302", severity="error", phases=("before", "during"), explains=("D205", "D217", "D301", "D303", "D304", "D505", "D904"))
def weights_not_finite(evidence: Evidence) -> Iterator[Hit]:
    """A weight, a buffer or the optimizer's state is NaN or infinite before the loss is.

    Cause:       The values come from the initialisation (a division by a fan of 0, torch.empty that nobody filled), from a
                 checkpoint that was written after the run broke, or from the optimizer's own arithmetic: 0 / 0 where eps is 0 or
                 underflows in half precision, a state that an earlier NaN gradient has poisoned, a learning rate that is NaN.
    Rule:        A weight or buffer holds NaN or inf before the pass, or after a forward pass or a step on finite loss and
                 gradients. -inf in a buffer or a frozen weight is a mask.
    Silent when: weights are bad after a loss or a gradient was: what made that one is the cause.
    Fix:         Of an initialisation: fill the named tensor (torch.nn.init). Of a checkpoint: go back to the newest one whose
                 weights are all finite. Of the optimizer: eps=1e-8 in float32, float32 states and master weights, a fresh state
                 after a NaN. Of a batch norm: batches of more than one value a channel. Where a
                 Monitor found it: monitor.step(loss) belongs before optimizer.step(), which spoils the weights.
    Confirm:     [n for n, p in model.named_parameters() if not p.isfinite().all()] names the tensor; it is empty after the fix,
                 and after one step.
    Reference:   kyutai-labs/pocket-tts pull request 262 (NaN weights overwrote every checkpoint); Kingma and Ba 2015,
                 arXiv:1412.6980.
    Example:
        torch.optim.Adam(model.parameters(), eps=0.0)   # sick: 0 / 0 for a weight without a gradient
        torch.optim.Adam(model.parameters())            # healthy
    """
    replay = evidence.replay
    if replay is not None and replay.kind in ("weight", "buffer", "optimizer"):
        yield _replayed(replay)
    elif replay is None or replay.kind == "not reproduced":
        yield from _seen(evidence)


def _replayed(replay: Replay) -> Hit:
    numbers = {"bad": float(replay.bad), "numel": float(replay.numel)}
    where = replay.module or replay.name
    if replay.name == "lr":
        return Hit(
            f"the learning rate is {replay.value}: the step makes every weight that",
            {"lr": replay.value},
            where="lr",
            step=replay.step,
        )
    count = f"{replay.bad} of {replay.numel} values are not finite, the first, at {list(replay.index)}, is {replay.value}"
    if replay.kind != "optimizer":
        when = f"is broken by the {replay.op}" if replay.op else "is broken before the batch is looked at"
        said = f'the {replay.kind} "{replay.name}" {when}: {count}'
        return Hit(said, numbers, where=where, step=replay.step)
    if not replay.op:
        return Hit(
            f'the optimizer\'s state "{replay.name}" is broken before the step: {count}', numbers, where=where, step=replay.step
        )
    said = f'the optimizer\'s {replay.op} breaks "{replay.name}" although loss and gradients are finite: {count}'
    return Hit(said, numbers, where=where, step=replay.step)


def _seen(evidence: Evidence) -> Iterator[Hit]:
    """Without a replay: weights that are bad before anything else was."""
    first = evidence.probes.first_bad if evidence.probes is not None else None
    for look in evidence.probes.looks if evidence.probes is not None else ():
        if first is not None and first[0] <= look.step:
            return
        if bad := [p for p in look.parameters if not p.finite]:
            yield _parameters(bad, look.step)
            return
    known = evidence.wiring.parameters if evidence.phase == "before" and evidence.wiring is not None else ()
    if bad := [p for p in known if not p.finite]:
        yield _parameters(bad, None)
    elif spoilt := [p for p in known if p.grad in ("finite", "zero") and p.moved is not None and not math.isfinite(p.moved)]:
        said = f'one step on finite gradients makes "{spoilt[0].name}" not finite: {len(spoilt)} of {len(known)} weights'
        yield Hit(said, {"weights": float(len(spoilt)), "of": float(len(known))}, where=spoilt[0].name)


def _parameters(bad: list[Parameter], step: int | None) -> Hit:
    elements = math.fsum(p.numel for p in bad)
    more = f" and {len(bad) - 1} more" if len(bad) > 1 else ""
    said = f'"{bad[0].name}"{more} holds values that are not finite before a loss or a gradient is: {len(bad)} weights'
    return Hit(said, {"weights": float(len(bad)), "elements": elements}, where=bad[0].name, step=step)
