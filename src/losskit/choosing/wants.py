"""What is wanted of the predictions: the words of each task, in one table that help, errors and questions are made from."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches

__all__ = ["WANTS", "Want", "check_want", "listed", "want_of"]

QUANTILE, BOUND = "quantile", "quantile=Q"  # the word, and as the table has it
WANTS: Mapping[str, Mapping[str, str]] = {
    "binary": {
        "probabilities": "shares that come true as often as they say; a threshold comes from the costs",
        "order": "a yes scores above a no, whatever the threshold (AUC)",
        "balanced": "the rare class is found as often as the other (balanced accuracy, recall)",
    },
    "multiclass": {
        "probabilities": "shares that come true as often as they say, and most rows right",
        "balanced": "each class counts alike, however rare (balanced accuracy, macro recall)",
    },
    "multilabel": {
        "probabilities": "shares of each label that come true as often as they say",
        "balanced": "the yes of a label is found as often as its no (balanced accuracy, recall)",
    },
    "regression": {
        "mean": "sums come out right; large errors count most (RMSE)",
        "median": "the typical value: half of the targets lie below (MAE)",
        BOUND: "a bound, 0 < Q < 1: with quantile=0.9 one target in ten lies above (pinball loss)",
        "robust": "the mean of the good ones, where some targets are far off (Huber)",
    },
    "count": {
        "mean": "sums come out right (deviance)",
        "median": "the typical count: half of the targets lie below (MAE)",
        BOUND: "a bound, 0 < Q < 1: with quantile=0.9 one count in ten lies above (pinball loss)",
    },
    "ranking": {
        "order": "every pair of a list in order",
        "differences": "how far apart items of a list are, too",
        "ndcg": "the top of the list counts most (NDCG)",
        "first": "the first relevant item as far up as can be (MRR)",
    },
}
# what people call it
_MEANT = {
    "probability": "probabilities", "calibration": "probabilities", "calibrated": "probabilities", "log loss": "probabilities",
    "accuracy": "probabilities", "auc": "order", "roc auc": "order", "pr auc": "order", "average precision": "order",
    "recall": "balanced", "balanced accuracy": "balanced", "f1": "balanced", "macro f1": "balanced", "mse": "mean",
    "rmse": "mean", "average": "mean", "mae": "median", "typical": "median", "bound": BOUND, "pinball": BOUND,
    "huber": "robust", "outliers": "robust", "mrr": "first", "ndcg@10": "ndcg", "difference": "differences",
}  # fmt: skip
_LEVEL = re.compile(r"[pq]?[.\d]+%?")  # a quantile as people write it: 0.9, p90, 90%


@dataclass(frozen=True)
class Want:
    """A word of the table, and for a quantile which one."""

    word: str
    level: float = math.nan

    def __str__(self) -> str:
        return self.word if math.isnan(self.level) else f"{QUANTILE}={self.level!r}"


def listed(task: str) -> str:
    """The words of a task."""
    return ", ".join(WANTS[task])


def check_want(want: str | None, task: str | None) -> None:
    """Refuse a word that no task has, or that the task has not, before data are read.

    Raises:     ValueError that says which words there are.
    """
    if want is None:
        return
    if task is not None:
        want_of(want, task)
    elif not any(_found(want, words) for words in WANTS.values()):
        every = "; ".join(f"{task}: {listed(task)}" for task in WANTS)
        raise ValueError(f'"want" is {want!r}, expected a word of the task ({every}){_near(want, _all())}')


def want_of(want: str, task: str, *, told: bool = True) -> Want:
    """What is wanted, by the words of the task; ``told`` is whether the user named the task.

    Raises:     ValueError for a word that the task has not, with those that it has.
    """
    if task not in WANTS:
        raise ValueError(f'"want" is {want!r}, and {task} has nothing to choose between: leave it out')
    words = WANTS[task]
    if found := _found(want, words):
        return found
    if want.lower().partition("=")[0].strip() == QUANTILE and BOUND in words:
        raise ValueError(f'"want" is {want!r}, expected quantile=Q with 0 < Q < 1, as quantile=0.9')
    others = [name for name, table in WANTS.items() if _found(want, table)]
    if others:
        look = f"the task is {task}" if told else f"the data look like {task}"
        remedy = "" if told else f", or name the task, as {others[0]}"
        raise ValueError(f'"want" is {want!r}, a word of {" and ".join(others)}, and {look}: one of {listed(task)}{remedy}')
    of = f"for {task}" if told else f"of {task}, which the data look like"
    raise ValueError(f'"want" is {want!r}, expected one of {listed(task)} {of}{_near(want, tuple(words))}')


def _found(want: object, words: Mapping[str, str]) -> Want | None:
    if not isinstance(want, str):
        raise ValueError(f'"want" is {want!r}, expected a word, as "order"')
    word, _, level = (part.strip() for part in want.lower().partition("="))
    if word != QUANTILE:
        return Want(word) if word in words and not level else None
    try:
        q = float(level)
    except ValueError:
        return None
    return Want(QUANTILE, q) if BOUND in words and 0 < q < 1 else None


def _all() -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for words in WANTS.values() for word in words))


def _near(want: str, words: tuple[str, ...]) -> str:
    said = " ".join(re.split(r"[\s_-]+", want.strip().lower()))
    if _LEVEL.fullmatch(said) and BOUND in words:
        return ": did you mean quantile=Q, as quantile=0.9?"
    called = {name: word for name, word in _MEANT.items() if word in words} | {word: word for word in words}
    near = get_close_matches(said, called, 1)
    return f": did you mean {called[near[0]]}?" if near else ""
