"""D104: a label that is no class."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..before.labels import Classes, classes_of, takes_binary_scores
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["label_out_of_range"]

SHOWN = 5  # values named in the sentence
SIGNS = ("soft_margin_loss", "hinge_embedding_loss", "margin_ranking_loss", "cosine_embedding_loss")


@finding(
    "D104",
    severity="error",
    phases=("before", "during"),
    explains=("D105", "D301", "D401", "D403", "D405", "D505", "D217", "D218", "D303", "D304"),
)
def label_out_of_range(evidence: Evidence) -> Iterator[Hit]:
    """A label is none of the classes that the loss knows.

    Cause:       A class index picks one of C scores: C itself and -1 pick nothing. On CPU the loss raises, on CUDA a kernel
                 asserts and the process is lost. Binary labels outside [0, 1], and 0 where a loss takes -1 and 1, raise
                 nothing: the first makes a loss without a floor, the second a part that is constant.
    Rule:        Class indices: any that is below 0 or C and above and not ignore_index. Binary losses of scores: any target
                 outside [0, 1]. Losses of signs (soft margin, hinge embedding, margin ranking, cosine embedding): targets are 0
                 and 1, some of them 0.
    Silent when: the label equals ignore_index (-100 unless it is given), or a target of signs holds -1 as well (0 is a tie
                 then).
    Fix:         Labels from 1 to C: subtract 1, or predict C + 1 classes. 255 or -1 for "unknown": pass it as ignore_index.
                 Signs: 2 * target - 1.
    Confirm:     target.unique() lies in [0, C) and the ignore_index.
    Reference:   torch.nn.CrossEntropyLoss, "Target: class indices in the range [0, C)".
    Example:
        F.cross_entropy(torch.randn(4, 10), torch.tensor([1, 2, 9, 10]))       # sick: labels start at 1
        F.cross_entropy(torch.randn(4, 10), torch.tensor([1, 2, 9, 10]) - 1)   # healthy
    """
    for call in evidence.calls:
        hit = _classes(call) or _binary(call) or _signs(call)
        if hit is not None:
            yield hit


def _classes(call: LossCall) -> Hit | None:
    found = classes_of(call)
    if found is None or not bool(found.wrong.any()):
        return None
    bad = found.labels[found.wrong]
    count = len(bad)
    said = (
        f'"target" of {call.name} has {count} of {len(found.labels)} labels that are none of the {found.classes} classes: '
        f"{_values(bad)}, expected 0 to {found.classes - 1} or ignore_index {found.ignore_index}"
    )
    numbers = {
        "wrong": count,
        "labels": len(found.labels),
        "classes": found.classes,
        "lowest": int(bad.min()),
        "highest": int(bad.max()),
    }
    return Hit(said, numbers, where=call.where, fix=_remedy(found, bad))


def _remedy(found: Classes, bad: Tensor) -> str:
    values = bad.unique()
    counted = found.labels[found.counted]
    if len(values) == 1 and int(values[0]) in (-1, 255):
        return f"If {int(values[0])} says that there is no label: ignore_index={int(values[0])}."
    if len(values) == 1 and int(values[0]) == found.classes and int(counted.min()) >= 1:
        return f"Labels go from {int(counted.min())} to {found.classes}: use target - 1."
    need = int(counted.max()) + 1
    return f"Predict {need} classes (the largest label is {need - 1}), or map the labels to 0 ... {found.classes - 1}."


def _binary(call: LossCall) -> Hit | None:
    target = call.tensors.get("target")
    binary = takes_binary_scores(call) or (call.home == "torch" and call.name == "binary_cross_entropy")
    if not binary or target is None or target.numel() == 0 or target.dtype == torch.bool:
        return None
    bad = (target < 0) | (target > 1)
    if not bool(bad.any()):
        return None
    count = int(bad.sum())
    low, high = float(target.min()), float(target.max())
    said = (
        f'"target" of {call.name} has {count} of {target.numel()} values outside [0, 1] (from {low:g} to '
        f"{high:g}): a score that grows without end "
        "makes the loss fall without end"
    )
    fix = "Signs: (target + 1) / 2." if low == -1 and high <= 1 else "Labels 0 and 1, or several classes: cross_entropy."
    return Hit(said, {"outside": count, "values": target.numel(), "lowest": low, "highest": high}, where=call.where, fix=fix)


def _signs(call: LossCall) -> Hit | None:
    target = call.tensors.get("target")
    if call.name not in SIGNS or call.home != "torch" or target is None or target.numel() == 0:
        return None
    zero = int((target == 0).sum())
    if zero == 0 or not bool(((target == 0) | (target == 1)).all()):
        return None
    said = (
        f'"target" of {call.name} holds {zero} zeros among {target.numel()} values and no -1: expected -1 and 1, and 0 '
        "trains nothing"
    )
    return Hit(said, {"zeros": zero, "values": target.numel()}, where=call.where, fix="2 * target - 1")


def _values(bad: Tensor) -> str:
    values = bad.unique().tolist()
    return ", ".join(str(v) for v in values[:SHOWN]) + (f" and {len(values) - SHOWN} more" if len(values) > SHOWN else "")
