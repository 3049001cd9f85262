"""One of several classes a row."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from ...losses.class_weights import class_weights
from ..advice import Advice, Candidate, Fact, Question
from ..candidates import INLINE, candidate, coded, rounded
from ..profile_classes import FEW_POSITIVES, Balance, balance_of
from ..seen import Seen
from .binary import shrug

__all__ = ["advise"]

Method = Literal["inverse", "sqrt"]
GENTLE = 100.0  # class_weights: "inverse is for a few times, not for a thousand times, rarer classes"
VOCABULARY = 10_000  # from about here the scores are large: 8192 rows of 10,000 float32 scores are 313 MiB


def advise(seen: Seen) -> Advice:
    """Plain cross-entropy; weights and priors where classes are rare."""
    if seen.target is None:
        first = candidate("cross_entropy", "One of several classes.", shapes=_shapes("C"), facts={})
        return seen.advice(first, [_noisy(), _focal("Where one class drowns the others.")], [_mse("C")])
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
    alternatives, questions = ([_noisy()], []) if not balance.imbalanced else (_rare(counts, balance), [_question()])
    if classes >= VOCABULARY:
        alternatives.insert(0, _fused(classes))
    return coded(seen.advice(first, alternatives, [_mse(classes)], facts, warnings, questions), seen.target.classes)


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
        prior = [rounded(p, 6) for p in (counts / counts.sum()).tolist()]
        counted = "torch.bincount(target).float()" if classes > INLINE else ""
        found.append(
            candidate(
                "logit_adjusted_loss",
                "The scores are given the prior in training and go without it in use.",
                shapes=_shapes(classes),
                options={"prior": prior},
                computed={"prior": "prior"} if counted else {},
                before=[f"prior = {counted}  # of all of the training data"] if counted else [],
                facts={},
            )
        )
    found.append(_weighted(counts, method, classes))
    found.append(_focal(f"One class has {balance.ratio:.3g} times the rows of another."))
    return found


def _weighted(counts: Tensor, method: Method, classes: int) -> Candidate:
    whole = [int(c) if float(c).is_integer() else float(c) for c in counts.tolist()]
    seen = counts > 0
    weight = torch.zeros(classes)
    weight[seen] = class_weights(counts[seen], method=method)
    listed = [rounded(w, 6) for w in weight.tolist()]
    long = classes > INLINE
    counted = str(whole) if classes <= 100 else "torch.bincount(target)"
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


def _focal(reason: str) -> Candidate:
    return candidate(
        "focal_loss",
        reason,
        shapes=_shapes("C"),
        options={"gamma": 2.0},
        warning="Plain focal loss improves the order of scores, not the threshold: alone it hardly finds more of a rare class.",
        facts={"gamma": 2.0},
    )


def _noisy() -> Candidate:
    return candidate(
        "generalized_cross_entropy", "Where labels are wrong.", shapes=_shapes("C"), options={"q": 0.7}, facts={"q": 0.7}
    )


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
        {
            "all rows, probabilities": "cross_entropy as it is",
            "each class alike (balanced accuracy, macro recall)": "logit_adjusted_loss",
        },
    )


def _soft(seen: Seen, values: Tensor) -> Advice:
    """Rows of probabilities."""
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
