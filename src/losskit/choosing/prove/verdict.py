"""What the folds say of the advice: the first choice is beaten, or it beats others and is not beaten, or nothing can be told."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..advice import Comparison, Scored
from .intervals import corrected
from .metric import Metric

__all__ = ["Folds", "any_beats", "compared", "scored", "verdict"]

Folds = Mapping[tuple[str, str], Mapping[str, Sequence[float]]]
"""(name of the candidate, model) -> metric -> its value in each fold"""


def scored(folds: Folds, ratio: float) -> tuple[Scored, ...]:
    """The mean and interval of every figure of every candidate."""
    return tuple(
        Scored(name, model, metric, *corrected(values, ratio), folds=len(values))
        for (name, model), figures in folds.items()
        for metric, values in figures.items()
    )


def compared(folds: Folds, metrics: Sequence[Metric], first: str, ratio: float) -> tuple[Comparison, ...]:
    """The first choice against all others, fold by fold, at a level that all of them together keep."""
    found = []
    for (name, model), figures in folds.items():
        rivals = sum(other != first and where == model for other, where in folds)
        for metric in metrics:
            mine, theirs = folds[first, model].get(metric.name), figures.get(metric.name)
            if name == first or mine is None or theirs is None:
                continue
            sign = 1 if metric.higher else -1
            gaps = [sign * (a - b) for a, b in zip(mine, theirs, strict=True)]
            found.append(Comparison(model, metric.name, first, name, *corrected(gaps, ratio, level=1 - 0.05 / rivals)))
    return tuple(found)


def any_beats(folds: Folds, constant: Sequence[float], metric: Metric, ratio: float) -> bool:
    """Whether some candidate is better than the best constant, at a level that the candidates of a model keep together."""
    level = 1 - 0.05 / (2 * len({name for name, _ in folds}))
    every = [figures[metric.name] for figures in folds.values() if metric.name in figures]
    return any(corrected(gap, ratio, level=level).low > 0 for mine in every for gap in _gains(mine, constant, metric))


def _gains(mine: Sequence[float], constant: Sequence[float], metric: Metric) -> list[list[float]]:
    """By how much, and by which share, each fold is better.

    Where a fold has one huge count both errors are huge, and only their ratio is alike in all folds; where slips are added to
    every error it is their difference.
    """
    sign = 1 if metric.higher else -1
    found = [[sign * (a - b) for a, b in zip(mine, constant, strict=True)]]
    if min(*mine, *constant) > 0:
        found.append([sign * math.log(a / b) for a, b in zip(mine, constant, strict=True)])
    return found


def verdict(
    scores: Sequence[Scored],
    comparisons: Sequence[Comparison],
    *,
    first: str,
    avoid: Sequence[str],
    metric: Metric,
    learned: bool = True,
) -> str:
    """One word, and a sentence with the numbers, from the model that the first choice does better with.

    ``learned`` is whether any candidate is better than a constant: else they differ by how they miss it, whatever is advised.
    """
    mine = [one for one in scores if one.loss == first and one.metric == metric.name]
    best = (max if metric.higher else min)(mine, key=lambda one: one.mean)
    here = [one for one in comparisons if one.model == best.model]
    decisive = [one for one in here if one.metric == metric.name]
    beaten = [one for one in decisive if one.high < 0]
    wrong = [one for one in decisive if one.other in avoid]
    better = [one for one in decisive if one.low > 0]
    level = f"{metric.name} {best.mean:.4g} with the {_called(best.model)}"
    aside = _aside(here, metric.name)
    if not learned:
        return f"undecided: no candidate beats the constant beyond chance: these inputs carry nothing that shows ({level})"
    if beaten:
        worst = min(beaten, key=lambda one: one.difference)
        return f"disagrees: {worst.other} is better than {first} by {_gap(worst)} ({level}){aside}"
    if not decisive:
        return f"undecided: nothing could be compared with {first} ({level}){aside}"
    if better:
        equal = [one.other for one in wrong if one not in better]
        rider = f"; {' and '.join(equal)}, to be avoided, cannot be told from it here" if equal else ""
        return f"agrees: {first} is better than {_listed(better)}, and nothing is better than it ({level}){rider}{aside}"
    if len(decisive) == 1:
        return f"undecided: {first} cannot be told from {decisive[0].other}, {_gap(decisive[0])} ({level}){aside}"
    every = ", ".join(f"{one.other} {_gap(one)}" for one in decisive)
    return f"undecided: {first} cannot be told from any of the {_number(len(decisive))}: {every} ({level}){aside}"


def _aside(here: Sequence[Comparison], metric: str) -> str:
    """Where another figure asks for another loss."""
    others = [one for one in here if one.metric != metric and one.high < 0]
    if not others:
        return ""
    best: dict[str, Comparison] = {}
    for one in others:
        if one.metric not in best or one.difference < best[one.metric].difference:
            best[one.metric] = one
    return "; " + ", ".join(f"for {one.metric} {one.other} is better by {_gap(one)}" for one in best.values())


def _number(count: int) -> str:
    return ("zero", "one", "two", "three", "four", "five", "six")[count] if count < 7 else str(count)


def _called(model: str) -> str:
    return "MLP" if model == "mlp" else f"{model} model"


def _listed(found: Sequence[Comparison]) -> str:
    return " and ".join(f"{one.other} by {_gap(one)}" for one in found)


def _gap(one: Comparison) -> str:
    """The size of a difference and its interval, the sign that of the sentence."""
    flip = -1 if one.high < 0 else 1
    low, high = sorted((flip * one.low, flip * one.high))
    return f"{flip * one.difference:.3g} ({low:.3g} to {high:.3g})"
