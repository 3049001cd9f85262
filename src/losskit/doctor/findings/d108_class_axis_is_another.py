"""D108: the loss reads its classes along another axis than the model wrote them."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import class_dim, takes_class_scores
from ..before.provenance import layer_above
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["class_axis_is_another"]


@finding(
    "D108",
    severity="warning",
    phases=("before", "during"),
    explains=("D109", "D401", "D403", "D505", "D217", "D218", "D801", "D802"),
)
def class_axis_is_another(evidence: Evidence) -> Iterator[Hit]:
    """Scores of shape (N, T, C) are read with T as the classes, or (N, C, T) with T.

    Cause:       torch's cross_entropy takes classes at axis 1, losskit's at the last axis. Where T = C both fit, nothing
                 raises, and the softmax runs over positions in place of classes.
    Rule:        Two axes of "input" have the same length, and the layer above writes classes along the one that the loss does
                 not read: a linear layer writes the last axis, a convolution axis 1; nothing turned the axes in between. An
                 error if the loss raised because the target has the shape that the other axis would need.
    Silent when: axes were turned (transpose, permute), the layer above is neither, or the lengths differ and nothing raised.
    Fix:         torch: F.cross_entropy(scores.transpose(1, 2), target). losskit: class_dim=1 for (N, C, T).
    Confirm:     scores.softmax(axis).sum(axis) is 1 along the axis of the classes; one batch that is overfitted
                 reaches a loss of 0.
    Reference:   torch.nn.CrossEntropyLoss, "Shape: input (N, C, d1, ...)".
    Example:
        F.cross_entropy(linear(x), y)                   # sick where x is (8, 10, D) and there are 10 classes
        F.cross_entropy(linear(x).transpose(1, 2), y)   # healthy
    """
    for call in evidence.calls:
        input, target = call.tensors.get("input"), call.tensors.get("target")
        if not takes_class_scores(call) or input is None or target is None or input.dim() < 3 or target.is_floating_point():
            continue
        read = class_dim(call)
        other = input.dim() - 1 if read == 1 else 1
        if other == read:
            continue
        hit = _raised(call, read, other) if call.error else _same_length(call, read, other)
        if hit is not None:
            yield hit


def _raised(call: LossCall, read: int, other: int) -> Hit | None:
    input, target = call.tensors["input"], call.tensors["target"]
    fits = [tuple(target.shape) == tuple(n for i, n in enumerate(input.shape) if i != axis) for axis in (read, other)]
    if fits != [False, True]:
        return None
    said = (
        f"{call.name} reads {input.shape[read]} classes along axis {read} of {tuple(input.shape)} and raised; the "
        f"target {tuple(target.shape)} fits "
        f"{input.shape[other]} classes along axis {other}"
    )
    numbers = {"axis": read, "classes": input.shape[read], "other axis": other, "other classes": input.shape[other]}
    return Hit(said, numbers, where=call.where, severity="error")


def _same_length(call: LossCall, read: int, other: int) -> Hit | None:
    input = call.tensors["input"]
    writes = {"linear": input.dim() - 1, "convolution": 1}.get(layer_above(tuple(call.upstream.get("input", ()))))
    if writes != other or input.shape[read] != input.shape[other] or call.dims.get("input", {}).get("turned"):
        return None
    said = (
        f"{call.name} reads classes along axis {read} of {tuple(input.shape)}, the layer above writes them along "
        f"axis {other}: both have "
        f"{input.shape[read]} entries, so that nothing raises"
    )
    return Hit(said, {"axis": read, "other axis": other, "entries": input.shape[read]}, where=call.where)
