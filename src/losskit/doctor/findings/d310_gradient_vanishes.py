"""D310: layers get no gradient, or next to none."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..before.measured import some
from ..before.starved import starved
from ..evidence import Evidence
from ..finding import Hit, Severity, finding

__all__ = ["gradient_vanishes"]

LOOKS = 3  # of a live run in a row
SOLVED = "none if the model is good; else harder samples: a larger margin, or negatives that are mined"


@finding("D310", severity="warning", phases=("before", "during"), explains=("D217", "D218", "D403", "D504", "D505", "D205"))
def gradient_vanishes(evidence: Evidence) -> Iterator[Hit]:
    """The gradient of half the model is exactly zero, or a millionth of that of the last layers.

    Cause:       Dead or saturated units, an output that ignores its input, weights that all start at zero, or a product of
                 many factors below 1 (sigmoids, deep nets without skip connections). What gets no gradient stays as it was
                 initialised.
    Rule:        Weight matrices with a gradient of exactly zero hold more than half of the trainable numbers; or of
                 gradients below 1e-6 of the strongest one (each relative to its weights) that also move less than 1e-6 of
                 their weights in a step. In a live run at three looks in a row. Info where the loss itself is exactly 0 and
                 the model is not said to be fresh: a hinge or a margin that every sample of the batch keeps.
    Silent when: a zero layer above them has a gradient and will open the way (last layers, gates and LoRA that start at
                 zero); the optimizer's steps make up for it (Adam).
    Fix:         ReLU or GELU instead of sigmoid or tanh, kaiming initialisation, a norm layer, skip connections.
    Confirm:     every weight matrix has a gradient of norm above 0 after one backward pass.
    Reference:   Glorot and Bengio 2010, Understanding the difficulty of training deep feedforward neural networks.
    Example:
        nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.Sigmoid()) for _ in range(20)], nn.Linear(32, 10))  # sick
        nn.Sequential(*[nn.Sequential(nn.Linear(32, 32), nn.ReLU()) for _ in range(3)], nn.Linear(32, 10))      # healthy
    """
    if evidence.wiring is not None:
        done = evidence.total == 0 and evidence.settings.from_scratch is not True
        step, sets = None, [evidence.wiring.parameters]
    elif evidence.probes is not None and len(evidence.probes.looks) >= LOOKS:
        late = evidence.probes.looks[-LOOKS:]
        done = _nothing_left(evidence, [look.step for look in late])
        step, sets = late[0].step, [look.parameters for look in late]
    else:
        return
    found = [one for parameters in sets if (one := starved(parameters)) is not None]
    if len(found) == len(sets):
        names, share, kind = found[-1]
        said = f"{len(names)} weight matrices with {share:.0%} of the trainable numbers get {kind} ({some(names)})"
        numbers = {"share": share, "matrices": len(names)}
        if done:
            said += ": the loss is 0, so that this batch has nothing more to teach"
            numbers["loss"] = 0.0
        severity: Severity | None = "info" if done else None
        yield Hit(said, numbers, where=names[0], step=step, fix=SOLVED if done else "", severity=severity, confidence=0.8)


def _nothing_left(evidence: Evidence, steps: list[int]) -> bool:
    """Whether the loss of a live run is exactly 0 at these steps, and was not before or the model came trained."""
    losses = None if evidence.run is None else evidence.run.main("train_loss")
    if losses is None:
        return False
    here = torch.isin(losses.steps, torch.tensor(steps))
    before = losses.values[losses.steps < steps[0]]
    known = evidence.settings.from_scratch is False or bool((before != 0).any())
    return known and bool(here.any()) and not bool(losses.values[here].any())
