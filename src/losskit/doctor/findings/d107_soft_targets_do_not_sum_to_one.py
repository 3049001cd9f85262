"""D107: class probabilities that are none: rows that do not sum to 1, several ones in a row, one-hot rows of integers."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..before.labels import class_dim, takes_class_scores
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["soft_targets_do_not_sum_to_one"]

LARGEST_GAP = 1e-2  # float16 and bfloat16 rows of many classes sum to 1 within this


@finding("D107", severity="warning", phases=("before", "during"), explains=("D401", "D402", "D403", "D505", "D217", "D218"))
def soft_targets_do_not_sum_to_one(evidence: Evidence) -> Iterator[Hit]:
    """The target of a cross-entropy is one number for each class, and a row of them does not sum to 1.

    Cause:       A target of the input's shape is read as probabilities. Rows with several ones (a multi-hot target) pull the
                 softmax to several classes at once and cannot be fitted: k ones cost at least k ln k. Integers of that shape
                 are no probabilities and raise.
    Rule:        A target of floating numbers with the input's shape has a row that counts whose sum is not 1 within 0.01. An
                 error if all values are 0 or 1 and a row has two ones; a warning otherwise. An error, too, if an integer target
                 of the input's shape made the loss raise.
    Silent when: a row is all zero (it counts for nothing: a way to mask it), or the sums are 1.
    Fix:         Multi-hot: binary_cross_entropy_with_logits. One-hot integers: target.argmax(dim) or target.float(). Otherwise
                 divide each row by its sum.
    Confirm:     target.sum(dim) is 1 for each row.
    Reference:   torch.nn.CrossEntropyLoss, "class probabilities".
    Example:
        F.cross_entropy(model(x), torch.tensor([[1.0, 1.0, 0.0]]))   # sick
        F.cross_entropy(model(x), torch.tensor([[0.5, 0.5, 0.0]]))   # healthy
    """
    for call in evidence.calls:
        input, target = call.tensors.get("input"), call.tensors.get("target")
        if not takes_class_scores(call) or call.name not in ("cross_entropy",) or input is None or target is None:
            continue
        if input.dim() == 0 or input.shape != target.shape or input.numel() == 0:
            continue
        dim = class_dim(call)
        hit = _sums(call, target.movedim(dim, -1).double()) if target.is_floating_point() else _integers(call, target)
        if hit is not None:
            yield hit


def _integers(call: LossCall, target: Tensor) -> Hit | None:
    if not call.error:
        return None
    said = (
        f'"target" of {call.name} has the input\'s shape {tuple(target.shape)} and integers ({target.dtype}): neither '
        "indices nor probabilities"
    )
    numbers = {"values": target.numel(), "largest": int(target.max())}
    return Hit(
        said,
        numbers,
        where=call.where,
        severity="error",
        fix="target.argmax(class_dim) for one-hot rows, target.float() for probabilities.",
    )


def _sums(call: LossCall, target: Tensor) -> Hit | None:
    sums = target.sum(-1)
    bad = ((sums - 1).abs() > LARGEST_GAP) & (target != 0).any(-1)
    if not bool(bad.any()):
        return None
    count, rows = int(bad.sum()), sums.numel()
    several = bool(((target == 0) | (target == 1)).all())
    low, high = float(sums[bad].min()), float(sums[bad].max())
    kind = "have several ones" if several else "do not sum to 1"
    said = f"{count} of {rows} rows of the target of {call.name} {kind}: their sums go from {low:.4g} to {high:.4g}"
    numbers = {"rows": rows, "not 1": count, "lowest sum": low, "highest sum": high}
    fix = (
        "binary_cross_entropy_with_logits: several classes may be right at once."
        if several
        else "target / target.sum(dim, keepdim=True)"
    )
    return Hit(said, numbers, where=call.where, severity="error" if several else "warning", fix=fix)
