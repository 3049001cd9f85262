"""Where a loss stops for a known mistake: a squashing function twice."""

from __future__ import annotations

import torch
from torch import Tensor

from .before.labels import SAME_PROBABILITIES, class_dim, comes_from
from .evidence.calls import Level, LossCall
from .levels_ask import cards
from .levels_words import sentence

__all__ = ["plateaus_of_call", "sigmoid_twice", "softmax_twice", "twice_level"]

SUMS_TO_ONE = 1e-3  # the rows of a float16 softmax do, within this


def softmax_twice(classes: int, label_smoothing: float = 0.0) -> float:
    """ln(e + C - 1) - 1: cross-entropy of probabilities that are all on the right class."""
    right = torch.zeros(1, classes)
    right[0, 0] = 1.0
    return float(cards()["cross_entropy"].reference(right, torch.tensor([0]), label_smoothing=label_smoothing))


def twice_level(classes: int, label_smoothing: float = 0.0) -> Level:
    """That value as a level; what is subtracted is the smoothed share of the right class."""
    value, share = softmax_twice(classes, label_smoothing), 1 - label_smoothing + label_smoothing / classes
    name = sentence(f"ln(e + {classes - 1}) - {share:.4g}", value, "every row is right and goes through a softmax twice")
    return Level(name, value, "plateau", "D101")


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
    if call.name == "binary_cross_entropy_with_logits" and comes_from(call, "input", ("Sigmoid",), SAME_PROBABILITIES):
        target = call.tensors["target"]
        value = sigmoid_twice(float(target.double().mean()))
        name = sentence("p ln(1 + 1/e) + (1 - p) ln 2", value, "every answer is right and goes through a sigmoid twice")
        return (Level(name, value, "plateau", "D103"),)
    return ()


def _of_classes(call: LossCall) -> tuple[Level, ...]:
    input, axis = call.tensors["input"], class_dim(call)
    classes = input.shape[axis]
    if classes < 2 or not comes_from(call, "input", ("Softmax",), SAME_PROBABILITIES) or not _are_probabilities(input, axis):
        return ()
    smoothing = float(call.options.get("label_smoothing", 0.0))
    return (twice_level(classes, smoothing),)


def _are_probabilities(input: Tensor, axis: int) -> bool:
    rows, wide = input.double(), SUMS_TO_ONE * (10 if input.element_size() == 2 else 1)
    return bool((rows >= 0).all()) and bool(((rows.sum(axis) - 1).abs() <= wide).all())
