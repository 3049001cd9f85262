"""Weights that are the same to the last bit from one look at a live run to the next."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence import Evidence
from ..evidence.probes import Look
from ..evidence.wiring import Parameter

__all__ = ["still"]

LOOKS = 2  # steps lie in between, so that weights that stand are of more than one step that was skipped


def still(evidence: Evidence) -> tuple[list[Parameter], list[Parameter], int] | None:
    """The trainable parameters at the last look, those of them that stood since the first, and the step of the last.

    None with fewer than two looks, or where the optimizer has changed what it holds.
    """
    looks: list[Look] = [look for look in evidence.probes.looks if look.parameters] if evidence.probes else []
    if len(looks) < LOOKS or evidence.settings.objective == "adversarial":
        return None
    trained = [p for p in looks[-1].parameters if p.requires_grad and p.numel > 1]
    return trained, [p for p in trained if _stood(p, looks)], looks[-1].step


def _stood(p: Parameter, looks: Sequence[Look]) -> bool:
    same = [q for look in looks for q in look.parameters if q.name == p.name]
    alike = {(q.weight_norm, q.optimized, q.requires_grad, q.grad == "none") for q in same}
    return len(same) == len(looks) and len(alike) == 1 and all(not q.moved for q in same) and p.weight_norm > 0
