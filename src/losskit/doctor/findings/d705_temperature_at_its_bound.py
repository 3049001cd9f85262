"""D705: a learned temperature stands at the value that it is clamped to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..evidence import Evidence
from ..evidence.wiring import Parameter
from ..finding import Hit, finding

__all__ = ["temperature_at_its_bound"]

LOOKS = 3  # in a row
EARLY = 0.2  # of the steps that the run will have: CLIP's own runs arrive there later


@finding("D705", severity="warning", phases=("during",))
def temperature_at_its_bound(evidence: Evidence) -> Iterator[Hit]:
    """The temperature wants to go on and is clamped.

    Cause:       A temperature that runs into its clamp early says that the scores are too small for the loss: the embeddings do
                 not separate, or the temperature's learning rate is that of a much larger model. Late in a run it is what CLIP
                 does.
    Rule:        At three looks in a row a learned scalar (logit_scale, temperature, tau, ...) is the same to the last bit
                 or within 1e-3 of ln 100, while its gradient and its learning rate are above 0. A warning if that begins in
                 the first fifth of "max_steps"; else info.
    Silent when: the temperature moves, is frozen, or has a learning rate of 0.
    Fix:         Give it a tenth of the learning rate and no weight decay in a parameter group of its own; begin at
                 ln(1 / 0.07) = 2.659 as CLIP; look for repeated pairs in a batch, which ask for ever sharper scores.
    Confirm:     The temperature stays inside of its clamp, and the loss falls further.
    Reference:   Radford et al. 2021, arXiv:2103.00020 (clamp at 100).
    Example:
        model.logit_scale.data.clamp_(max=math.log(100))   # stands at 4.6052 from step 300 on
    """
    looks = [look for look in evidence.probes.looks if look.temperature is not None] if evidence.probes else []
    last = looks[-LOOKS:]
    if len(last) < LOOKS or evidence.run is None:
        return
    values = [look.temperature for look in last if look.temperature is not None and look.temperature[2] is not None]
    if len(values) < LOOKS or any(not _learns(look.parameters, values[0][0]) for look in last):
        return
    name, value, _ = values[-1]
    first = last[0].step
    for look in reversed(looks):
        if look.temperature is None or look.temperature[2] is None:
            break
        first = look.step
    whole = evidence.run.facts.get("max_steps")
    early = isinstance(whole, (int, float)) and first < EARLY * whole
    said = f"{name} has stood at {value:.4f} since step {first}, its clamp as it seems"
    yield Hit(said, {"value": value, "looks": len(values)}, where=name, step=first, severity=None if early else "info")


def _learns(parameters: Sequence[Parameter], name: str) -> bool:
    own = [p for p in parameters if p.name == name]
    return bool(own) and own[0].requires_grad and own[0].grad == "finite" and own[0].grad_norm > 0 and own[0].lr != 0
