"""One of several classes a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ...losses.class_weights import class_weights
from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import INLINE, candidate, coded, rounded
from ..profile_classes import FEW_POSITIVES, Balance, balance_of
from ..seen import Choice, Seen, again, only_probabilities, probable
from ..wants import Want
from .binary import adjusted_levels, shrug

__all__ = ["advise"]

Method = Literal["inverse", "sqrt"]
GENTLE = 100.0  # class_weights: "inverse is for a few times, not for a thousand times, rarer classes"
VOCABULARY = 10_000  # from about here the scores are large: 8192 rows of 10,000 float32 scores are 313 MiB


def advise(seen: Seen) -> Advice:
    """Plain cross-entropy; weights and priors where classes are rare."""
    if seen.target is None:
        return _of_task(seen)
    values = seen.target.values
    if values.ndim == 2:
        return _soft(seen, values)
    counts = torch.bincount(values, minlength=len(seen.target.classes)).double()
    classes = len(counts)
    if int((counts > 0).sum()) < 2:
        return seen.refused(f"All {len(values)} known targets are of one class: there is nothing to tell apart.")
    if float(counts.max()) == 1:
        return seen.refused(f"Each of the {len(values)} classes comes once: no row says anything about another.")
    balance = balance_of(counts)
    prior = (counts / counts.sum()).tolist()
    first = candidate(
        "cross_entropy",
        f"{classes} classes, exactly one a row.",
        shapes=_shapes(classes),
        warning=_majority(balance, seen.target.classes) if balance.imbalanced else "",
        facts={"num_classes": classes, "prior": prior},
    )
    facts, warnings = _facts(seen.target.classes, balance), _warnings(counts, balance)
    alternatives = _rare(counts, balance) if balance.imbalanced else [_noisy({})]
    questions = [_question()] if balance.imbalanced and seen.want is None else []
    if classes >= VOCABULARY:
        alternatives.insert(0, _fused(classes))
    choice = _wanted(seen.want, Choice(first, alternatives, [_mse(classes)]), counts, classes)
    return coded(seen.advice(*choice, facts, warnings, questions), seen.target.classes)


def _of_task(seen: Seen) -> Advice:
    """Without data."""
    classes = seen.num_classes
    told = {} if classes is None else {"num_classes": classes}
    said = "One of several classes." if classes is None else f"One of {classes:,} classes."
    first = candidate("cross_entropy", said, shapes=_shapes(classes or "C"), facts=told)
    others = [_noisy(told), _focal("Where one class drowns the others.", told)]
    if classes is not None and classes >= VOCABULARY:
        others.insert(0, _fused(classes))
    return seen.advice(*_wanted(seen.want, Choice(first, others, [_mse(classes or "C")]), None, classes))


def _wanted(want: Want | None, choice: Choice, counts: Tensor | None, classes: int | None) -> Choice:
    """What the want makes of the choice; ``counts`` are None without data."""
    if want is None:
        return choice
    plain = choice.first
    if want.word == "probabilities":
        return probable(choice, "linear_cross_entropy")  # the same value
    others = [again(plain, "Where a row counts alike, whatever its class.")]
    why = "Each class counts alike: the scores are given the prior in training and go without it in use."
    if counts is None:
        least = "" if classes is None else f", minlength={classes}"
        before = [f"prior = torch.bincount(target{least}).float()  # of all of the training data; each class must occur"]
        arguments = ["logits", "target", "prior=prior"]
        shapes = _shapes(classes or "C")
        first = candidate("logit_adjusted_loss", why, shapes=shapes, arguments=arguments, before=before, facts={})
        return choice._replace(first=first, alternatives=others)
    weighted = _weighted(counts, "inverse", len(counts))
    if int((counts == 0).sum()):
        why = "Each class counts alike; a class that never occurs has no prior to be given to scores."
        return choice._replace(first=replace(weighted, reason=f"{why} {weighted.reason}"), alternatives=others)
    return choice._replace(first=_adjusted(counts, why), alternatives=[*others, weighted])


def _shapes(classes: int | str) -> str:
    return f"logits (N, {classes}): scores before any softmax; target (N,): class indices"


def _facts(names: tuple[str, ...], balance: Balance) -> list[Fact]:
    counts = [int(c) for c in balance.counts]
    listed = ", ".join(f"{n}: {c:,}" for n, c in list(zip(names, counts, strict=True))[:INLINE])
    listed += ", ..." if len(counts) > INLINE else ""
    rare, common = names[balance.rare], names[balance.common]
    said = f"{counts[balance.common]:,} of {common!r} for {counts[balance.rare]:,} of {rare!r}: {balance.said}"
    said = "as many of each" if balance.ratio == 1 else said
    if balance.imbalanced:
        fact = Fact("imbalance", balance.ratio, f"{said}; at least 1 to {balance.least:.3g} at 99 % confidence")
    else:
        fact = Fact("balance", balance.ratio, f"{said}: {balance.plain}")
    return [Fact("classes", len(counts), f"{len(counts)} classes: {listed}"), fact]


def _warnings(counts: Tensor, balance: Balance) -> list[str]:
    found: list[str] = []
    empty, single = int((counts == 0).sum()), int((counts == 1).sum())
    if empty:
        found.append(f"{empty} of {len(counts)} classes never occur: nothing is learned of them.")
    if single:
        found.append(f"{single} of {len(counts)} classes occur once: they can be trained on or tested, not both.")
    if balance.fewest < FEW_POSITIVES and not single:
        found.append(
            f"The rarest class has {int(balance.fewest)} rows: below about {FEW_POSITIVES} every number about it is noisy."
        )
    return found


def _majority(balance: Balance, names: tuple[str, ...]) -> str:
    share = max(balance.counts) / sum(balance.counts)
    return (
        f"Always answering {names[balance.common]!r} is right in {share:.1%}: look at the recall of each class, not at accuracy."
    )


def _rare(counts: Tensor, balance: Balance) -> list[Candidate]:
    found: list[Candidate] = []
    method: Method = "inverse" if balance.ratio <= GENTLE else "sqrt"
    classes, there = len(counts), counts[counts > 0]
    if len(there) == classes:  # a prior of 0 is no prior
        found.append(_adjusted(counts, "The scores are given the prior in training and go without it in use."))
    found.append(_weighted(counts, method, classes))
    found.append(_focal(f"One class has {balance.ratio:.3g} times the rows of another.", {}))
    return found


def _adjusted(counts: Tensor, why: str) -> Candidate:
    classes, long = len(counts), len(counts) > INLINE
    made = candidate(
        "logit_adjusted_loss",
        why,
        shapes=_shapes(classes),
        options={"prior": [rounded(p, 6) for p in (counts / counts.sum()).tolist()]},
        computed={"prior": "prior"} if long else {},
        before=["prior = torch.bincount(target).float()  # of all of the training data"] if long else [],
        facts={},
    )
    return adjusted_levels(made, counts.tolist())


def _weighted(counts: Tensor, method: Method, classes: int) -> Candidate:
    whole = [int(c) if float(c).is_integer() else float(c) for c in counts.tolist()]
    seen = counts > 0
    weight = torch.zeros(classes)
    weight[seen] = class_weights(counts[seen], method=method)
    listed = [rounded(w, 6) for w in weight.tolist()]
    long = classes > INLINE
    least = "" if bool(seen.all()) else f", minlength={classes}"  # the last classes may be among those that never occur
    counted = str(whole) if classes <= 100 else f"torch.bincount(target{least})"
    line = f'weight = losskit.class_weights({counted}, method="{method}")'
    return candidate(
        "cross_entropy",
        f"Each class weighs {'1 / count' if method == 'inverse' else '1 / sqrt(count)'}: "
        f"{min(w for w in listed if w):.3g} to {max(listed):.3g}.",
        shapes=_shapes(classes),
        options={"weight": listed},
        computed={"weight": "weight"} if long else {},
        before=[line if classes <= 100 else line + "  # of all of the training data"] if long else [],
        warning="The mean divides by the sum of the weights, and probabilities are no longer those of the data.",
        card="none",
        facts={"num_classes": classes, "weight": weight},
    )


def _focal(reason: str, told: dict[str, int]) -> Candidate:
    return candidate(
        "focal_loss",
        reason,
        shapes=_shapes(told.get("num_classes", "C")),
        options={"gamma": 2.0},
        warning="Plain focal loss improves the order of scores, not the threshold: alone it hardly finds more of a rare class.",
        facts={"gamma": 2.0, **told},
    )


def _noisy(told: dict[str, int]) -> Candidate:
    shapes = _shapes(told.get("num_classes", "C"))
    facts = {"q": 0.7, **told}
    return candidate("generalized_cross_entropy", "Where labels are wrong.", shapes=shapes, options={"q": 0.7}, facts=facts)


def _fused(classes: int) -> Candidate:
    return candidate(
        "linear_cross_entropy",
        f"{classes:,} classes: the same value without the scores, where the last layer is a matrix.",
        shapes=f"hidden (N, D): what goes into the last layer; head ({classes}, D): its weight; target (N,): class indices",
        arguments=["hidden", "head", "target"],
        facts={"num_classes": classes},
    )


def _mse(classes: int | str) -> Candidate:
    return candidate(
        "mse_loss",
        f"Squared error of a softmax shrugs at confident mistakes: {shrug()} with two classes, and no better with more.",
        shapes=_shapes(classes),
        arguments=[
            "torch.softmax(logits, -1)",
            "torch.nn.functional.one_hot(target, logits.shape[-1]).to(logits.dtype)",
        ],
        card="none",
    )


def _question() -> Question:
    return Question(
        "What is judged in the end: the share of all rows that is right, or each class alike?",
        (
            Answer("all rows, probabilities", "cross_entropy as it is", {"want": "probabilities"}, taken=True),
            Answer("each class alike (balanced accuracy, macro recall)", "logit_adjusted_loss", {"want": "balanced"}),
        ),
    )


def _soft(seen: Seen, values: Tensor) -> Advice:
    """Rows of probabilities."""
    only_probabilities(seen.want)
    classes = values.shape[1]
    prior = values.mean(0)
    entropy = float(torch.special.entr(values).sum(1).mean())
    first = candidate(
        "cross_entropy",
        f"Each target is a row of {classes} probabilities, which it takes as they are.",
        shapes=f"logits and target (N, {classes}): scores before any softmax, and rows of probabilities",
        facts={"num_classes": classes, "prior": prior.tolist()},
        warning=f"The loss does not go to 0: at best it is the mean entropy of the targets, {entropy:.4g}.",
        card="none",
    )
    other = candidate(
        "kl_div_loss",
        "The same gradient, less the entropy of the targets, so that the best is 0.",
        shapes=f"logits (N, {classes}): scores before any softmax; target (N, {classes}): rows of probabilities",
        arguments=["logits", "target.log()"],
        card="none",
    )
    fact = Fact("soft labels", entropy, f"rows of {classes} probabilities with a mean entropy of {entropy:.4g}")
    return seen.advice(replace(first, best=entropy), [other], [], [fact])
