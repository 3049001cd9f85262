"""D219: one batch is learned within a few steps: the input may hold the answer."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["one_batch_is_learned_at_once"]

FAST = 3  # steps of Adam at 1e-3, each of which moves a weight by 0.001; small nets take about 100

HALF = 0.5  # of the loss of a guess: below it something is known already


@finding("D219", severity="info", phases=("before",))
def one_batch_is_learned_at_once(evidence: Evidence) -> Iterator[Hit]:
    """A few steps of Adam at 1e-3 take nine tenths of the loss away: is the label among the features?

    Cause:       Three steps move each weight by 0.003 at most. That this is enough means that the outputs move a lot for
                 it: a feature that is the label, inputs of large scale, or a very wide model.
    Rule:        From a model that was not pre-trained and starts at half the loss of a guess or above, Adam at 1e-3 comes
                 within a tenth of the floor in at most 3 steps.
    Silent when: settings say that the weights are pre-trained, or the start is at the floor already.
    Fix:         train a linear model on single features: one that alone gives the label must not be in the input.
    Confirm:     without that feature, one batch takes tens of steps.
    Reference:   Kaufman et al. 2012, Leakage in Data Mining, doi:10.1145/2382577.2382579.
    Example:
        x = torch.cat((features, F.one_hot(y)), 1)  # sick
        x = features                                # healthy
    """
    seen = evidence.overfit
    if seen is None or seen.adam is None or evidence.settings.from_scratch is False or not seen.start > seen.floor + 1e-6:
        return
    guess = min((v.value for call in evidence.calls for v in call.levels if v.kind in ("chance", "constant")), default=math.inf)
    if seen.start < HALF * guess:
        return
    if seen.adam.reached and seen.adam.steps <= FAST:
        said = f"{seen.samples} samples are learned in {seen.adam.steps} steps of {seen.adam.optimizer}"
        numbers = {"steps": seen.adam.steps, "start": seen.start, "end": seen.adam.losses[-1]}
        yield Hit(f"{said}: {seen.start:.4g} to {seen.adam.losses[-1]:.4g}", numbers, confidence=0.4)
