"""D402: the loss is lower than it can be."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..finding import Hit, finding
from ..levels import constant_of_call
from ..levels_config import number
from ..levels_standing import loss_of_run
from ..levels_start import ERRORS, start_of

__all__ = ["below_what_is_possible"]

BELOW = 0.5  # of chance: a fresh model gets there by no accident
WINDOW = 40  # points of a log
LASTS = 3  # windows: noise that lasts a hundred steps is below in one
UNDER = 0.05  # of the floor that the user knows
SPREAD = 3.0  # standard errors of the window


@finding("D402", severity="warning", phases=("before", "during", "after"), explains=("D219", "D602"))
def below_what_is_possible(evidence: Evidence) -> Iterator[Hit]:
    """The loss is lower than a model can be that has not seen the answer.

    Cause:       A fresh model cannot be better than guessing, and nobody is better than the noise in the labels. One that is has
                 the answer in its input (a target column among the features, future tokens, the same rows in the prompt), or is
                 not fresh, or the loss is divided by too much.
    Rule:        Before training, with from_scratch=True: the mean loss of the samples is below half of the lesser of chance and
                 the entropy of this batch's class frequencies, by more than 6 standard errors. In a log: the medians of 40
                 points each are, over the last quarter (three of them or more), more than 5 % and 3 standard errors below the
                 floor that the run's facts or refs={"floor": ...} name.
    Silent when: from_scratch was not said; the batch has one class only; no floor was given. Regression: a network that begins as
                 the identity may be near its target.
    Fix:         Take the inputs away (torch.zeros_like) and look at the loss again: it must come back to chance. Then remove the
                 feature that holds the answer.
    Confirm:     With zeros for inputs the loss is at chance, and without the leaking feature it begins there.
    Reference:   Kaufman et al. 2012, "Leakage in Data Mining".
    Example:
        model(torch.cat([x, F.one_hot(y, 10)], 1))   # sick if the model copies: begins at 0.1
        model(x)                                     # healthy: begins at 2.3026
    """
    yield from _before(evidence) if evidence.phase == "before" else _in_a_log(evidence)


def _before(evidence: Evidence) -> Iterator[Hit]:
    if evidence.settings.from_scratch is not True:
        return
    for call in evidence.calls:
        start = start_of(call)
        if start is None:
            continue
        constant = constant_of_call(call)
        possible = min(start.chance, start.chance if constant is None else constant / start.scale)
        if start.mean < BELOW * possible and possible - start.mean > ERRORS * start.error:
            said = (
                f"{call.name} of a fresh model begins at {start.mean:.4f} +- {start.error:.4f} over {start.samples} samples, "
                f"and the best that does not look at its input has {possible:.4f}"
            )
            numbers = {"loss": start.mean, "standard error": start.error, "possible": possible, "samples": start.samples}
            yield Hit(said, numbers, where=call.where)
            return


def _in_a_log(evidence: Evidence) -> Iterator[Hit]:
    run = evidence.run
    series = loss_of_run(run) if run is not None else None
    floor = number(run.facts.get("floor")) if run is not None else None
    if series is None or floor is None or floor <= 0:
        return
    windows = series.finite()
    count = len(windows) // WINDOW
    if not count:
        return
    rows = windows.values[: count * WINDOW].reshape(count, WINDOW)
    middles = rows.median(dim=1).values
    error = 1.2533 * rows.std(dim=1) / WINDOW**0.5
    below = ((1 - UNDER) * floor - middles > 0) & (floor - middles > SPREAD * error)
    last = middles[-max(LASTS, count // 4) :]  # one that wanders comes back, one that knows the answer does not
    if bool(below.any()) and float(last.median()) < (1 - UNDER) * floor:
        first = int(torch.nonzero(below)[0])
        step, middle = int(windows.steps[first * WINDOW]), float(middles[first])
        said = (
            f"{series.name} is {middle:.4f} from step {step} on, and the floor of this task is {floor:.4f}: something tells "
            "the model the answer"
        )
        yield Hit(said, {"median": middle, "floor": floor, "step": step}, where=series.name, step=step)
