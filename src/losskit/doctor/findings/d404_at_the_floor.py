"""D404: the loss is as low as it can be."""

from __future__ import annotations

from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_standing import hit_of, stuck

__all__ = ["at_the_floor"]


@finding("D404", severity="info", phases=("during", "after"), explains=("D504", "D505"))
def at_the_floor(evidence: Evidence) -> Iterator[Hit]:
    """The loss has come down to its floor: with these options it cannot get lower, and that is fine.

    Cause:       Label smoothing asks for less than certainty. A perfect model of 10 classes with label_smoothing=0.1 has a loss
                 of 0.5003, the entropy of the smoothed target, and not 0.
    Rule:        The median of the last max(40 points, 25 %) is within max(2 %, 3 standard errors) of a floor above 0, and the
                 window is flat.
    Silent when: the floor is 0, or the loss has been clearly below it (then it is not the floor of this loss).
    Fix:         None is needed. To see how good the model is, log the loss without label smoothing, or the accuracy, beside it.
    Confirm:     losskit.cross_entropy(input, target) without label_smoothing is near 0 on the same batch.
    Reference:   Szegedy et al. 2016, arXiv:1512.00567; losskit.reference("cross_entropy", num_classes=10, label_smoothing=0.1).
    Example:
        F.cross_entropy(input, target, label_smoothing=0.1)   # ends at 0.5003 with 10 classes
        F.cross_entropy(input, target)                        # ends at 0
    """
    found = stuck(evidence)
    if found is not None and found.owner == "D404":
        yield hit_of(found, evidence, "as low as this loss can be", severity="info")
