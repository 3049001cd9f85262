"""D117: the labels of a batch are all the same, or nearly."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..before.labels import classes_of, entry_of
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["one_class_in_the_batch"]

# a class of 80 % fills 16 samples in 3 batches of 100; one of 50 % fills 32 in none
SAMPLES, SAMPLES_OF_TWO = 16, 32
EXTREME = 0.99  # share of one class from which the others hardly move the loss
ENOUGH = 200  # labels before 1 % of them is a number at all
BINARY = ("binary_cross_entropy_with_logits", "binary_cross_entropy")  # losses made for imbalance know of it


@finding("D117", severity="warning", phases=("before", "during"), explains=("D402", "D606"))
def one_class_in_the_batch(evidence: Evidence) -> Iterator[Hit]:
    """All labels of the batch are one class: the data are sorted, or one class drowns the others.

    Cause:       A loader that does not shuffle sorted data shows one class for many steps: the model learns to say that class,
                 then unlearns it for the next. Where a class has 99 % of the data the loss is small from the start and says
                 nothing of the rest.
    Rule:        All labels that count are one class: of 3 classes or more in at least 16 samples, of 2 in at least 32. Info
                 where it is class 0 of two (of positives that are one in a hundred, 256 rows have none once in 13 times), or
                 where one class has 99 % or more of at least 200 labels and others are there.
    Silent when: the labels are no entry of the batch or the same binary loss is called twice (real and fake in a GAN), the
                 objective is adversarial, the loss has class weights or is made for imbalance, or labels are tokens ahead.
    Fix:         DataLoader(..., shuffle=True). If the data are like that: a weight for each class, pos_weight, focal_loss, or a
                 sampler.
    Confirm:     target.unique(return_counts=True) of five batches.
    Reference:   torch.utils.data.DataLoader, shuffle; He and Garcia 2009, Learning from Imbalanced Data.
    Example:
        DataLoader(sorted_data, batch_size=64)                 # sick
        DataLoader(sorted_data, batch_size=64, shuffle=True)   # healthy
    """
    if evidence.settings.objective == "adversarial":
        return
    for call in evidence.calls:
        counts, samples = _counts(call)
        if counts is None or call.tensors.get("weight") is not None or call.tensors.get("pos_weight") is not None:
            continue
        total, most = int(counts.sum()), int(counts.max())
        if len(counts) == 2 and sum(other.name == call.name for other in evidence.calls) > 1:
            continue  # real and fake
        if total == 0 or not entry_of(evidence.batch, call.tensors["target"]):
            continue
        numbers = {"labels": total, "of one class": most, "class": int(counts.argmax()), "classes": len(counts)}
        if most == total and samples >= (SAMPLES if len(counts) > 2 else SAMPLES_OF_TWO):
            said = f"all {total} labels of {call.name} are class {numbers['class']} of {len(counts)}"
            rare = len(counts) == 2 and numbers["class"] == 0
            confidence = 0.9 if len(counts) > 2 else 0.7
            yield Hit(said, numbers, where=call.where, confidence=confidence, severity="info" if rare else None)
        elif EXTREME * total <= most < total and total >= ENOUGH:
            said = f"class {numbers['class']} has {most} of {total} labels of {call.name} ({100 * most / total:.2f} %)"
            yield Hit(said, numbers, where=call.where, severity="info")


def _counts(call: LossCall) -> tuple[Tensor | None, int]:
    """How often each class is there, and in how many samples."""
    found = classes_of(call)
    if found is not None:
        plain = found.classes > 1 and call.name in ("cross_entropy", "nll_loss") and not bool(found.wrong.any())
        return (found.counts, found.shape[0] if found.shape else 1) if plain else (None, 0)
    target = call.tensors.get("target")
    if call.name not in BINARY or target is None or target.numel() == 0 or target.shape != call.tensors["input"].shape:
        return None, 0
    one = target.dim() == 1 or (target.dim() == 2 and target.shape[1] == 1)  # several labels a sample are mostly 0
    if not one or not bool(((target == 0) | (target == 1)).all()):
        return None, 0
    return torch.bincount(target.reshape(-1).long(), minlength=2), target.shape[0]
