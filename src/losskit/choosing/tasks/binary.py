"""Two classes, one answer a row."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ...evaluate.calibration.reliability import wilson
from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import candidate, coded, rounded
from ..profile_classes import FEW_POSITIVES, Balance, balance_of
from ..seen import Choice, Seen, again, only_probabilities, probable
from ..wants import Want

__all__ = ["adjusted_levels", "advise", "shrug"]

SHAPES = "logits and target (N,): scores before any sigmoid, and 0. or 1. of the same shape"
SMALL = 0.01  # a confident mistake: what squared error then makes of the gradient


def advise(seen: Seen) -> Advice:
    """Plain cross-entropy; what else there is where the yes is rare."""
    if seen.target is None:
        first = candidate("binary_cross_entropy_with_logits", "Two classes.", shapes=SHAPES, facts={})
        others = [_focal("Where the yes is rare."), _auc("Where only the order of scores counts.")]
        return seen.advice(*_wanted(seen.want, Choice(first, others, [_mse()]), None))
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
        warning=_threshold(prior, alone=seen.want is not None) if balance.imbalanced else "",
        facts={"prior": prior},
    )
    others = _rare(balance) if balance.imbalanced else [_auc("Only where the order of scores is all that counts.")]
    questions = [_question(balance)] if balance.imbalanced and seen.want is None else []
    choice = _wanted(seen.want, Choice(first, others, [_mse()]), balance)
    return coded(seen.advice(*choice, facts, _few(balance), questions), seen.target.classes)


def _wanted(want: Want | None, choice: Choice, balance: Balance | None) -> Choice:
    """What the want makes of the choice."""
    if want is None:
        return choice
    plain = choice.first
    if want.word == "probabilities":
        return probable(choice)
    if want.word == "order":
        first = _auc("The order of scores is wanted: every pair of a yes and a no counts, however rare the yes is.")
        focal = [one for one in choice.alternatives if one.loss == "binary_focal_loss"]
        return choice._replace(first=first, alternatives=[again(plain, "Its probabilities are in an order as well."), *focal])
    others = [again(plain, "With a threshold at the share of the yes in place of 0.5 it finds the rare class as often.")]
    first = _adjusted(balance)
    first = replace(first, reason=f"Both classes count alike. {first.reason}")
    return choice._replace(first=first, alternatives=others if balance is None else [*others, _weighted(*balance.counts)])


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


def _threshold(prior: float, *, alone: bool) -> str:
    return (
        f"Probabilities come out right, and at a prior of {prior:.3g} hardly any exceeds 0.5: to decide, move the threshold to "
        f"cost of a false alarm / (cost of a false alarm + cost of a miss){'' if alone else ', or take an alternative'}."
    )


def _rare(balance: Balance) -> list[Candidate]:
    no, yes = balance.counts
    return [
        _weighted(no, yes),
        _adjusted(balance),
        _auc("Positives are in every pair, so that their share does not matter."),
        _focal(f"The easy ones of the {int(no):,} fade out."),
    ]


def _weighted(no: float, yes: float) -> Candidate:
    weight = rounded(no / yes)
    return candidate(
        "binary_cross_entropy_with_logits",
        f"Each yes counts {weight:g} times, {int(no):,} / {int(yes):,}, as much as all the others together: "
        "the threshold 0.5 is then that of balanced error.",
        shapes=SHAPES,
        options={"pos_weight": weight},
        card="none",
        warning="Probabilities are no longer those of the data: the odds come out as many times too high.",
        facts={"prior": yes / (no + yes), "pos_weight": weight},
    )


def _adjusted(balance: Balance | None) -> Candidate:
    """Without data the prior is counted where it is used."""
    given: dict[str, Any] = {}
    arguments = ["torch.stack([torch.zeros_like(logits), logits], -1)", "target.long()"]
    before = []
    if balance is None:
        before = ["prior = torch.bincount(target.long(), minlength=2).float()  # of all of the training data"]
        arguments.append("prior=prior")
    else:
        given["prior"] = [rounded(count / sum(balance.counts), 6) for count in balance.counts]
    made = candidate(
        "logit_adjusted_loss",
        "The prior is given to the scores, so that what is learned is balanced.",
        shapes="logits (N,): one score a row; the other class scores 0. target (N,): 0 or 1, also as floats",
        arguments=arguments,
        options=given,
        before=before,
        warning="In use compare the score with 0; its sigmoid is the probability where both classes are equally frequent.",
        facts={},
    )
    return made if balance is None else adjusted_levels(made, balance.counts)


def adjusted_levels(one: Candidate, counts: Sequence[float]) -> Candidate:
    """Scores of 0 leave the prior alone, which is the best constant as well: its entropy."""
    total = sum(counts)
    entropy = -sum(c / total * math.log(c / total) for c in counts)
    return replace(one, start=entropy, constant=entropy, best=0.0)


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
        (
            Answer(
                "probabilities, costs",
                "binary_cross_entropy_with_logits as it is, and a threshold from the costs",
                {"want": "probabilities"},
                taken=True,
            ),
            Answer("the order (AUC, average precision)", "auc_squared_hinge_loss", {"want": "order"}),
            Answer(
                "recall, balanced error",
                f"logit_adjusted_loss, or binary_cross_entropy_with_logits with pos_weight={weight:g}",
                {"want": "balanced"},
            ),
        ),
    )


def _soft(seen: Seen, values: torch.Tensor) -> Advice:
    only_probabilities(seen.want)
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
