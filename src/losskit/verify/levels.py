"""The reference numbers that the documents quote."""

from __future__ import annotations

import math

import losskit

from .claim import Claim

__all__ = ["claims"]


def claims() -> list[Claim]:
    """Chance and floor of cross-entropy, beside their formulas."""

    def level(name: str, **facts: object) -> float:
        value = getattr(losskit.reference("cross_entropy", **facts), name)
        return math.nan if value is None else float(value)

    smooth = -(0.91 * math.log(0.91) + 9 * 0.01 * math.log(0.01))
    return [
        Claim(
            "reference numbers",
            "cross-entropy of a model that knows nothing, 10 classes: ln 10",
            math.log(10),
            lambda: level("chance", num_classes=10),
        ),
        Claim("reference numbers", "the same, 1,000 classes: ln 1000", math.log(1000), lambda: level("chance", num_classes=1000)),
        Claim(
            "reference numbers",
            "the lowest it can go, 10 classes, label smoothing 0.1",
            smooth,
            lambda: level("floor", num_classes=10, label_smoothing=0.1),
        ),
        Claim(
            "reference numbers",
            "the best constant answer, classes 9 to 1: the entropy of the prior",
            -(0.9 * math.log(0.9) + 0.1 * math.log(0.1)),
            lambda: level("constant", prior=[9, 1]),
        ),
    ]
