"""What a column of numbers is: classes, counts, shares, measurements, or an id."""

from __future__ import annotations

import torch
from torch import Tensor

from .advice import Answer, Question
from .columns import Column
from .kinds_said import Decision, all_rows

__all__ = ["decide_number"]

FEW_CLASSES = 20  # whole numbers with more different values are no classes
LARGEST_COUNT = 10_000.0  # a mean above it: amounts, views; a percentage is a better error than a count's
POISSON = (0.5, 2.0)  # variance over mean of numbers that look counted although small ones are missing
UNSEEN = 8.0  # expected rows beyond the largest value, of which none is there: 1 in 3,000 by chance
LEAST = 20  # rows from which "each value once" says something

_CLASS, _MEASURED, _COUNTED = "one of several classes", "a number, judged by how far it is off", "a number of events"
_CLASSES = Answer("classes", _CLASS, {"task": "multiclass"}, taken=True)
_COUNTS = Answer("counts", _COUNTED, {"task": "count"}, taken=True)


def decide_number(column: Column) -> Decision:
    """The task of one column of numbers or bools."""
    known = column.known
    known = known[known.isfinite()]
    name = f'"{column.name}"'
    if not len(known):
        return Decision(None, refusal=f"{name} has no finite value: there is nothing to learn.")
    values = torch.unique(known)
    if len(values) == 1:
        return Decision(None, refusal=f"{name} is {float(values[0]):g} in {all_rows(len(known))}: there is nothing to learn.")
    if len(known) == 2 and bool((values == values.round()).all()):
        return Decision(None, refusal=f"{name} has 2 different values in 2 rows: too few to tell what they are.")
    if column.kind == "bool" or (len(values) == 2 and _two(values, known)):
        return Decision("binary")
    if bool((values == values.round()).all()):
        return _id(column, known, values) or _whole(name, known, values)
    return _real(name, known, values)


def _two(values: Tensor, known: Tensor) -> bool:
    """Two values are a yes and a no, unless they are the only two rows."""
    whole = bool((values == values.round()).all())
    return len(known) > 2 and (whole or len(known) >= 10)


def _id(column: Column, known: Tensor, values: Tensor) -> Decision | None:
    """Each value once: in equal steps it is the number of the row."""
    if len(values) < len(known) or len(known) < 3:
        return None
    steps = known.diff()
    name = f'"{column.name}"'
    if bool((steps == steps[0]).all()):
        if len(known) < 5:
            return None
        return Decision(
            None,
            refusal=f"{name} counts the rows from {known[0]:g} to {known[-1]:g}: an id, nothing to learn.",
        )
    if len(known) < LEAST:
        return None
    if bool((values.diff() == values.diff()[0]).all()):
        question = Question(
            f"{name} holds each number from {values[0]:g} to {values[-1]:g} exactly once: an id, or a rank?",
            (
                Answer("an id", "nothing can be learned"),
                Answer(
                    "a rank",
                    "a regression; where rows are ranked in lists, name the column of the list as the group",
                    {"task": "regression"},
                ),
            ),
        )
        return Decision(None, questions=(question,))
    if column.stored != "float" and float(values[0]) >= 0:
        low, high = float(values[0]), float(values[-1])
        warning = (
            f"Every value of {name} occurs once, as those of an id do ({low:g} to {high:g}): make sure that it is a quantity."
        )
        ordered = bool((steps > 0).all())
        if ordered:
            return Decision(
                None,
                refusal=f"{name} grows from row to row, every value once: an id or a time, nothing to learn.",
            )
        return Decision("regression", warnings=(warning,))
    return None


def _whole(name: str, known: Tensor, values: Tensor) -> Decision:
    """Whole numbers: classes, a count, or a measurement in whole units."""
    low, high = float(values[0]), float(values[-1])
    if low < 0:
        return _signed(name, known, values)
    mean, variance = float(known.mean()), float(known.var())
    if len(values) <= FEW_CLASSES and not _looks_counted(known, values):
        return Decision("multiclass", questions=(_classes_question(name, values),))
    ratio = variance / mean
    small = low <= 2 or low <= mean / 20
    if (small and mean < LARGEST_COUNT) or POISSON[0] < ratio < POISSON[1]:
        question = Question(
            f"{name} holds whole numbers from {low:g} to {high:g}: counts of events, or a measurement in whole units?",
            (
                _COUNTS,
                Answer("a measurement", _MEASURED, {"task": "regression"}),
                Answer("classes", _CLASS, {"task": "multiclass"}),
            ),
        )
        return Decision("count", questions=(question,))
    question = Question(
        f"{name} holds whole numbers from {low:g} to {high:g}, with a variance {ratio:.3g} times the mean: measured or counted?",
        (Answer("measured", _MEASURED, {"task": "regression"}, taken=True), Answer("counted", _COUNTED, {"task": "count"})),
    )
    return Decision("regression", questions=(question,))


def _signed(name: str, known: Tensor, values: Tensor) -> Decision:
    if values.tolist() in ([-1.0, 0.0, 1.0],) or (len(values) <= 7 and _steps(values) and len(known) >= 10 * len(values)):
        question = Question(
            f"{name} takes the {len(values)} values {values[0]:g} to {values[-1]:g}: classes, or steps of one scale?",
            (_CLASSES, Answer("steps", _MEASURED, {"task": "regression"})),
        )
        return Decision("multiclass", questions=(question,))
    return Decision("regression")


def _steps(values: Tensor) -> bool:
    """Neighbours are 1 apart."""
    return bool((values.diff() == 1).all())


def _looks_counted(known: Tensor, values: Tensor) -> bool:
    """Whether few whole numbers fall off like counts: 0 or 1 among them, one peak, and a tail that thins out or has gaps."""
    late = float(values[0]) > 1  # classes are numbered from 0 or 1
    if len(values) < (8 if late else 4) or len(known) < 2 * len(values):
        return False
    counts = torch.bincount((known - values[0] if late else known).long()).double()
    # zeros may have a heap of their own
    return _falls_off(counts) or (len(values) > 4 and float(counts[0]) > 0 and _falls_off(counts[1:]))


def _falls_off(counts: Tensor) -> bool:
    """One peak, and an end where no more was to be expected: classes end abruptly, counts run out."""
    peak = int(counts.argmax())
    # three standard errors for each step: it falls by chance, not smoothly
    slack = 3 * counts[:-1].clamp(min=1).sqrt() + 3
    steps = counts.diff()
    smooth = bool((steps[peak:] <= slack[peak:]).all()) and bool((steps[:peak] >= -slack[:peak]).all())
    last, before = float(counts[-1]), float(counts[-2])
    beyond = last * min(1.0, last / max(before, 1.0))  # the next one, if the last ratio holds
    return smooth and beyond < UNSEEN and last <= 0.05 * float(counts[peak]) + 1


def _classes_question(name: str, values: Tensor) -> Question:
    some = f"{values[0]:g} to {values[-1]:g}" if _steps(values) else ", ".join(f"{v:g}" for v in values.tolist())
    return Question(
        f"{name} holds the whole numbers {some}: are they classes, steps of one scale, or counts?",
        (
            _CLASSES,
            Answer("steps of one scale (a miss by two costs more than by one)", _MEASURED, {"task": "regression"}),
            Answer("counts", _COUNTED, {"task": "count"}),
        ),
    )


def _real(name: str, known: Tensor, values: Tensor) -> Decision:
    """Numbers with fractions: a share of a yes where they fill 0 to 1, else a measurement."""
    low, high = float(values[0]), float(values[-1])
    if low < 0 or high > 1:
        return Decision("regression")
    # scaled to its own smallest and largest value: each of them comes once
    scaled = low == 0 and high == 1 and int((known == 0).sum()) == 1 and int((known == 1).sum()) == 1
    task = "binary" if low < 0.1 and high > 0.9 and not scaled else "regression"
    answers = (
        Answer("shares of a yes", "each is the probability of a yes", {"task": "binary"}, taken=task == "binary"),
        Answer("a measurement", _MEASURED, {"task": "regression"}, taken=task == "regression"),
    )
    question = Question(f"{name} lies between {low:.3g} and {high:.3g}: shares of a yes, or a measurement?", answers)
    return Decision(task, questions=(question,))
