"""D120: a classifier is trained on the squared error of its probabilities."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..before.labels import comes_from, entry_of
from ..evidence import Evidence
from ..evidence.calls import Batch, LossCall
from ..finding import Hit, Severity, finding

__all__ = ["squared_error_of_probabilities"]

ENOUGH = 8  # so many targets are not all 0 or 1 by chance
LESS = 4.0  # times: 2 is the least there is, where the answer is undecided
INPUTS = ("batch", "0")  # of the model, by the batch that is all or that begins with them
BETTER = {"Softmax": "cross_entropy of the scores", "Sigmoid": "binary_cross_entropy_with_logits of the scores"}


@finding("D120", severity="warning", phases=("before", "during"))
def squared_error_of_probabilities(evidence: Evidence) -> Iterator[Hit]:
    """A classifier is trained on the squared error of its probabilities: where it is sure and wrong, nothing pulls.

    Cause:       Behind a sigmoid the gradient of squared error on the score is 2 (p - y) p (1 - p). It vanishes where p is
                 near 0 or 1, right or wrong; that of cross-entropy is p - y. At p = 0.01 of the right answer it is 50
                 times smaller, and a model that starts wrong and sure does not get away.
    Rule:        "input" of mse_loss comes straight out of a softmax or sigmoid, and the target is 0 and 1 alone, both of them,
                 at least 8 values; behind a softmax every row has one 1. A right answer has a probability below 1/2 whose
                 gradient is at least 4 times smaller. Behind a sigmoid info: the loss may be meant as it is.
    Silent when: targets lie between 0 and 1 (pixels, soft labels), the objective is adversarial, or no layer is seen; behind a
                 sigmoid where the target has several columns or is the model's own input (autoencoders of bits).
    Fix:         cross_entropy, or binary_cross_entropy_with_logits, of the scores before the softmax or sigmoid.
    Confirm:     The loss falls faster from the same weights; squared error stays useful as a report (Brier score).
    Reference:   Brier 1950 for the report; Golik et al. 2013, Cross-entropy vs. squared error training, for the comparison.
    Example:
        F.mse_loss(model(x).softmax(1), F.one_hot(y, 10).float())   # sick
        F.cross_entropy(model(x), y)                                # healthy
    """
    if evidence.settings.objective == "adversarial":
        return
    for call in evidence.calls:
        input, target = call.tensors.get("input"), call.tensors.get("target")
        if call.name != "mse_loss" or input is None or target is None or input.shape != target.shape:
            continue
        layer = comes_from(call, "input", tuple(BETTER)).partition("Backward")[0]
        rows = layer == "Softmax"
        if layer in BETTER and _labels(target, rows=rows) and (rows or _is_one_answer(target, evidence.batch)):
            yield from _hit(call, layer, input.double(), target.double())


def _labels(target: Tensor, *, rows: bool) -> bool:
    """Whether a target is classes: 0 and 1, and one 1 a row where rows are asked for."""
    ones = target == 1
    if target.numel() < ENOUGH or not bool((ones | (target == 0)).all()) or bool(ones.all()) or not bool(ones.any()):
        return False
    return not rows or bool((ones.sum(-1) == 1).all())


def _is_one_answer(target: Tensor, batch: Batch | None) -> bool:
    """Whether a target of bits is one column, and not what the model was given."""
    columns = target[0].numel() if target.dim() > 1 else 1
    return columns == 1 and entry_of(batch, target).partition(".")[0] not in INPUTS


def _hit(call: LossCall, layer: str, input: Tensor, target: Tensor) -> Iterator[Hit]:
    least = float((1 - (input - target).abs()).amin())  # the probability of the right answer, where it is lowest
    what = "classes" if layer == "Softmax" else "0 and 1"
    ratio = 1 / (2 * max(least, 1e-12) * max(1 - least, 1e-12))
    if least > 0.5 or ratio < LESS:
        return
    said = (
        f'"input" of mse_loss comes out of a {layer.lower()} and "target" is {what}: where the right answer has {least:.3g}, '
        f"its score is pulled about {ratio:.3g} times less than by cross-entropy"
    )
    severity: Severity | None = None if layer == "Softmax" else "info"
    yield Hit(said, {"least": least, "ratio": ratio}, where=call.where, fix=f"Use {BETTER[layer]}.", severity=severity)
