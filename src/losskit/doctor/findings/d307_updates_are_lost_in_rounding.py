"""D307: weights in half precision do not take the small updates that they get."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from ..evidence import Evidence
from ..evidence.probes import Look
from ..evidence.wiring import Parameter
from ..finding import Hit, Severity, finding

__all__ = ["updates_are_lost_in_rounding"]

MOST, ALL = 0.90, 0.99  # share of the weights that an update does not reach
LOOKS = 2  # of a live run, at the highest rate so far


@finding("D307", severity="error", phases=("before", "during"), explains=("D205", "D218", "D403", "D504", "D505"))
def updates_are_lost_in_rounding(evidence: Evidence) -> Iterator[Hit]:
    """Most updates are smaller than half of the gap to the next number of the weights' format: they round away.

    Cause:       bfloat16 keeps 8 bits: an update below 2^-9 (0.2 %) of a weight changes nothing, and a learning rate of 1e-5
                 asks for less than that. float16 keeps 11 bits. Weight decay is lost first.
    Rule:        Over all trainable weights in bfloat16 or float16, the share that should move and is the same to the last bit
                 after a step is above 90 % (warning) or 99 % (error). Before: at the schedule's first rate above 0 and with the
                 momentum of a steady run. Live: the median of the looks at no less than half of the highest rate, two or more.
    Silent when: weights are float32, under autocast too; rounding is stochastic, so that two long steps differ; the
                 optimizer remembers what was rounded away, or the weights in float32; the rate is still rising.
    Fix:         float32 weights and torch.autocast(device, torch.bfloat16); or an optimizer with stochastic rounding or
                 Kahan summation; or float32 copies of the weights in the optimizer.
    Confirm:     (p != before).float().mean() of one step is above 0.1.
    Reference:   Zamirai et al. 2020, arXiv:2010.06192 (revisiting bfloat16 training).
    Example:
        model.bfloat16(); AdamW(model.parameters(), lr=1e-6)   # sick
        model.float(); AdamW(model.parameters(), lr=1e-6)      # healthy
    """
    if evidence.wiring is not None:
        lost, step, held = _share(evidence.wiring.parameters), None, evidence.wiring.parameters
    else:
        looks = _at_full_rate(evidence.probes.looks if evidence.probes is not None else ())
        shares = [share for look in looks if (share := _share(look.parameters)) is not None]
        lost = median(shares) if len(shares) >= LOOKS else None
        step, held = (looks[0].step, looks[-1].parameters) if looks else (None, ())
    if lost is None or lost <= MOST:
        return
    half = [p for p in held if p.lost is not None]
    formats, rate = " and ".join(dict.fromkeys(p.dtype for p in half)), max((p.lr or 0.0 for p in half), default=0.0)
    severity: Severity | None = None if lost > ALL else "warning"
    said = f"{lost:.1%} of the {formats} weights are the same after a step: updates at lr {rate:g} round away"
    yield Hit(said, {"lost": lost, "lr": rate}, where=half[0].name if half else "", step=step, severity=severity)


def _share(parameters: Sequence[Parameter]) -> float | None:
    told = [(p.lost, p.numel) for p in parameters if p.lost is not None]
    return sum(lost * n for lost, n in told) / sum(n for _, n in told) if told else None


def _rate(look: Look) -> float:
    return max((p.lr or 0.0 for p in look.parameters), default=0.0)


def _at_full_rate(looks: Sequence[Look]) -> list[Look]:
    """Looks near the highest rate so far; none while it is rising."""
    rates = [_rate(look) for look in looks if look.parameters]
    if len(rates) < LOOKS or rates[-1] > rates[-2]:
        return []
    return [look for look in looks if look.parameters and _rate(look) >= 0.5 * max(rates)]
