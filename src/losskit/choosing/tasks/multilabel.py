"""Several labels a row, or none: a yes or no for each."""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ...core.card import reference
from ..advice import Advice, Answer, Candidate, Fact, Question
from ..candidates import INLINE, candidate, rounded
from ..profile_classes import FEW_POSITIVES
from ..seen import Choice, Seen, again, probable
from ..wants import Want

__all__ = ["advise"]

RARE = 1 / 11  # 1 to 10, as for two classes


def advise(seen: Seen) -> Advice:
    """Binary cross-entropy for each label; never a softmax over labels."""
    if seen.target is None:
        labels: int | str = seen.num_classes or "L"
        said = "A yes or no for each label."
        first = candidate("binary_cross_entropy_with_logits", said, shapes=_shapes(labels), facts={})
        others = [_asymmetric("Where nearly all labels are a no.", labels)]
        return seen.advice(*_wanted(seen.want, Choice(first, others, [_softmax("", labels)]), None))
    values = seen.target.values
    rows, labels = values.shape
    share = values.mean(0)
    varied = (values.amin(0) < values.amax(0)).sum()
    if not int(varied):
        return seen.refused(f"None of the {labels} labels differs between the {rows} rows: there is nothing to learn.")
    each = float(values.sum(1).mean())
    first = candidate(
        "binary_cross_entropy_with_logits",
        f"{labels} labels, {each:.3g} a row on average: each is a question of its own.",
        shapes=_shapes(labels),
        facts={},
    )
    levels = [reference("binary_cross_entropy_with_logits", prior=p).constant or 0.0 for p in share.tolist()]
    # labels weigh alike, so the best constant of all is the mean of theirs
    first = replace(first, constant=sum(levels) / labels)
    facts = [
        Fact("labels", labels, f"{labels} labels, {each:.3g} a row on average, {int(values.sum(1).max())} at most"),
        Fact("rarest label", float(share.min()), f"a label is set in {share.min():.3g} to {share.max():.3g} of the rows"),
    ]
    several = float((values.sum(1) > 1).double().mean())
    none = float((values.sum(1) == 0).double().mean())
    softmax = _softmax(f"{several:.0%} of the rows have several labels and {none:.0%} have none: a softmax can say neither.")
    rare = float(share.median()) < RARE
    alternatives = (
        [_asymmetric(f"A label is absent {1 - float(share.mean()):.1%} of the time."), _weighted(values)] if rare else []
    )
    questions = [_question()] if rare and seen.want is None else []
    choice = _wanted(seen.want, Choice(first, alternatives, [softmax]), values)
    return seen.advice(*choice, facts, _warnings(values), questions)


def _wanted(want: Want | None, choice: Choice, values: Tensor | None) -> Choice:
    """What the want makes of the choice; ``values`` are None without data."""
    if want is None:
        return choice
    plain = choice.first
    if want.word == "probabilities":
        return probable(choice)
    others = [again(plain, "Where probabilities are wanted as well, with a threshold of its own for each label.")]
    others += [one for one in choice.alternatives if one.loss == "asymmetric_loss"]
    return choice._replace(first=_weighted(values), alternatives=others)


def _shapes(labels: int | str) -> str:
    return f"logits and target (N, {labels}): a score and a 0. or 1. for each label"


def _warnings(values: Tensor) -> list[str]:
    found: list[str] = []
    counts = values.sum(0)
    if fixed := int((values.amin(0) == values.amax(0)).sum()):
        found.append(f"{fixed} of {values.shape[1]} labels are the same in every row: nothing is learned of them.")
    few = int(((counts > 0) & (counts < FEW_POSITIVES)).sum())
    if few:
        found.append(
            f"{few} of {values.shape[1]} labels are set in fewer than {FEW_POSITIVES} rows: numbers about them are noisy."
        )
    return found


def _weighted(values: Tensor | None) -> Candidate:
    """Without data the weights are counted where they are used."""
    counted = "pos_weight = (1 - target).sum(0) / target.sum(0).clamp(min=1)  # of all of the training data"
    given = {} if values is None else {"pos_weight": _weights(values)}
    long = values is None or values.shape[1] > INLINE
    made = candidate(
        "binary_cross_entropy_with_logits",
        "Each yes counts as much as all the noes of its label together: the threshold 0.5 is then that of balanced error.",
        shapes=_shapes("L" if values is None else values.shape[1]),
        arguments=["logits", "target"] if given else ["logits", "target", "pos_weight=pos_weight"],
        options=given,
        computed={"pos_weight": "pos_weight"} if long and given else {},
        before=[counted] if long else [],
        warning="Probabilities are no longer those of the data.",
        card="none",
    )
    if values is None:
        return made
    shares = [(p, w) for p, w in zip(values.mean(0).tolist(), given["pos_weight"], strict=True) if 0 < p < 1]
    levels = [reference(made.loss, prior=p, pos_weight=w) for p, w in shares]
    # a label that is never set costs ln 2 at the start, and nothing once that is learned
    fixed = int((values.amax(0) == 0).sum())
    start = (sum(one.chance or 0.0 for one in levels) + fixed * math.log(2)) / values.shape[1]
    return replace(made, start=start, constant=sum(one.constant or 0.0 for one in levels) / values.shape[1], best=0.0)


def _weights(values: Tensor) -> list[float]:
    yes = values.sum(0)
    # a label that is never set has no weight to give
    return [rounded(w, 4) for w in ((len(values) - yes) / yes.clamp(min=1)).tolist()]


def _asymmetric(reason: str, labels: int | str = "L") -> Candidate:
    return candidate("asymmetric_loss", reason, shapes=_shapes(labels), options={"gamma_neg": 4.0})


def _softmax(reason: str, labels: int | str = "L") -> Candidate:
    return candidate(
        "cross_entropy",
        reason or "A softmax shares one probability among all labels: two that are right take it from each other.",
        shapes=_shapes(labels),
        before=["some = target.sum(-1) > 0"],
        arguments=["logits[some]", "target[some] / target[some].sum(-1, keepdim=True)"],
        card="avoid",
    )


def _question() -> Question:
    return Question(
        "Are the probabilities of labels used, or is it to find as many of the rare ones as possible?",
        (
            Answer("probabilities", "binary_cross_entropy_with_logits as it is", {"want": "probabilities"}, taken=True),
            Answer(
                "find rare labels",
                "binary_cross_entropy_with_logits with pos_weight, or asymmetric_loss",
                {"want": "balanced"},
            ),
        ),
    )
