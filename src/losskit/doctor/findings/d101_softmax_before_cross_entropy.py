"""D101: a softmax stands in front of a loss that takes its own."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import SAME_PROBABILITIES, comes_from, scores_of, takes_class_scores
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import RULES, Hit, finding, reflowed
from ..levels_plateaus import softmax_twice

__all__ = ["softmax_before_cross_entropy"]

LARGEST_GAP = 1e-3  # float16 probabilities of a row sum to 1 within this; bfloat16 ones within ten times as much
ENOUGH_ROWS = 8  # so many rows of scores do not sum to 1 by chance


@finding("D101", severity="error", phases=("before", "during"), explains=("D401", "D403", "D504", "D505", "D217", "D218", "D310"))
def softmax_before_cross_entropy(evidence: Evidence) -> Iterator[Hit]:
    """The model ends in a softmax, and the loss takes another one of it.

    Cause:       cross_entropy takes scores and makes probabilities itself. Scores that are probabilities lie within 1 of each
                 other, so that even a perfect model is told that it is wrong: the loss cannot fall below ln(e + C - 1) - 1
                 (1.4612 for 10 classes), and gradients shrink with the softmax in front.
    Rule:        "input" of a loss that takes class scores is 0 or more and its rows sum to 1 within 1e-3 (1e-2 in bfloat16),
                 and a softmax stands above it in the graph with nothing but views, casts, dropout, clamps and sums in between;
                 or no softmax is seen but at least 8 rows, not all the same, sum to 1.
    Silent when: the layer above is a log-softmax (a second one changes nothing), or a softmax whose output is used for
                 something else (attention, gates, a logarithm), so that rows do not sum to 1.
    Fix:         Remove the softmax from the model and give the loss its input: the model ends in nn.Linear(hidden, num_classes)
                 in place of nn.Linear(hidden, num_classes), nn.Softmax(dim=1). Apply softmax where probabilities are read,
                 after training.
    Confirm:     Without the softmax the rows of the loss's input no longer sum to 1, and the loss of one overfitted batch falls
                 below the floor that was named.
    Reference:   torch.nn.CrossEntropyLoss: "the input is expected to contain the unnormalized logits for each class".
    Example:
        nn.Sequential(nn.Linear(20, 10), nn.Softmax(dim=1))   # sick
        nn.Sequential(nn.Linear(20, 10))                      # healthy
    """
    for call in evidence.calls:
        rows = scores_of(call) if takes_class_scores(call) else None
        if rows is None or rows.shape[1] < 2:
            continue
        node = comes_from(call, "input", ("Softmax",), SAME_PROBABILITIES)
        if not node and (len(rows) < ENOUGH_ROWS or bool((rows == rows[:1]).all()) or comes_from(call, "input", ("LogSoftmax",))):
            continue
        gap = float((rows.sum(1) - 1).abs().amax())
        wide = LARGEST_GAP * (10 if call.tensors["input"].element_size() == 2 else 1)
        if not bool((rows >= 0).all()) or not gap <= wide:
            continue
        source = "comes out of a softmax" if node else "holds probabilities"
        said = f'"input" of {call.name} {source}: each of {len(rows)} rows sums to {float(rows.sum(1).mean()):.4f}'
        numbers = {"rows": len(rows), "largest gap to 1": gap, "classes": rows.shape[1]}
        if (floor := _floor(call, rows.shape[1])) is not None:
            numbers["floor"] = floor
            said += f", and the loss of {rows.shape[1]} classes cannot fall below {floor:.4f}"
        fix = _fix(evidence, rows.shape[1])
        yield Hit(said, numbers, where=call.where, fix=fix, confidence=1.0 if node else 0.95)


def _fix(evidence: Evidence, classes: int) -> str:
    """The rule's own, with the sizes of this model where they are known."""
    looks = evidence.probes.looks[-1:] if evidence.probes is not None else ()
    parameters = evidence.wiring.parameters if evidence.wiring is not None else [p for one in looks for p in one.parameters]
    widths = [p.fan_in for p in parameters if p.fan_in > 1 and p.numel == p.fan_in * classes]
    fix = reflowed(RULES["D101"].sections["Fix"]).replace("num_classes", str(classes))
    return fix.replace("hidden", str(widths[-1])) if widths else fix


def _floor(call: LossCall, classes: int) -> float | None:
    """The loss of a one-hot row, the nearest that probabilities come to their target."""
    target = call.tensors.get("target")
    plain = call.name == "cross_entropy" and call.tensors.get("weight") is None and not call.options.get("z_loss")
    if not plain or target is None or target.is_floating_point():
        return None
    return softmax_twice(classes, float(call.options.get("label_smoothing", 0.0)))
