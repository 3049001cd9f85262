"""The numbers that the answers of losskit.choose tell a person to expect, by task and from small data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import losskit

from ..choosing.advice import Advice, Candidate
from .claim import Claim
from .figure_numbers import entropy

__all__ = ["claims"]

_GROUP = "numbers to expect of losskit.choose"
_RARE, _THREE, _NUMBERS = [0] * 990 + [1] * 10, [0] * 900 + [1] * 90 + [2] * 10, [3.1, 2.9, 3.3, 2.7] * 20


def _of(advice: Advice, loss: str, option: str) -> Candidate:
    """The candidate of that loss, and where there are two of one loss the one with that option."""
    found = [c for c in (advice.first, *advice.alternatives) if c and c.loss == loss and (not option or option in c.options)]
    return found[0]


def _number(data: Sequence[float] | None, task: str, loss: str, level: str, option: str) -> float:
    value: float | None = getattr(_of(losskit.choose(data, task=task), loss, option), level)
    return math.nan if value is None else value


def _row(about: str, truth: float, data: Sequence[float] | None, task: str, loss: str, level: str, option: str = "") -> Claim:
    return Claim(_GROUP, f"{about}: {loss}, at {level}", truth, partial(_number, data, task, loss, level, option))


def _first(task: str, loss: str) -> Claim:
    def ours() -> str:
        first = losskit.choose(task=task).first
        return first.loss if first else "nothing"

    return Claim(_GROUP, f"first choice for the task {task}", loss, ours)


def claims() -> list[Claim]:
    """The first choice of each task, and levels by formula."""
    binary, three = "binary_cross_entropy_with_logits", [0.9, 0.09, 0.01]
    return [
        _first("binary", binary),
        _first("multiclass", "cross_entropy"),
        _first("multilabel", binary),
        _first("regression", "mse_loss"),
        _first("count", "poisson_deviance_loss"),
        _first("language", "cross_entropy"),
        _first("embedding", "info_nce_loss"),
        _first("ranking", "pairwise_logistic_loss"),
        _row("yes or no, ln 2", math.log(2), None, "binary", binary, "start"),
        _row("the same, (1/2)^2 ln 2", math.log(2) / 4, None, "binary", "binary_focal_loss", "start"),
        _row("10 yes of 1,000, entropy of the prior", entropy([0.01, 0.99]), _RARE, "binary", binary, "constant"),
        _row(
            "the same, each yes counted 99 times, 2 (0.99 ln 2)",
            2 * 0.99 * math.log(2),
            _RARE,
            "binary",
            binary,
            "start",
            "pos_weight",
        ),
        _row("classes of 900, 90, 10, ln 3", math.log(3), _THREE, "multiclass", "cross_entropy", "start"),
        _row("the same, entropy of the shares", entropy(three), _THREE, "multiclass", "cross_entropy", "constant"),
        _row(
            "3.1, 2.9, 3.3, 2.7, their variance",
            (0.1**2 + 0.1**2 + 0.3**2 + 0.3**2) / 4,
            _NUMBERS,
            "regression",
            "mse_loss",
            "constant",
        ),
        _row("the same, distance to the median", (0.1 + 0.1 + 0.3 + 0.3) / 4, _NUMBERS, "regression", "l1_loss", "constant"),
    ]
