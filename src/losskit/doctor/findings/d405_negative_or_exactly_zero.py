"""D405: a loss that cannot be negative is."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding
from ..levels_ask import cards
from ..levels_config import card_named
from ..levels_standing import loss_of_run
from ..levels_torch import NONNEGATIVE

__all__ = ["negative_or_exactly_zero"]

ALWAYS = 20  # points: a model that has learned everything was above 0 before
ROUNDING = 1e-3  # a divergence of equal distributions over a large vocabulary in half precision ends so far below 0
LOGISTIC = frozenset({"cross_entropy", "nll_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits"})


@finding("D405", severity="error", phases=("before", "during", "after"), explains=())
def negative_or_exactly_zero(evidence: Evidence) -> Iterator[Hit]:
    """A loss that is never negative is negative, or a fresh model's is exactly 0.

    Cause:       nll_loss takes log-probabilities: given probabilities or scores it returns minus their mean, which falls without
                 end. kl_div takes log-probabilities and a distribution that sums to 1. Binary cross-entropy with targets outside
                 of [0, 1] has no minimum. An exact 0 from a fresh model is an empty sum, or scores so large that float32 has no
                 digits left.
    Rule:        Error: the value of a call, or of a log whose loss is known by name, is below -0.001 although the loss promises
                 to be 0 or more (the law "nonnegative" of its card; torch's losses with the same meaning). Warning: a
                 cross-entropy or binary cross-entropy of a fresh model (from_scratch not False) is exactly 0 over one label or
                 more, or a log whose loss is one of these, by name, has 20 points or more that are all exactly 0.
    Silent when: the loss may be negative (Gaussian and Poisson likelihoods, info_nce_loss with decoupled=True), or a log does not
                 say which loss it is of.
    Fix:         F.cross_entropy(scores, target) in place of F.nll_loss(scores, target); F.kl_div(log_softmax(scores, -1),
                 softmax(teacher, -1), reduction="batchmean"); targets within [0, 1].
    Confirm:     The loss is positive, and near its chance level for a fresh model: 2.3026 for 10 classes.
    Reference:   torch.nn.NLLLoss: "the input given through a forward call is expected to contain log-probabilities of each
                 class".
    Example:
        F.nll_loss(scores.softmax(-1), target)       # sick: -0.1, falls to -1
        F.nll_loss(scores.log_softmax(-1), target)   # healthy: 2.3
    """
    found = False
    for call in evidence.calls:
        value = None if call.value is None or not call.value.numel() else float(call.value.detach().double().min())
        if value is None or call.home not in ("torch", "losskit"):
            continue
        if value < -ROUNDING and _promises(call.name):
            said = f"{call.name} is {value:.4f}, and this loss is never negative: its arguments are not what it takes"
            yield Hit(said, {"value": value}, where=call.where)
            found = True
        elif evidence.phase == "before" and _empty_zero(call) and evidence.settings.from_scratch is not False:
            labels = call.tensors["target"].numel()
            said = f"{call.name} is exactly 0 over {labels} labels: nothing was added up, or the scores are too large for float32"
            yield Hit(said, {"value": 0.0, "labels": labels}, where=call.where, severity="warning")
            found = True
    if not found and evidence.phase != "before":
        yield from _in_a_log(evidence)


def _promises(name: str) -> bool:
    return name in NONNEGATIVE or (name in cards() and "nonnegative" in cards()[name].laws)


def _empty_zero(call: LossCall) -> bool:
    value, target = call.value, call.tensors.get("target")
    if call.name not in LOGISTIC or value is None or value.numel() != 1 or float(value) != 0 or target is None:
        return False
    ignored = target == call.options.get("ignore_index", -100)
    return target.numel() > 0 and not bool(ignored.all())  # nothing to learn is a finding of its own


def _in_a_log(evidence: Evidence) -> Iterator[Hit]:
    run = evidence.run
    series = loss_of_run(run) if run is not None else None
    card = card_named(run.facts.get("loss")) if run is not None else None
    if run is None or series is None or card is None or not _promises(card):
        return
    if card in LOGISTIC and len(series) >= ALWAYS and bool((series.values == 0).all()):
        said = f"{series.name} is exactly 0 at all {len(series)} points: {card} has nothing to decide, or adds up nothing"
        yield Hit(said, {"value": 0.0, "points": len(series)}, where=series.name, severity="warning")
        return
    below = torch.nonzero(series.values < -ROUNDING).flatten()
    if below.numel():
        first = int(below[0])
        said = (
            f"{series.name} is {float(series.values[first]):.4f} at step {int(series.steps[first])} and below 0 at "
            f"{below.numel()} of {len(series)} points, and {str(run.facts['loss'])[:40]} is never negative"
        )
        numbers = {"value": float(series.values[first]), "points": below.numel()}
        yield Hit(said, numbers, where=series.name, step=int(series.steps[first]))
