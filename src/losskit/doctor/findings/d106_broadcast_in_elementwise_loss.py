"""D106: prediction and target have different shapes and are compared all with all."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..before.labels import entry_of
from ..before.regression import compares_elements, predicted
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["broadcast_in_elementwise_loss"]


@finding(
    "D106",
    severity="error",
    phases=("before", "during"),
    explains=("D116", "D119", "D401", "D403", "D505", "D217", "D218", "D209"),
)
def broadcast_in_elementwise_loss(evidence: Evidence) -> Iterator[Hit]:
    """Prediction (N, 1) against target (N,) makes an N by N table: each prediction is compared with every target.

    Cause:       Broadcasting turns a column and a row into a table. The loss of the table is smallest where every prediction is
                 the mean of the targets, so that the model learns the mean and nothing else; its value is about Var y + Var
                 prediction.
    Rule:        An element-wise loss whose input and target have different shapes that broadcast to more elements than either
                 has, or which raised because the one is (N, 1) and the other (N,). In a loss written by hand: a difference or
                 product of (N, 1) and (N,), one of them with a gradient, the other an entry of the batch.
    Silent when: the loss does not depend on the table, the smaller one is stretched to the shape of the larger one (a constant
                 target), or all pairs are meant: the column was made with x[:, None] or unsqueeze, or neither is an entry of
                 the batch.
    Fix:         target.view_as(input), or input.squeeze(-1).
    Confirm:     F.mse_loss(input, target.view_as(input)) is the number that was meant; torch's warning about the target's size
                 is gone.
    Reference:   pytorch/pytorch #16045, #18349.
    Example:
        F.mse_loss(model(x), y)                     # sick: (32, 1) and (32,)
        F.mse_loss(model(x), y.view_as(model(x)))   # healthy
    """
    for call in evidence.calls:
        hit = _written(call, evidence) if call.home == "written" else _called(call)
        if hit is not None:
            yield hit


def _called(call: LossCall) -> Hit | None:
    input, target = predicted(call), call.tensors.get("target")
    if call.slope == 0 or not compares_elements(call) or input is None or target is None or input.shape == target.shape:
        return None  # computed for a log alone, it misleads no training
    shapes = f"{tuple(input.shape)} and {tuple(target.shape)}"
    numbers = {"input": input.numel(), "target": target.numel()}
    if call.error:
        if input.numel() != target.numel() or input.squeeze().shape != target.squeeze().shape:
            return None
        return Hit(
            f"{call.name} got {shapes} and raised: the same {input.numel()} numbers in another shape", numbers, where=call.where
        )
    try:
        made = torch.broadcast_shapes(input.shape, target.shape)
    except RuntimeError:
        return None
    if made.numel() <= max(input.numel(), target.numel()):
        return None
    said = (
        f"{call.name} compares {shapes}: {made.numel()} differences {tuple(made)} in place of "
        f"{max(input.numel(), target.numel())}"
        f"{_meant(call, input, target)}"
    )
    return Hit(said, {**numbers, "compared": made.numel()}, where=call.where)


def _meant(call: LossCall, input: Tensor, target: Tensor) -> str:
    """The value with equal shapes beside the one that came out."""
    function = getattr(F, call.name, None)
    plain = call.name in ("mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss") and call.home == "torch"
    if function is None or not plain or input.numel() != target.numel() or call.value is None or call.value.numel() != 1:
        return ""
    meant = float(function(input, target.reshape(input.shape), reduction=call.options.get("reduction", "mean")))
    return f"; the loss is {float(call.value):.4g}, with equal shapes it would be {meant:.4g}"


def _written(call: LossCall, evidence: Evidence) -> Hit | None:
    one, other = call.tensors["input"], call.tensors["target"]
    predicted = "input" if call.needs_grad.get("input") else "target"
    known = other if predicted == "input" else one
    if call.slope == 0 or call.dims.get(predicted, {}).get("lifted"):
        return None  # the loss does not hang on it; or who writes x[:, None] - y wants all pairs
    path = entry_of(evidence.batch, known)
    if not path or (known.dim() == 2 and evidence.batch is not None and evidence.batch.tensors[path].dim() == 1):
        return None  # the target was made a column on purpose
    word = {"sub": "a difference", "mul": "a product"}[call.name]
    compared = len(one) ** 2
    said = (
        f"{word} of {tuple(one.shape)} and {tuple(other.shape)} makes a table of {compared} numbers in place of {len(one)}: each "
        f'prediction meets every value of "{path}"'
    )
    return Hit(said, {"rows": len(one), "compared": compared}, where=call.where, confidence=0.95)
