"""D102: a loss is given what another loss takes: scores for log-probabilities, scores for probabilities, target for input."""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor

from ..before.labels import scores_of
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["wrong_kind_of_input"]

LARGEST_SUM = 1e-2  # of log-probabilities' log-sum-exp above 0; a row made with log(p + 1e-3) for 10 classes is at this
ASYMMETRIC = (
    "cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits", "poisson_nll_loss",
    "gaussian_nll_loss", "multilabel_soft_margin_loss", "binary_focal_loss", "focal_loss",
)  # fmt: skip


@finding(
    "D102",
    severity="error",
    phases=("before", "during"),
    explains=("D401", "D402", "D403", "D405", "D505", "D217", "D218", "D301", "D304", "D104", "D303"),
)
def wrong_kind_of_input(evidence: Evidence) -> Iterator[Hit]:
    """The loss is given another kind of number than it takes.

    Cause:       nll_loss and ctc_loss take log-probabilities and only pick them: given scores or probabilities they return a
                 number without a floor, often negative. binary_cross_entropy takes probabilities and its logarithm needs [0,
                 1]. A loss whose arguments are swapped trains nothing.
    Rule:        nll_loss or ctc_loss: in more than half of the rows the log-sum-exp is above 0.01, which no log-probabilities
                 have. binary_cross_entropy: a value outside [0, 1] that is not NaN. gaussian_nll_loss: a negative variance.
                 poisson_nll_loss with log_input=False: a negative rate. A loss that is not symmetric: "target" requires a
                 gradient and "input" does not.
    Silent when: log-probabilities cover a part of the classes only (their log-sum-exp is below 0), input is NaN (another
                 finding), or both arguments require a gradient.
    Fix:         Scores: cross_entropy in place of nll_loss, binary_cross_entropy_with_logits in place of binary_cross_entropy.
                 Swapped: loss(prediction, target).
    Confirm:     logsumexp over the classes of nll_loss's input is 0 in each row, and its loss at the start is ln C.
    Reference:   torch.nn.NLLLoss: "The input given through a forward call is expected to contain log-probabilities of each
                 class".
    Example:
        F.nll_loss(model(x), y)                      # sick
        F.nll_loss(model(x).log_softmax(dim=1), y)   # healthy
    """
    for call in evidence.calls:
        hit = _swapped(call) or _not_log_probabilities(call) or _outside(call)
        if hit is not None:
            yield hit


def _swapped(call: LossCall) -> Hit | None:
    if call.name not in ASYMMETRIC or not call.needs_grad.get("target") or call.needs_grad.get("input"):
        return None
    count = call.tensors["target"].numel()
    said = f'"target" of {call.name} ({count} values) requires a gradient and "input" does not: the arguments are swapped'
    return Hit(said, {"values": count}, where=call.where, fix=f"{call.name}(prediction, target): the model's output comes first.")


def _not_log_probabilities(call: LossCall) -> Hit | None:
    rows: Tensor | None = None
    if call.name == "nll_loss":
        rows = scores_of(call)
    elif call.name == "ctc_loss" and "log_probs" in call.tensors:
        log_probs = call.tensors["log_probs"]
        rows = log_probs.reshape(-1, log_probs.shape[-1]).float()
    if rows is None or rows.numel() == 0 or rows.shape[1] < 2:
        return None
    total = rows.logsumexp(1)
    high = float((total > LARGEST_SUM).double().mean())
    if not high > 0.5:
        return None
    middle = float(total.median())
    probable = bool((rows >= 0).all()) and float((rows.sum(1) - 1).abs().amax()) < LARGEST_SUM
    kind = "probabilities without their logarithm" if probable else "scores"
    argument = "input" if call.name == "nll_loss" else "log_probs"
    said = (
        f'"{argument}" of {call.name} holds {kind}, not log-probabilities: the log-sum-exp of a row is {middle:.4g} (median of '
        f"{len(rows)}), expected 0"
    )
    fix = "log_softmax in place of softmax." if probable else f"{call.name}(scores.log_softmax(dim=-1), ...)"
    if call.name == "nll_loss":
        fix += " Or cross_entropy of the scores."
    return Hit(said, {"log-sum-exp": middle, "rows above 0.01": high, "rows": len(rows)}, where=call.where, fix=fix)


def _outside(call: LossCall) -> Hit | None:
    argument, low, high, said = "input", 0.0, float("inf"), ""
    if call.name == "binary_cross_entropy":
        high, said = 1.0, "expected probabilities in [0, 1]"
    elif call.name == "gaussian_nll_loss" and call.home == "torch":
        argument, said = "var", "expected variances, 0 or more"
    elif call.name == "poisson_nll_loss" and call.options.get("log_input") is False:
        said = "expected rates, 0 or more, with log_input=False"
    values = call.tensors.get(argument)
    if not said or values is None or values.numel() == 0:
        return None
    bad = (values < low) | (values > high)
    if not bool(bad.any()):
        return None
    count, first = int(bad.sum()), float(values[bad][0])
    text = f'"{argument}" of {call.name} has {count} of {values.numel()} values outside, the first {first:.4g}: {said}'
    fixes = {
        "binary_cross_entropy": "binary_cross_entropy_with_logits of the scores.",
        "gaussian_nll_loss": "Predict the logarithm: var=log_var.exp(), or softplus.",
        "poisson_nll_loss": "log_input=True, or softplus before the loss.",
    }
    return Hit(text, {"outside": count, "first": first, "values": values.numel()}, where=call.where, fix=fixes[call.name])
