"""D109: a softmax over the samples in place of the classes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..before.labels import comes_from, scores_of, takes_class_scores
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["softmax_over_the_batch"]

WHOLE = 1 << 26  # numbers: columns need every row
LARGEST_GAP = 1e-2  # of a sum of probabilities in half precision


@finding(
    "D109",
    severity="error",
    phases=("before", "during"),
    explains=("D101", "D102", "D210", "D401", "D403", "D505", "D217", "D218"),
)
def softmax_over_the_batch(evidence: Evidence) -> Iterator[Hit]:
    """Probabilities sum to 1 over the batch, not over the classes.

    Cause:       softmax(dim=0) of (N, C) makes the samples compete with each other: what is predicted for one depends on the
                 others. Under nll_loss the loss at the start is ln N in place of ln C.
    Rule:        A (log-)softmax stands above the input of nll_loss or of a loss that takes class scores, each column of the rows
                 sums to 1 within 0.01, and not every row does.
    Silent when: rows sum to 1, or columns do not.
    Fix:         dim=-1 (nn.LogSoftmax(dim=-1)), or scores and cross_entropy.
    Confirm:     x.exp().sum(-1) is 1 in each row, and the loss at the start is ln C.
    Reference:   torch.nn.Softmax: "dim: A dimension along which Softmax will be computed".
    Example:
        F.nll_loss(F.log_softmax(model(x), dim=0), y)    # sick
        F.nll_loss(F.log_softmax(model(x), dim=-1), y)   # healthy
    """
    for call in evidence.calls:
        rows = scores_of(call, WHOLE) if takes_class_scores(call) or call.name == "nll_loss" else None
        node = comes_from(call, "input", ("Softmax", "LogSoftmax"), ("Log", "Add", "Clamp", "ClampMin"))
        if rows is None or not node or len(rows) < 2 or rows.shape[1] < 2:
            continue
        logs = bool((rows <= 0).all())
        chances = rows.exp() if logs else rows
        columns = float((chances.sum(0) - 1).abs().amax())
        across = float((chances.sum(1) - 1).abs().amax())
        if not columns <= LARGEST_GAP or not across > LARGEST_GAP or not bool((chances >= 0).all()):
            continue
        count, classes = rows.shape
        said = (
            f"the softmax above {call.name} runs over the {count} samples: each of {classes} columns sums to 1, "
            f"rows miss it by up to {across:.3g}"
        )
        if call.value is not None and call.value.numel() == 1:
            said += f"; the loss is {float(call.value):.4f}"
        if call.name == "nll_loss":  # others make rows sum to 1 again
            said += f", at the start ln {count} = {math.log(count):.4f} in place of ln {classes} = {math.log(classes):.4f}"
        numbers = {"columns' gap to 1": columns, "rows' gap to 1": across, "samples": count, "classes": classes}
        yield Hit(said, numbers, where=call.where)
