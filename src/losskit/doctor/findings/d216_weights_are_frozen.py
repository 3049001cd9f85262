"""D216: a share of the weights is frozen."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["weights_are_frozen"]


@finding("D216", severity="info", phases=("before",))
def weights_are_frozen(evidence: Evidence) -> Iterator[Hit]:
    """How much of the model does not learn because it is told not to.

    Cause:       requires_grad is False: set by hand, by a library for adapters, or left over from a run before. Adapters that
                 were loaded for inference are frozen too.
    Rule:        Weights with requires_grad False are more than 0 % and less than 100 % of the model.
    Silent when: nothing is frozen, or everything is (the loss then needs no gradient, which is an error).
    Fix:         nothing if it is meant; else model.requires_grad_(True) before the optimizer is made.
    Confirm:     sum(p.numel() for p in model.parameters() if p.requires_grad) is what you expect.
    Reference:   huggingface/transformers issue 26221 (adapters that are silently not trained).
    Example:
        model.requires_grad_(False); model.head.requires_grad_(True)   # noted
        model.requires_grad_(True)                                     # nothing to say
    """
    own = [p for p in evidence.wiring.parameters if p.home == "model"] if evidence.wiring is not None else []
    weights, frozen = sum(p.numel for p in own), sum(p.numel for p in own if not p.requires_grad)
    if 0 < frozen < weights:
        first = next(p.name for p in own if not p.requires_grad)
        said = f"{frozen:,} of {weights:,} weights ({frozen / weights:.1%}) are frozen, {weights - frozen:,} learn"
        yield Hit(said, {"frozen": frozen, "weights": weights, "share": frozen / weights}, where=first)
