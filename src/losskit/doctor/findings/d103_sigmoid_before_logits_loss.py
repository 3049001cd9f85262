"""D103: a sigmoid stands in front of a loss that takes its own."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import SAME_PROBABILITIES, comes_from, takes_binary_scores
from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels_plateaus import sigmoid_twice

__all__ = ["sigmoid_before_logits_loss"]

PLAIN = ("binary_cross_entropy_with_logits", "multilabel_soft_margin_loss", "soft_margin_loss")  # whose floor is known


@finding("D103", severity="error", phases=("before", "during"), explains=("D401", "D403", "D504", "D505", "D217", "D218", "D310"))
def sigmoid_before_logits_loss(evidence: Evidence) -> Iterator[Hit]:
    """The model ends in a sigmoid, and the loss takes another one of it.

    Cause:       The loss takes scores and applies the sigmoid itself. Of a score between 0 and 1 it makes a probability between
                 0.5 and 0.731: no sample can be called negative, and the loss of a share p of positives cannot fall below p
                 ln(1 + 1/e) + (1 - p) ln 2.
    Rule:        A sigmoid (or softmax) stands above "input" in the graph with nothing but views, casts, dropout, clamps and
                 sums of one number in between, and every value lies in [0, 1].
    Silent when: scores happen to lie in [0, 1] (all zero at the start), or the sigmoid is a gate whose product or sum goes on.
    Fix:         Remove the last sigmoid from the model, or keep it and use binary_cross_entropy (less exact at the tails).
    Confirm:     The input of the loss takes negative values, and the loss falls below the floor that was named.
    Reference:   torch.nn.BCEWithLogitsLoss: "This loss combines a Sigmoid layer and the BCELoss in one single class".
    Example:
        F.binary_cross_entropy_with_logits(torch.sigmoid(model(x)), y)   # sick
        F.binary_cross_entropy_with_logits(model(x), y)                  # healthy
    """
    for call in evidence.calls:
        input, target = call.tensors.get("input"), call.tensors.get("target")
        if not (takes_binary_scores(call) or call.name == "soft_margin_loss") or input is None or input.numel() == 0:
            continue
        node = comes_from(call, "input", ("Sigmoid", "Softmax"), SAME_PROBABILITIES)
        if not node or not bool(((input >= 0) & (input <= 1)).all()):
            continue
        positive = 0.5 if target is None or target.numel() == 0 else float((target > 0).double().mean())
        numbers = {"smallest": float(input.amin()), "largest": float(input.amax()), "positives": positive}
        bound = ""
        if call.name in PLAIN and call.tensors.get("pos_weight") is None and call.tensors.get("weight") is None:
            floor = numbers["floor"] = sigmoid_twice(positive)
            bound = f"with {100 * positive:.0f} % positives the loss cannot fall below {floor:.4f}"
        said = (
            f'"input" of {call.name} comes out of a {node.partition("Backward")[0].lower()} and lies in '
            f"[{float(input.amin()):.3f}, {float(input.amax()):.3f}]: {bound or 'no sample can be given less than 0.5'}"
        )
        yield Hit(said, numbers, where=call.where)
