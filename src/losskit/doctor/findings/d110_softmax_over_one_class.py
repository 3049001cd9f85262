"""D110: a softmax over an axis of one."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import class_dim, comes_from, takes_class_scores
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["softmax_over_one_class"]


@finding(
    "D110",
    severity="error",
    phases=("before", "during"),
    explains=("D103", "D104", "D202", "D310", "D401", "D402", "D403", "D405", "D505", "D209", "D217", "D218", "D219"),
)
def softmax_over_one_class(evidence: Evidence) -> Iterator[Hit]:
    """There is one class: its probability is 1 whatever the model says.

    Cause:       softmax over one number is 1. Cross-entropy of it is exactly 0 with zero gradients; a binary loss of it is
                 constant.
    Rule:        A loss that takes class scores, or nll_loss, has one class, or a softmax stands above the input of another loss
                 and every value is exactly 1.
    Silent when: the axis has two entries or more.
    Fix:         One output: binary_cross_entropy_with_logits(scores.squeeze(-1), target.float()), and sigmoid where
                 probabilities are read. Or two outputs and cross_entropy.
    Confirm:     The gradient of the last layer is no longer exactly 0.
    Reference:   softmax of one score, exp(z) / exp(z) = 1.
    Example:
        F.cross_entropy(nn.Linear(20, 1)(x), torch.zeros(8, dtype=torch.long))                 # sick
        F.binary_cross_entropy_with_logits(nn.Linear(20, 1)(x).squeeze(-1), torch.zeros(8))    # healthy
    """
    for call in evidence.calls:
        input = call.tensors.get("input")
        if input is None or input.numel() == 0 or input.dim() == 0:
            continue
        value = float("nan") if call.value is None or call.value.numel() != 1 else float(call.value)
        if _one_class(call):
            said = (
                f"{call.name} has one class in {tuple(input.shape)}: its probability is 1 for each of {input.numel()} "
                "rows and no gradient flows"
            )
            yield Hit(said, {"classes": 1, "rows": input.numel(), "loss": value}, where=call.where)
        elif comes_from(call, "input", ("Softmax",)) and bool((input == 1).all()):
            said = f'"input" of {call.name} comes out of a softmax over one number: all {input.numel()} values are exactly 1'
            yield Hit(said, {"values": input.numel(), "loss": value}, where=call.where)


def _one_class(call: LossCall) -> bool:
    input = call.tensors["input"]
    return (takes_class_scores(call) or call.name == "nll_loss") and input.dim() >= 2 and input.shape[class_dim(call)] == 1
