"""Where a loss stops for a known mistake: a squashing function twice, labels that contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .evidence.calls import Level, LossCall
from .levels_ask import cards
from .levels_torch import MOST, class_axis, is_own_place
from .levels_words import sentence

__all__ = ["plateaus_of_call", "sigmoid_twice", "softmax_twice"]

SUMS_TO_ONE = 1e-3  # the rows of a float16 softmax do, within this
_FEW = 4  # rows of equal scores for each different one: more, and the model is one constant


def softmax_twice(classes: int, label_smoothing: float = 0.0) -> float:
    """ln(e + C - 1) - 1: cross-entropy of probabilities that are all on the right class."""
    right = torch.zeros(1, classes)
    right[0, 0] = 1.0
    return float(cards()["cross_entropy"].reference(right, torch.tensor([0]), label_smoothing=label_smoothing))


def sigmoid_twice(prior: float) -> float:
    """p ln(1 + 1/e) + (1 - p) ln 2: binary cross-entropy of probabilities that are all right."""
    right = torch.tensor([1.0, 0.0])
    positive, negative = cards()["binary_cross_entropy_with_logits"].reference(right, right).tolist()
    return prior * float(positive) + (1 - prior) * float(negative)


def plateaus_of_call(call: LossCall) -> tuple[Level, ...]:
    """The plateaus of mistakes that this call shows signs of."""
    if call.error or call.options.get("reduction", "mean") == "sum":
        return ()
    if call.name == "cross_entropy":
        return _of_classes(call)
    if call.name == "binary_cross_entropy_with_logits" and _above(call, "Sigmoid"):
        target = call.tensors["target"]
        value = sigmoid_twice(float(target.double().mean()))
        name = sentence("p ln(1 + 1/e) + (1 - p) ln 2", value, "every answer is right and goes through a sigmoid twice")
        return (Level(name, value, "plateau", "D103"),)
    return ()


def _of_classes(call: LossCall) -> tuple[Level, ...]:
    input, target, found = call.tensors["input"], call.tensors["target"], list[Level]()
    axis = class_axis(call)
    classes = input.shape[axis]
    if classes > 1 and _above(call, "Softmax", but="LogSoftmax") and _are_probabilities(input, axis):
        value = softmax_twice(classes, call.options.get("label_smoothing", 0.0))
        name = sentence(f"ln(e + {classes - 1}) - 1", value, "every row is right and goes through a softmax twice")
        found.append(Level(name, value, "plateau", "D101"))
    if not target.is_floating_point() and input.dim() == 2 and input.numel() <= MOST and not is_own_place(input, target):
        value, rows = contradictions(input, target, call.options)
        if rows:
            found.append(
                Level(sentence("", value, f"at best, with {rows} rows whose equals have other labels"), value, "plateau")
            )
    return tuple(found)


def contradictions(input: Tensor, target: Tensor, options: Mapping[str, Any]) -> tuple[float, int]:
    """What rows with the same scores and different labels cost at best, in the mean over rows, and how many those are."""
    valid = target != options.get("ignore_index", -100)
    scores, labels = input[valid], target[valid]
    if options.get("label_smoothing", 0.0) or len(scores) < 2:
        return 0.0, 0
    _, group = torch.unique(scores, dim=0, return_inverse=True)
    groups = int(group.max()) + 1
    if groups * _FEW < len(scores):
        return 0.0, 0
    table = torch.stack([group, labels])
    pairs, counts = torch.unique(table, dim=1, return_counts=True)
    sizes = torch.bincount(group, minlength=groups).double()
    share = counts.double() / sizes[pairs[0]]
    # a group's entropy, times its share of the rows, is the sum of -log p over the rows themselves
    lost = -(counts * share.log()).sum() / len(scores)
    return float(lost), int(counts[share < 1].sum())


def _above(call: LossCall, node: str, but: str = "") -> bool:
    """Whether an autograd node of that name stands above the input."""
    return any(one.startswith(node) and not (but and one.startswith(but)) for one in call.upstream.get("input", ()))


def _are_probabilities(input: Tensor, axis: int) -> bool:
    rows = input.double()
    return bool((rows >= 0).all()) and bool(((rows.sum(axis) - 1).abs() <= SUMS_TO_ONE).all())
