"""The best answer that looks at no input: what a candidate has to be better than before a proof says anything."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from .folds import Fold
from .heads import Guess
from .metric import Metric
from .problem import Problem

__all__ = ["CONSTANT", "constant"]

CONSTANT = "best constant"


def constant(problem: Problem, target: Tensor, folds: list[Fold], metric: Metric) -> list[float]:
    """The figure of each fold's best constant, which its training rows tell."""
    found = []
    for fold in folds:
        known, asked = target[torch.cat([fold.train, fold.stop])], target[fold.test]
        if problem.task == "embedding":  # all vectors are one: any other row is as near as the next
            size = torch.bincount(asked)[asked]
            found.append(float((size - 1).double().mean() / max(len(asked) - 1, 1)))
            continue
        value = metric.of(_guess(problem, known, asked, metric), asked)
        if value is None:
            return []
        found.append(value)
    return found


def _guess(problem: Problem, known: Tensor, asked: Tensor, metric: Metric) -> Guess:
    """Shares for classes, the mean for squares and deviances, a quantile for its own error, one score for all of a list."""
    if problem.task == "ranking":
        return Guess(torch.zeros_like(asked[..., 0]))
    if problem.task == "multiclass" and known.ndim == 1:
        known = one_hot(known.long(), problem.classes)
    if metric.quantile is None:
        middle = known.double().mean(0)
    else:
        middle = known.double().median() if metric.quantile == 0.5 else known.double().quantile(metric.quantile)
    every = middle.expand(len(asked), *middle.shape)
    return Guess(every, every)
