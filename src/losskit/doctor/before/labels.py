"""What the rules about labels ask of a call: class scores and labels as rows, nodes above an argument, a label's origin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ...core.card import CATALOGUE
from ...core.domain import ClassIndex, Interval, Logits, Real
from ..evidence.calls import Batch, LossCall

__all__ = [
    "SAME_PROBABILITIES",
    "Classes",
    "class_dim",
    "classes_of",
    "comes_from",
    "entry_of",
    "scores_of",
    "takes_binary_scores",
    "takes_class_scores",
]

_TORCH_CLASSES = ("cross_entropy", "nll_loss", "multi_margin_loss", "linear_cross_entropy")
_TORCH_BINARY = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss")

# clamp(softmax, 1e-7) and softmax + 1e-7 are still probabilities
SAME_PROBABILITIES = ("Clamp", "ClampMin", "ClampMax", "Add")
_MOST = 1 << 22  # numbers: the first rows of a language model's scores say what all say
_FEWEST = 8


@dataclass(frozen=True)
class Classes:
    """Rows and their class indices."""

    labels: Tensor
    """(rows,) int64, whatever they are."""
    classes: int
    ignore_index: int
    shape: tuple[int, ...]
    """Of the target itself."""

    @property
    def counted(self) -> Tensor:
        """(rows,) bool: not ignored."""
        return self.labels != self.ignore_index

    @property
    def wrong(self) -> Tensor:
        """(rows,) bool: neither a class nor ignored."""
        return self.counted & ((self.labels < 0) | (self.labels >= self.classes))

    @property
    def counts(self) -> Tensor:
        """(C,) how often each class is there."""
        good = self.labels[self.counted & ~self.wrong]
        return torch.bincount(good, minlength=self.classes)


def takes_class_scores(call: LossCall) -> bool:
    """Whether "input" is scores before a softmax."""
    if call.home == "torch":
        return call.name == "cross_entropy"
    card = CATALOGUE.get(call.name)
    given = call.options.get("activation", "softmax")
    return call.home == "losskit" and card is not None and isinstance(card.sample.get("input"), Logits) and given == "softmax"


def takes_binary_scores(call: LossCall) -> bool:
    """Whether "input" is a score before a sigmoid, and "target" lies in [0, 1]."""
    if call.home == "torch":
        return call.name in _TORCH_BINARY
    card = CATALOGUE.get(call.name)
    if call.home != "losskit" or card is None or card.task not in ("classification", "imbalance") or "whole_batch" in card.laws:
        return False  # losses of a whole batch ask for the order of scores, which a sigmoid keeps
    target = card.sample.get("target")
    return isinstance(card.sample.get("input"), Real) and isinstance(target, Interval) and (target.low, target.high) == (0, 1)


def class_dim(call: LossCall) -> int:
    """The axis of "input" that holds the classes, as the loss reads it; never negative."""
    dims = call.tensors["input"].dim()
    dim = int(call.options.get("class_dim", -1)) if call.home == "losskit" else min(1, dims - 1)
    return dim % max(dims, 1)


def scores_of(call: LossCall, most: int = _MOST) -> Tensor | None:
    """The first rows of "input" as (rows, C) in float32 at least, ``most`` numbers of them; None if there is no class axis."""
    input = call.tensors.get("input")
    if input is None or input.dim() == 0 or not input.is_floating_point() or input.numel() == 0:
        return None
    rows = input.movedim(class_dim(call), -1)
    rows = rows.reshape(-1, rows.shape[-1])[: max(most // rows.shape[-1], _FEWEST)]
    return rows if rows.dtype == torch.float64 else rows.float()


def classes_of(call: LossCall) -> Classes | None:
    """Labels of a call whose target is class indices that fit its input; None for every other."""
    target, input = call.tensors.get("target"), call.tensors.get("input")
    if target is None or input is None or target.is_floating_point() or target.is_complex() or target.dtype == torch.bool:
        return None
    if not _has_indices(call) or input.dim() == 0:
        return None
    head = call.tensors.get("linear_weight", call.tensors.get("proxies"))
    dim = input.dim() - 1 if head is not None else class_dim(call)
    lead = tuple(n for i, n in enumerate(input.shape) if i != dim)
    if tuple(target.shape) != lead:
        return None
    classes = input.shape[dim] if head is None else head.shape[0]
    ignored = call.options.get("ignore_index", -100)
    return Classes(target.reshape(-1).long(), classes, -100 if ignored is None else int(ignored), tuple(target.shape))


def _has_indices(call: LossCall) -> bool:
    if call.home == "torch":
        return call.name in _TORCH_CLASSES
    card = CATALOGUE.get(call.name)
    return call.home == "losskit" and card is not None and isinstance(card.sample.get("target"), ClassIndex)


def comes_from(call: LossCall, name: str, kinds: tuple[str, ...], through: tuple[str, ...] = ()) -> str:
    """The first node of such a kind above an argument that only nodes ``through`` stand below; "" if there is none.

    Kinds are names without their end: "Softmax" for "SoftmaxBackward0".
    """
    for node in call.upstream.get(name, ()):
        kind = node.partition("Backward")[0]
        if kind in kinds:
            return node
        if kind not in through:
            return ""
    return ""


def entry_of(batch: Batch | None, tensor: Tensor) -> str:
    """The path of the batch entry that holds these values in this order; "" if there is none."""
    tensors: Mapping[str, Tensor] = {} if batch is None else batch.tensors
    flat = tensor.reshape(-1)
    for path, entry in tensors.items():
        same = entry.numel() == flat.numel() > 0 and entry.device == flat.device
        if same and bool((entry.reshape(-1).to(torch.float64) == flat.to(torch.float64)).all()):
            return path
    return ""
