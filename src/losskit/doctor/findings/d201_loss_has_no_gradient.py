"""D201: the loss, or a part of it, hangs on no weight."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["loss_has_no_gradient"]

SAME = 1e-4  # relative: float32 sums of a few terms agree far better
SAME_TIMES = 1e-5  # relative, for a part that is multiplied: any number is some multiple of the missing one, few a round one
VISIBLE = 1e-3  # of the loss: less is not worth a word
# what people multiply a part by: one digit, a quarter, three quarters, three halves
ROUND = frozenset({1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 7.5, 8.0, 9.0})


@finding("D201", severity="error", phases=("before", "during"), explains=("D202", "D205", "D217", "D218", "D310", "D403", "D505"))
def loss_has_no_gradient(evidence: Evidence) -> Iterator[Hit]:
    """backward() has nothing to do: the loss, or a part of it, is cut off from the weights.

    Cause:       A detach(), a torch.no_grad() block, .item(), .numpy(), torch.tensor(loss) or an argmax between the weights and
                 the loss; or every weight is frozen. What is cut off is a number that training cannot change.
    Rule:        Error: the loss of the batch has requires_grad False; or it has a gradient of which no parameter at all gets
                 any, and is to 1e-4 the sum of intercepted losses that it does not hang on. Warning: intercepted losses that
                 carry a gradient do not make up the loss; together with one that carries none they do, to 1e-4, or to 1e-5
                 with that one times a round number (0.1, 0.25, 2, ...); and what was missing is at least 0.1 % of the loss.
                 Live, a part given to the Monitor that needs no gradient beside others that do is only noted: it may be a
                 metric.
    Silent when: a loss without gradient is computed beside, for a log, and is not in the sum.
    Fix:         keep tensors: loss = main + 0.1 * auxiliary, both from the forward pass, without detach, no_grad, item or
                 torch.tensor; call requires_grad_(True) on what is to be trained.
    Confirm:     loss.requires_grad is True, and for each part torch.autograd.grad(part, parameters, allow_unused=True) has an
                 entry that is not None.
    Reference:   torch documentation, "Autograd mechanics": locally disabling gradient computation.
    Example:
        loss = torch.tensor(F.cross_entropy(model(x), y).item(), requires_grad=True)   # sick
        loss = F.cross_entropy(model(x), y)                                            # healthy
    """
    seen = evidence.wiring
    if seen is not None and not seen.loss_requires_grad:
        trainable = sum(p.requires_grad for p in seen.parameters)
        of = len(seen.parameters)
        why = "every parameter is frozen" if not trainable and of else f"{trainable} of {of} parameters are trainable"
        yield Hit(f"the loss has requires_grad=False: backward() reaches no weight ({why})", {"trainable": trainable, "of": of})
    elif (made := _made_anew(evidence)) is not None:
        count = sum(p.requires_grad for p in seen.parameters) if seen is not None else 0
        said = (
            f"the loss is {_number(made):.4g}, as {made.name} is, without its graph: backward() reaches none of {count} weights"
        )
        yield Hit(said, {"trainable": count, "loss": _number(made)}, where=made.where)
    elif (cut := _cut_off(evidence)) is not None:
        call, part = cut
        share = part / (evidence.total or 1.0)
        said = f"{call.name} is {part:.4g} of a loss of {evidence.total:.4g} and carries no gradient: it is not learned"
        yield Hit(said, {"part": part, "share": share}, where=call.where, severity="warning", confidence=0.9)
    for name, share in evidence.probes.parts_without_grad if evidence.probes is not None else ():
        said = f'the part "{name}" ({share:.1%} of the loss) needs no gradient, other parts do'
        yield Hit(said, {"share": share}, where=name, severity="info", confidence=0.5)


def _made_anew(evidence: Evidence) -> LossCall | None:
    """The first of the calls that add up to the loss without being above it, where nothing else is: torch.tensor(loss.item())."""
    seen, total = evidence.wiring, evidence.total
    calls = [c for c in evidence.calls if c.value is not None and c.value.numel() == 1 and c.home != "written"]
    if seen is None or seen.own_step or total is None or not calls or any(c.slope for c in calls):
        return None
    if not any(p.requires_grad for p in seen.parameters) or any(p.grad != "none" for p in seen.parameters):
        return None
    return calls[0] if abs(total - sum(map(_number, calls))) <= SAME * abs(total) else None


def _cut_off(evidence: Evidence) -> tuple[LossCall, float] | None:
    """The one call without gradient that is missing in the sum of those with one, and how much of the loss it makes."""
    total = evidence.total
    scalars = [c for c in evidence.calls if c.value is not None and c.value.numel() == 1]
    learned = [c for c in scalars if c.slope]
    if total is None or not learned or len(learned) == len(scalars):
        return None
    missing = total - sum(_number(c) * (c.slope or 0.0) for c in learned)
    if not abs(missing) > VISIBLE * abs(total):
        return None
    found = [c for c in scalars if not c.slope and _is_round_part(missing, _number(c), abs(total))]
    return (found[0], missing) if len(found) == 1 else None


def _is_round_part(missing: float, value: float, whole: float) -> bool:
    """Whether what is missing is the value, or a round number times it."""
    if abs(missing - value) <= SAME * whole:
        return True
    times = missing / value if value else 0.0
    if not times > 0 or not math.isfinite(times):
        return False
    digits = times / 10.0 ** math.floor(math.log10(times) + 1e-9)
    nearest = min(ROUND | {10.0}, key=lambda one: abs(one - digits))
    return bool(abs(missing) * abs(nearest / digits - 1) <= SAME_TIMES * whole)


def _number(call: LossCall) -> float:
    return float("nan") if call.value is None else float(call.value)
