"""D604: the training loss falls far below chance and no evaluation ever does."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..evidence.run import Run
from ..finding import Hit, finding
from ..statistics.blocks import median
from ..statistics.evaluations import evaluations

__all__ = ["evaluation_never_below_chance"]

CHANCE = 0.97  # of chance: no evaluation is below
FITS = 0.6  # of chance: the training loss is
PASSING = 0.95  # of chance: where the training loss was on its way down when an evaluation was taken


@finding("D604", severity="error", phases=("during", "after"), explains=("D601",))
def evaluation_never_below_chance(evidence: Evidence) -> Iterator[Hit]:
    """The training loss falls far below chance and no evaluation ever does.

    Cause:       What is learned in training says nothing about the evaluation set: its labels are mapped differently
                 (another order of the class names), are shuffled against the inputs, or its inputs are prepared in another
                 way. Or the training labels are random and are learned by heart.
    Rule:        At least 3 evaluations, the lowest at 97 % of chance (ln C) or above, and the training loss beside the last
                 three below 60 % of it. An error if an evaluation was taken while the training loss passed between 60 % and
                 95 % of chance, a warning if not: a small data set may be learned by heart before the first evaluation.
    Silent when: chance is not known (no number of classes), or one evaluation was below 97 % of it.
    Fix:         Compare class_to_idx (or label2id) of both sets, and look at ten evaluation examples with their labels as
                 the model gets them. Use one function that prepares inputs for both.
    Confirm:     Evaluate on a hundred training examples through the evaluation code: far below chance means that the sets
                 differ, chance means that the code does.
    Reference:   Zhang et al. 2017, arXiv:1611.03530 (networks learn random labels by heart).
    Example:
        ImageFolder("val"), one class folder missing: every index after it is off by one   # sick
        assert train.class_to_idx == val.class_to_idx                                      # healthy
    """
    found, chance = evaluations(evidence.run), _chance(evidence.run)
    if found is None or chance is None:
        return
    best, training = float(found.values.min()), median(found.train[-3:])
    if best < CHANCE * chance or not training < FITS * chance:
        return
    passing = bool(((found.train > FITS * chance) & (found.train < PASSING * chance)).any())
    count = found.values.numel()
    said = f"no evaluation of {count} is below {best:.4g} (chance is {chance:.4g}), while the training loss is {training:.4g}"
    numbers = {"best": best, "chance": chance, "training": training, "evaluations": float(count)}
    yield Hit(
        said, numbers, step=int(found.steps[0]), severity=None if passing else "warning", confidence=0.9 if passing else 0.6
    )


def _chance(run: Run | None) -> float | None:
    """From the levels, or ln of the number of classes."""
    if run is None:
        return None
    named = [level.value for level in run.levels if level.kind == "chance" and level.value > 0]
    classes = run.facts.get("num_classes", run.facts.get("num_labels"))
    if named:
        return min(named)
    return math.log(classes) if isinstance(classes, int) and classes > 1 else None
