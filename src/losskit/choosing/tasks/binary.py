"""Two classes, one answer a row."""

from __future__ import annotations

import torch

from ...evaluate.calibration.reliability import wilson
from ..advice import Advice, Candidate, Fact, Question
from ..candidates import candidate, coded, rounded
from ..profile_classes import FEW_POSITIVES, Balance, balance_of
from ..seen import Seen

__all__ = ["advise", "shrug"]

SHAPES = "logits and target (N,): scores before any sigmoid, and 0. or 1. of the same shape"
SMALL = 0.01  # a confident mistake: what squared error then makes of the gradient


def advise(seen: Seen) -> Advice:
    """Plain cross-entropy; what else there is where the yes is rare."""
    if seen.target is None:
        first = candidate("binary_cross_entropy_with_logits", "Two classes.", shapes=SHAPES, facts={})
        return seen.advice(first, [_focal("Where the yes is rare."), _auc("Where only the order of scores counts.")], [_mse()])
    values = seen.target.values
    n, yes = len(values), float(values.sum())
    if not 0 < yes < n:
        return seen.refused(f"All {n} known targets are of one class: there is nothing to tell apart.")
    if seen.target.soft:
        return _soft(seen, values)
    balance = balance_of(torch.tensor([n - yes, yes]))
    facts = _facts(seen, balance)
    prior = yes / n
    first = candidate(
        "binary_cross_entropy_with_logits",
        f"Two classes, {int(yes):,} of {n:,} rows are {seen.target.classes[1]!r}.",
        shapes=SHAPES,
        warning=_threshold(prior) if balance.imbalanced else "",
        facts={"prior": prior},
    )
    if balance.imbalanced:
        advice = seen.advice(first, _rare(balance), [_mse()], facts, _few(balance), [_question(balance)])
    else:
        order = _auc("Only where the order of scores is all that counts.")
        advice = seen.advice(first, [order], [_mse()], facts, _few(balance))
    return coded(advice, seen.target.classes)


def _facts(seen: Seen, balance: Balance) -> list[Fact]:
    assert seen.target is not None
    no, yes = seen.target.classes
    counts = [int(c) for c in balance.counts]
    facts = [
        Fact("classes", 2, f"{counts[0]:,} rows of {no!r}, {counts[1]:,} of {yes!r}, which is the yes"),
        Fact("prior", counts[1] / sum(counts), f"{counts[1] / sum(counts):.4g} of the rows are {yes!r}"),
    ]
    said = f"{balance.said}; at least 1 to {balance.least:.3g} at 99 % confidence"
    if balance.imbalanced:
        facts.append(Fact("imbalance", balance.ratio, said))
    else:
        facts.append(Fact("balance", balance.ratio, f"{said if balance.ratio > 10 else balance.said}: {balance.plain}"))
    return facts


def _few(balance: Balance) -> list[str]:
    few = balance.fewest
    if few >= FEW_POSITIVES:
        return []
    low, high = (float(end) for end in wilson(torch.tensor(0.5), torch.tensor(few), 0.95))
    return [
        f"Only {int(few)} row{'s' * (few != 1)} of the rarer class: a recall of 50 % on all of them is {low:.0%} to {high:.0%}. "
        f"Below about {FEW_POSITIVES} every number is noisy."
    ]


def _threshold(prior: float) -> str:
    return (
        f"Probabilities come out right, and at a prior of {prior:.3g} hardly any exceeds 0.5: to decide, move the threshold to "
        "cost of a false alarm / (cost of a false alarm + cost of a miss), or take an alternative."
    )


def _rare(balance: Balance) -> list[Candidate]:
    no, yes = balance.counts
    weight = rounded(no / yes)
    return [
        candidate(
            "binary_cross_entropy_with_logits",
            f"Each yes counts {weight:g} times, {int(no):,} / {int(yes):,}, as much as all the others together: "
            "the threshold 0.5 is then that of balanced error.",
            shapes=SHAPES,
            options={"pos_weight": weight},
            card="none",
            warning="Probabilities are no longer those of the data: the odds come out as many times too high.",
            facts={"prior": yes / (no + yes), "pos_weight": weight},
        ),
        _adjusted(no, yes),
        _auc("Positives are in every pair, so that their share does not matter."),
        _focal(f"The easy ones of the {int(no):,} fade out."),
    ]


def _adjusted(no: float, yes: float) -> Candidate:
    prior = [rounded(no / (no + yes), 6), rounded(yes / (no + yes), 6)]
    return candidate(
        "logit_adjusted_loss",
        "The prior is given to the scores, so that what is learned is balanced.",
        shapes="logits (N,): one score a row; the other class scores 0. target (N,): 0 or 1, also as floats",
        arguments=["torch.stack([torch.zeros_like(logits), logits], -1)", "target.long()"],
        options={"prior": prior},
        warning="In use compare the score with 0; its sigmoid is the probability where both classes are equally frequent.",
        facts={},
    )


def _auc(reason: str) -> Candidate:
    return candidate(
        "auc_squared_hinge_loss",
        reason,
        shapes="logits (N,): scores; target (N,): 0 or 1; a batch must hold both",
        warning="Scores are no probabilities.",
        facts={},
    )


def _focal(reason: str) -> Candidate:
    return candidate(
        "binary_focal_loss",
        reason,
        shapes=SHAPES,
        options={"gamma": 2.0},
        warning="Plain focal loss improves the order of scores, not the threshold: at 0.5 it finds the rare class as seldom "
        "as the plain loss. Give alpha, or move the threshold.",
        facts={"gamma": 2.0},
    )


def shrug(p: float = SMALL) -> str:
    """How much weaker the gradient of squared error is on a confident mistake: 1 / (2 p (1 - p))."""
    ratio = 1 / (2 * p * (1 - p))
    return f"where the right class has a probability of {p:g}, its gradient on the score is {ratio:.1f} times smaller"


def _mse() -> Candidate:
    return candidate(
        "mse_loss",
        f"Squared error of a sigmoid shrugs at confident mistakes: {shrug()}.",
        shapes=SHAPES,
        arguments=["torch.sigmoid(logits)", "target"],
        card="none",
    )


def _question(balance: Balance) -> Question:
    weight = rounded(balance.counts[0] / balance.counts[1])
    return Question(
        "What is judged in the end: probabilities, the order of scores, or how many of the rare class are found?",
        {
            "probabilities, costs": "binary_cross_entropy_with_logits as it is, and a threshold from the costs",
            "the order (AUC, average precision)": "binary_cross_entropy_with_logits, or auc_squared_hinge_loss",
            "recall, balanced error": f"binary_cross_entropy_with_logits with pos_weight={weight:g}, or logit_adjusted_loss",
        },
    )


def _soft(seen: Seen, values: torch.Tensor) -> Advice:
    mean = float(values.mean())
    first = candidate(
        "binary_cross_entropy_with_logits",
        f"Targets are shares between 0 and 1, {mean:.4g} on average: each is taken as the probability of a yes.",
        shapes="logits and target (N,): scores before any sigmoid, and shares in [0, 1] of the same shape",
        facts={"prior": mean, "target": values},
        warning="The loss does not go to 0: at best it is the entropy of the targets themselves.",
    )
    other = candidate(
        "mse_loss",
        "Where shares are measurements and their error counts the same everywhere.",
        shapes="logits and target (N,): scores before any sigmoid, and shares in [0, 1] of the same shape",
        arguments=["torch.sigmoid(logits)", "target"],
        facts={"target": values},
        card="none",
    )
    return seen.advice(first, [other], [], [Fact("soft labels", mean, f"shares between 0 and 1, {mean:.4g} on average")])
