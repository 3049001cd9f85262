"""D217: not even one batch can be learned by heart."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..before.overfit import MOST_STEPS, falls_surely, progress
from ..before.regression import is_regression, outsized
from ..evidence import Evidence
from ..evidence.overfit import Anew, Attempt, Overfit
from ..finding import Hit, finding
from ..levels import constant_of_call

__all__ = ["one_batch_cannot_be_learned"]

LITTLE = 0.1  # of the way to the floor: what the frequencies of 10 classes among 32 samples alone can give
CONSTANT = 0.97  # times the loss of the best constant: nothing beyond it was learned
HALF = 0.5  # of the way: who has made more has learned something that is no constant
SHUFFLED = "look for a shuffle or another draw in the loss function: inputs and labels are shuffled together or not at all"
WORTH = 0.05  # of the start: less is not there to be learned


@finding("D217", severity="error", phases=("before",), explains=("D218", "D403", "D505"))
def one_batch_cannot_be_learned(evidence: Evidence) -> Iterator[Hit]:
    """Trained on a few samples alone, the loss does not come down: the fault is in the model or the loss, not in the data.

    Cause:       Any model with more weights than samples can learn 32 of them by heart. If 200 steps of Adam at 1e-3 (and
                 at 1e-4) do not, the gradient does not reach the weights, the output does not hang on the input, or the
                 loss does not want the labels.
    Rule:        The better of the two trials, and that of the user's optimizer, made less than 10 % of the way from the
                 start to the floor in 200 steps; or, where one loss was called, less than half of the way, and stays
                 within 3 % of the loss of the best constant. Or the batch is learned with the same random numbers at every
                 step, and with new ones 200 steps of Adam end as above, while the outputs are the same whatever the random
                 numbers and the loss is not: it shuffles labels or draws what it compares with. A warning where it is not
                 one known loss.
    Silent when: there are more labels than weights; a trial falls slowly but surely (9 of 10 steps go down, more than 0.1 %
                 in all, and in the second half at least half as far as in the first) and is a regression, below the best
                 constant, or of a loss whose constant is not known; the targets of a regression are 100 times the outputs
                 (another finding); the time ran out; the start is already at the floor; mining or adversarial objectives;
                 a loss of losskit whose floor is not known (InfoNCE of 32 pairs at temperature 1 cannot come below 2.5).
    Fix:         look for a detach, a wrong axis, a dead layer or frozen weights; try the loss on the labels themselves: is
                 it low there?
    Confirm:     losskit.doctor.check again: the batch is learned to a tenth of its loss within 200 steps.
    Reference:   Karpathy, A Recipe for Training Neural Networks, 2019: overfit one batch.
    Example:
        loss = F.cross_entropy(model(x.mean(0, keepdim=True).expand_as(x)), y)  # sick: every sample looks the same
        loss = F.cross_entropy(model(x), y)                                     # healthy
    """
    seen = evidence.overfit
    if seen is None or seen.adam is None or evidence.settings.objective is not None:
        return
    ours = (call for call in evidence.calls if call.home == "losskit")
    if any(all(level.kind != "floor" for level in call.levels) for call in ours):  # nobody says how low it could come
        return
    if seen.parameters < seen.labels:  # noise cannot be learned by heart with fewer weights than labels
        return
    if seen.out_of_time or seen.start - seen.floor <= WORTH * abs(seen.start) or not math.isfinite(seen.start):
        return
    if seen.anew is not None:
        yield from _drawn_anew(seen, seen.anew, seen.adam)
    tried = [one for one in (seen.adam, seen.own) if one is not None]
    if any(one.reached for one in tried) or any(one.steps < MOST_STEPS and one is seen.adam for one in tried):
        return
    made = max(progress(one.losses, seen.floor) for one in tried)
    end = seen.start - made * (seen.start - seen.floor)
    constant = min((v.value for call in evidence.calls for v in call.levels if v.kind == "constant"), default=-math.inf)
    if any(outsized(call) for call in evidence.calls):
        return
    if any(falls_surely(one.losses) for one in tried) and _may_be_slow(evidence, end):
        return
    if made < LITTLE or (len(evidence.calls) == 1 and end > CONSTANT * constant > 0 and made < HALF):
        said = f"{seen.samples} samples alone are not learned in {MOST_STEPS} steps: {seen.start:.4g} to {end:.4g}"
        numbers = {"start": seen.start, "end": end, "floor": seen.floor, "made": made, "samples": seen.samples}
        yield Hit(f"{said}, {max(made, 0):.1%} of the way to {seen.floor:.4g}", numbers)


def _drawn_anew(seen: Overfit, anew: Anew, adam: Attempt) -> Iterator[Hit]:
    """A loss whose own random numbers take away what was learned."""
    made, constant = progress(anew.attempt.losses, seen.floor), anew.constant
    end = seen.start - made * (seen.start - seen.floor)
    if anew.attempt.reached or not (made < LITTLE or (constant and end > CONSTANT * constant and made < HALF)):
        return
    said = f"{seen.samples} samples are learned in {adam.steps} steps with the same random numbers at each, but with new ones "
    said += f"the loss goes from {seen.start:.4g} to {end:.4g} in {anew.attempt.steps}: of the same outputs it is "
    said += f"{anew.losses[0]:.4g} and {anew.losses[1]:.4g}"
    numbers = {"start": seen.start, "end": end, "made": made, "samples": seen.samples, "another draw": anew.losses[1]}
    yield Hit(said, numbers, fix=SHUFFLED, severity=None if constant else "warning")


def _may_be_slow(evidence: Evidence, end: float) -> bool:
    """Numbers may be far away; scores that no input reaches creep as surely to the class frequencies, but not below them."""
    if any(is_regression(call) for call in evidence.calls):
        return True
    return all((constant := constant_of_call(call)) is None or end < constant for call in evidence.calls)
