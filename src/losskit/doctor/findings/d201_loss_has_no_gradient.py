"""D201: the loss, or a part of it, hangs on no weight."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["loss_has_no_gradient"]

SAME = 1e-4  # relative: float32 sums of a few terms agree far better
VISIBLE = 1e-3  # of the loss: less is not worth a word


@finding("D201", severity="error", phases=("before", "during"), explains=("D202", "D205", "D217", "D218", "D310", "D403", "D505"))
def loss_has_no_gradient(evidence: Evidence) -> Iterator[Hit]:
    """backward() has nothing to do: the loss, or a part of it, is cut off from the weights.

    Cause:       A detach(), a torch.no_grad() block, .item(), .numpy(), torch.tensor(loss) or an argmax between the weights and
                 the loss; or every weight is frozen. What is cut off is a number that training cannot change.
    Rule:        Error: the loss of the batch has requires_grad False. Warning: intercepted losses that carry a gradient do not
                 make up the loss, and do so to 1e-4 together with one that carries none and is at least 0.1 % of it. Live, a
                 part given to the Monitor that needs no gradient beside others that do is only noted: it may be a metric.
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
    elif (cut := _cut_off(evidence)) is not None:
        share = _number(cut) / (evidence.total or 1.0)
        said = f"{cut.name} is {_number(cut):.4g} of a loss of {evidence.total:.4g} and carries no gradient: it is not learned"
        yield Hit(said, {"part": _number(cut), "share": share}, where=cut.where, severity="warning", confidence=0.9)
    for name, share in evidence.probes.parts_without_grad if evidence.probes is not None else ():
        said = f'the part "{name}" ({share:.1%} of the loss) needs no gradient, other parts do'
        yield Hit(said, {"share": share}, where=name, severity="info", confidence=0.5)


def _cut_off(evidence: Evidence) -> LossCall | None:
    """The one call without gradient that is missing in the sum of those with one."""
    total = evidence.total
    scalars = [c for c in evidence.calls if c.value is not None and c.value.numel() == 1]
    learned = [c for c in scalars if c.slope]
    if total is None or not learned or len(learned) == len(scalars):
        return None
    missing = total - sum(_number(c) * (c.slope or 0.0) for c in learned)
    near = SAME * abs(total)
    if abs(missing) <= max(near, VISIBLE * abs(total)):
        return None
    found = [c for c in scalars if not c.slope and not any(c.needs_grad.values()) and abs(_number(c) - missing) <= near]
    return found[0] if len(found) == 1 else None


def _number(call: LossCall) -> float:
    return float("nan") if call.value is None else float(call.value)
