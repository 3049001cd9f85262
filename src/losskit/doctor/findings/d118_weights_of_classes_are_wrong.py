"""D118: class weights that are NaN, negative, of another length, or 0 for all that is there."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ...core.card import CATALOGUE
from ..before.labels import Classes, classes_of
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, Severity, finding

__all__ = ["weights_of_classes_are_wrong"]


@finding(
    "D118",
    severity="error",
    phases=("before", "during"),
    explains=("D111", "D301", "D304", "D310", "D401", "D402", "D405", "D505", "D217", "D218", "D302", "D303"),
)
def weights_of_classes_are_wrong(evidence: Evidence) -> Iterator[Hit]:
    """The weights that the loss is given cannot be meant.

    Cause:       1 / count of a class that never came is infinite; an infinite weight times 0 is NaN. A negative weight rewards
                 mistakes. If every label has weight 0, the mean is 0 / 0.
    Rule:        "weight" or "pos_weight" has a value that is NaN, infinite or negative; "weight" has another length than there
                 are classes, and the loss raised; or all labels that count have weight 0. Info where a part of the labels has
                 weight 0.
    Silent when: weights are positive, whatever their scale.
    Fix:         weight = total / (classes * counts.clamp(min=1)): the count of a class that never came is taken as 1.
    Confirm:     weight.isfinite().all() and (weight > 0).all(), and weight[target].sum() is above 0.
    Reference:   torch.nn.CrossEntropyLoss, weight and the formula of the mean.
    Example:
        F.cross_entropy(scores, y, weight=1 / torch.bincount(y, minlength=10))              # sick: inf for a class without labels
        F.cross_entropy(scores, y, weight=1 / torch.bincount(y, minlength=10).clamp(min=1))  # healthy
    """
    for call in evidence.calls:
        for name in ("weight", "pos_weight"):
            weight = call.tensors.get(name)
            if weight is not None and weight.numel() > 0 and call.home != "written":
                yield from _values(call, name, weight)
        weight, found = call.tensors.get("weight"), classes_of(call)
        if weight is not None and found is not None and _is_per_class(call):
            yield from _against_labels(call, weight, found)


def _is_per_class(call: LossCall) -> bool:
    """Whether "weight" is one number a class, as torch's is; some of losskit's losses take one a sample."""
    card = CATALOGUE.get(call.name) if call.home == "losskit" else None
    return card is None or card.sample["weight"].shape == "C"


def _values(call: LossCall, name: str, weight: Tensor) -> Iterator[Hit]:
    bad = ~torch.isfinite(weight) | (weight < 0)
    if not bool(bad.any()):
        return
    count = int(bad.sum())
    place = int(bad.reshape(-1).nonzero()[0])
    value = float(weight.reshape(-1)[place])
    said = (
        f'{count} of {weight.numel()} values of "{name}" of {call.name} are negative or not finite, the first is '
        f"{value:g} at place {place}"
    )
    yield Hit(said, {"bad": count, "values": weight.numel(), "first place": place, "first value": value}, where=call.where)


def _against_labels(call: LossCall, weight: Tensor, found: Classes) -> Iterator[Hit]:
    if weight.numel() != found.classes:
        if call.error and weight.dim() == 1:
            said = f'"weight" of {call.name} has {weight.numel()} values for {found.classes} classes'
            yield Hit(said, {"weights": weight.numel(), "classes": found.classes}, where=call.where)
        return
    counts = found.counts
    total = int(counts.sum())
    silent = int(counts[(weight.reshape(-1) == 0).to(counts.device)].sum())
    if total == 0 or silent == 0:
        return
    said = f"{silent} of {total} labels of {call.name} have a class of weight 0"
    severity: Severity | None = None if silent == total else "info"
    yield Hit(said, {"labels": total, "of weight 0": silent}, where=call.where, severity=severity)
