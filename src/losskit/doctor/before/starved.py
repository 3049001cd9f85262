"""Weight matrices that a backward pass leaves without a gradient to speak of."""

from __future__ import annotations

from collections.abc import Sequence

from ..evidence.wiring import Parameter

__all__ = ["starved"]

SHARE = 0.5  # of the trainable numbers: experts, heads and tokens that a batch does not use are less
RATIO = 1e-6  # gradient to that of the strongest layer, each relative to its weights
MOVED = 1e-6  # of the weights a step: Adam makes up for small gradients, plain SGD does not


def starved(parameters: Sequence[Parameter]) -> tuple[list[str], float, str] | None:
    """The matrices without a gradient to speak of, their share of all trainable numbers, and what they get."""
    trained = [p for p in parameters if p.requires_grad and p.optimized is not False]
    matrices = [p for p in trained if p.fan_in > 1 and p.grad in ("zero", "finite")]
    whole = sum(p.numel for p in trained)
    if not matrices or not whole:
        return None
    zero = [p for p in matrices if p.grad == "zero"]
    share = sum(p.numel for p in zero) / whole
    opening = any(p.weight_norm == 0 and p.grad == "finite" for p in matrices)
    if share > SHARE and not opening:
        return [p.name for p in zero], share, "a gradient of exactly 0"
    alive = [p for p in matrices if p.grad == "finite" and p.weight_norm > 0]
    strongest = max((p.grad_norm / p.weight_norm for p in alive), default=0.0)
    weak = [p for p in alive if p.grad_norm / p.weight_norm < RATIO * strongest and _stands(p)]
    share = sum(p.numel for p in weak) / whole
    return ([p.name for p in weak], share, f"less than {RATIO:g} of the strongest gradient") if share > SHARE else None


def _stands(p: Parameter) -> bool:
    return p.moved is not None and p.moved < MOVED * p.weight_norm
