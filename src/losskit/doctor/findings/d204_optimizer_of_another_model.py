"""D204: the optimizer holds parameters that the model does not have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from ..during.still import still
from ..evidence import Evidence
from ..evidence.wiring import Parameter, Wiring
from ..finding import Hit, Severity, finding

__all__ = ["optimizer_of_another_model"]

MOST = 3  # layers that are named


@finding("D204", severity="error", phases=("before", "during"), explains=("D203", "D205", "D206", "D218", "D403", "D504", "D505"))
def optimizer_of_another_model(evidence: Evidence) -> Iterator[Hit]:
    """The optimizer moves weights that nothing uses: those of the model before it was copied, rebuilt or given a new layer.

    Cause:       The optimizer was made from another object: the model was built again, deep-copied, moved by a function that
                 makes new parameters, or a layer was replaced after optimizer = ....
    Rule:        The optimizer's groups hold tensors that are no parameters of model, loss function or step function and not in
                 the loss's graph. Error: it holds none of the model's trainable ones, or the strangers are as many matrices
                 and as many vectors as those of the model that it lacks: a layer that was replaced, whatever its size.
                 Warning: it lacks some of the model's, and the counts differ. Info: it holds all of the model's besides. Live: an
                 error if it holds none, and at two looks or more the weights are the same to the last bit.
    Silent when: every tensor that it holds is the model's or the criterion's, or the loss hangs on it.
    Fix:         make the optimizer last: model.head = nn.Linear(hidden, num_classes); optimizer = AdamW(model.parameters()).
    Confirm:     {id(p) for g in optimizer.param_groups for p in g["params"]} <= {id(p) for p in model.parameters()}.
    Reference:   pytorch/pytorch issue 14467.
    Example:
        optimizer = SGD(model.parameters(), lr=0.1); model = build()   # sick
        model = build(); optimizer = SGD(model.parameters(), lr=0.1)   # healthy
    """
    seen = evidence.wiring
    if seen is None:
        yield from _live(evidence)
        return
    if not seen.foreign:
        return
    own = [p for p in seen.parameters if p.requires_grad and p.home in ("model", "criterion")]
    held = sum(bool(p.optimized) for p in own)
    lacking = len(own) - held
    severity: Severity | None = None if held == 0 and own else "warning"
    if lacking and _replaced(evidence):
        severity = None
    elif not lacking:
        severity = "info"
    strangers = len(seen.foreign)
    shapes = ", ".join(str(shape) for shape in list(dict.fromkeys(seen.foreign))[:3])
    said = f"{strangers} of the parameters in {seen.optimizer or 'the optimizer'} are not the model's (shapes {shapes}); it holds"
    numbers = {"foreign": strangers, "held": held, "of": len(own)}
    yield Hit(f"{said} {held} of the model's {len(own)}", numbers, fix=_fix(seen, own) if lacking else "", severity=severity)


def _fix(seen: Wiring, own: list[Parameter]) -> str:
    """With the layers that the optimizer lacks, its own name and its learning rate."""
    layers = dict.fromkeys(p.name.rpartition(".")[0] for p in own if not p.optimized and p.home == "model")
    rate = f", lr={seen.learning_rates[0]:g}" if len(set(seen.learning_rates)) == 1 else ""
    made = (
        f"optimizer = {seen.optimizer or 'AdamW'}(model.parameters(){rate})"
        if " and " not in seen.optimizer
        else "optimizer = ..."
    )
    some = any(p.optimized for p in own) and 0 < len(layers) <= MOST
    return f"make the optimizer last, {'after the new ' + ', '.join(layers) if some else 'when the model is complete'}: {made}."


def _live(evidence: Evidence) -> Iterator[Hit]:
    """None of the model's weights is held and none moves: a wrapper that keeps copies of its own would move them."""
    found = still(evidence)
    if found is None:
        return
    trained, stood, step = found
    reached = [p for p in trained if p.grad == "finite"]
    if reached and len(stood) == len(trained) and all(p.optimized is False for p in trained):
        said = f"the optimizer holds none of the model's {len(trained)} trainable parameters, and none has changed by step {step}"
        yield Hit(said, {"held": 0, "of": len(trained), "step": step})


def _replaced(evidence: Evidence) -> bool:
    """Whether what the optimizer holds in vain may once have been what it lacks: as many weights and biases of a layer."""
    seen = evidence.wiring
    if seen is None:
        return False
    lacking = Counter(p.fan_in > 0 for p in seen.parameters if p.requires_grad and p.optimized is False and p.home == "model")
    strange = Counter(len(shape) > 1 for shape in seen.foreign)
    return lacking == strange
