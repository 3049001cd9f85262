"""D220: the step makes the loss larger: its sign is wrong, or the optimizer is told to climb."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["step_climbs"]

CLIMBS = 0.05  # cosine of gradient and step: a descent, preconditioned as it may be, is negative; orthogonal is no verdict
SAME = 1e-3  # relative: the total is nothing but the losses that were intercepted


@finding("D220", severity="error", phases=("before", "during"), explains=("D217", "D218", "D219", "D402", "D405", "D501", "D505"))
def step_climbs(evidence: Evidence) -> Iterator[Hit]:
    """Training pushes the loss up.

    Cause:       The loss is returned with a minus sign (minus a loss that is meant to fall, in place of minus a reward), or the
                 optimizer has maximize=True, or subtracts where it should add. One of the two is harmless together with the
                 other.
    Rule:        The cosine of the gradient and the change by one first step (no weight decay, no momentum yet) is above 0.05
                 and no intercepted loss has a negative slope; or it is not, and the total is, to 0.1 %, made of intercepted
                 losses that all have a negative slope. Live, the second is seen, and an optimizer with maximize=True whose loss
                 is one call of a loss that is meant to fall.
    Silent when: maximize=True and the total is not made of losses that are known to fall; parts with a minus sign beside a
                 main loss (entropy, a reversed gradient); objective="adversarial".
    Fix:         loss = F.cross_entropy(output, target), without the minus; maximize=False.
    Confirm:     with one step of plain SGD the loss of the same batch falls: (g * (after - before)).sum() < 0.
    Reference:   torch.optim.SGD, "maximize".
    Example:
        loss = -F.cross_entropy(model(x), y)   # sick
        loss = F.cross_entropy(model(x), y)    # healthy
    """
    if evidence.settings.objective == "adversarial":
        return
    calls = [c for c in evidence.calls if c.value is not None and c.slope and c.home != "written"]
    turned = bool(calls) and all((c.slope or 0.0) < 0 for c in calls) and _whole(calls, evidence.total)
    slope = evidence.wiring.slope_of_step if evidence.wiring is not None else None
    climbs = slope is not None and slope > CLIMBS
    maximize = evidence.wiring is not None and evidence.wiring.maximize
    if climbs and slope is not None:
        falling_known = bool(calls) and all((c.slope or 0.0) > 0 for c in calls)
        if any((c.slope or 0.0) < 0 for c in calls) or (maximize and not falling_known):
            return
        why = "maximize=True" if maximize else (evidence.wiring.optimizer if evidence.wiring else "the optimizer")
        said = f"one step goes up the gradient: the cosine between them is +{slope:.3f} ({why})"
        yield Hit(said, {"cosine": slope}, fix="set maximize=False in the optimizer" if maximize else "")
    elif turned and not maximize:
        first = calls[0]
        known = 0.0 if evidence.total is None else evidence.total
        said = f"the loss is minus {first.name}: {known:.4g} falls when {first.name} grows (slope {first.slope:+.3g})"
        yield Hit(said, {"slope": first.slope or 0.0, "loss": known}, where=first.where)
    elif evidence.run is not None and evidence.run.facts.get("maximize") is True and not turned:
        yield from _maximized(evidence)


def _maximized(evidence: Evidence) -> Iterator[Hit]:
    """A live run whose optimizer climbs, while its loss is one call of a loss that is meant to fall."""
    known, calls = evidence.total, [c for c in evidence.calls if c.value is not None and c.value.numel() == 1]
    value = calls[0].value if len(calls) == 1 and calls[0].home != "written" else None
    if value is not None and known is not None and known > 0 and abs(float(value) - known) <= SAME * known:
        said = f"the optimizer has maximize=True, and the loss is {calls[0].name} itself: {known:.4g} is pushed up"
        yield Hit(said, {"loss": known}, where=calls[0].where, fix="set maximize=False in the optimizer")


def _whole(calls: list[LossCall], total: float | None) -> bool:
    """Whether the intercepted losses are all of the total."""
    made = sum(float(c.value.double().mean()) * (c.slope or 0.0) for c in calls if c.value is not None)
    return total is not None and total < 0 and abs(made - total) <= SAME * abs(total)
