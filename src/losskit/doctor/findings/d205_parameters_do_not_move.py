"""D205: weights are the same to the last bit after hundreds of steps, although they have gradients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..before.measured import some
from ..evidence import Evidence
from ..evidence.probes import Look
from ..evidence.wiring import Parameter
from ..finding import Hit, Severity, finding

__all__ = ["parameters_do_not_move"]

LOOKS = 3  # the weights of three looks are the same: two stretches of steps, so that one skipped step is no reason
LOST = 0.9  # share of updates too small for half precision: that is another finding, with another fix
QUIET = 1e-6  # of the largest gradient: below, it is rounding, as of a bias before a batch norm
SMALL = 1e-5  # learning rate x gradient / weight: below, a step may vanish in float32's 6e-8
_HALF = ("float16", "bfloat16")


@finding(
    "D205",
    severity="error",
    phases=("during",),
    explains=("D206", "D402", "D403", "D504", "D505", "D606", "D702", "D703", "D804"),
)
def parameters_do_not_move(evidence: Evidence) -> Iterator[Hit]:
    """Trainable weights get gradients and stay what they are.

    Cause:       optimizer.step() is not reached, or holds other tensors than the model that is trained: the model was copied,
                 moved or wrapped after the optimizer was made, or its weights are written back every step.
    Rule:        The last three looks at the run: a parameter of more than one element with requires_grad has a finite gradient
                 that is not 0, its learning rate is above 0 or not known, the step changed nothing of it, and its norm is the
                 same to the last bit in all three. A warning if the optimizer does not hold it and other parameters do move.
    Silent when: the learning rate is 0, the parameter is frozen, half precision swallows the update (another finding), fewer
                 than three looks were taken, or the gradient is nothing but rounding: below 1e-6 of the largest one, as of a
                 bias before a batch norm, or the learning rate times it below 1e-5 of the weights.
    Fix:         Make the optimizer after the model is complete and on its device:
                 model = model.to(device); optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
                 and call optimizer.step() (scaler.step(optimizer)) once for each backward pass.
    Confirm:     before = [p.clone() for p in model.parameters()]; one step; any((p != b).any() for p, b in
                 zip(model.parameters(), before)) is True.
    Reference:   pytorch/pytorch issue 14467 (optimizer of a model that is not trained).
    Example:
        optimizer = SGD(copy.deepcopy(model).parameters(), lr=0.1)   # sick
        optimizer = SGD(model.parameters(), lr=0.1)                  # healthy
    """
    looks = [look for look in evidence.probes.looks if look.parameters] if evidence.probes else []
    if len(looks) < LOOKS:
        return
    last = looks[-LOOKS:]
    loudest = max((p.grad_norm for p in last[-1].parameters if p.grad == "finite"), default=0.0)
    reached = [p for p in last[-1].parameters if _reached(p) and p.grad_norm > QUIET * loudest]
    still = [p for p in reached if _stood(p.name, last)]
    if not still:
        return
    held = [p for p in still if p.optimized is not False]
    everything = len(still) == len(reached)
    names = some([p.name for p in still])
    first, now = last[0].step, last[-1].step
    whose = "" if held or last[-1].parameters[0].optimized is None else "; the optimizer does not hold them"
    how_many = f"{len(still)} of {len(reached)} parameters with a gradient"
    said = f"{how_many} are bit for bit the same at steps {first} and {now}: {names}{whose}"
    share = sum(p.numel for p in still) / sum(p.numel for p in reached)
    numbers = {"parameters": len(still), "of": len(reached), "share of elements": share, "steps": now - first}
    severity: Severity | None = None if held or everything else "warning"
    yield Hit(said, numbers, where=still[0].name, step=first, severity=severity)


def _reached(p: Parameter) -> bool:
    rate = p.lr is None or p.lr > 0
    swallowed = p.dtype in _HALF and (p.lost or 0.0) > LOST
    rounds_away = p.lr is not None and p.lr * p.grad_norm < SMALL * p.weight_norm
    told = p.requires_grad and p.numel > 1 and p.grad == "finite" and p.grad_norm > 0
    return told and rate and not swallowed and not rounds_away


def _stood(name: str, looks: Sequence[Look]) -> bool:
    same = [p for look in looks for p in look.parameters if p.name == name]
    return len(same) == len(looks) and all(p.moved == 0 and _reached(p) for p in same) and len({p.weight_norm for p in same}) == 1
