"""D116: the targets are so large that the optimizer's steps do not get there."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.overfit import progress
from ..before.regression import outsized
from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["target_scale_is_out_of_reach"]

LEAST = 0.5  # of the way to the floor on one batch in 200 steps: on its way


@finding("D116", severity="warning", phases=("before",), explains=("D217", "D218", "D401", "D504"))
def target_scale_is_out_of_reach(evidence: Evidence) -> Iterator[Hit]:
    """The targets are a hundred times the outputs or more, and the optimizer does not get there on one batch.

    Cause:       A fresh model puts out values around 1. Adam moves every weight by about lr a step, whatever the loss is:
                 to targets of 1e5 it needs millions of steps. SGD's step grows with the targets instead, and diverges.
    Rule:        A regression loss whose targets have a root mean square above 100 times that of the outputs (above 100, where
                 those are below 1: a last layer may start small), and the user's optimizer (without one, Adam 1e-3) has made
                 less than half of the way to the floor on one batch. Without that trial it is info.
    Silent when: the targets are within 100 times the outputs, or below 100. Where the optimizer learns the batch all the same
                 (a larger learning rate compensates), or the time ran out, it is only noted as info.
    Fix:         train on (y - y.mean()) / y.std(), with the moments of the training data, and scale the predictions back.
    Confirm:     the loss at the start is about 1 with standardised targets under the mean squared error.
    Reference:   Bishop, Neural Networks for Pattern Recognition, 1995, section 8.2.
    Example:
        F.mse_loss(model(x), price)                            # sick: prices of 250000
        F.mse_loss(model(x), (price - 250_000) / 80_000)       # healthy
    """
    for call in evidence.calls:
        sizes = outsized(call)
        if sizes is None:
            continue
        large, small = sizes
        tried = evidence.overfit
        trial = None if tried is None else tried.own or tried.adam
        numbers = {"target": large, "output": small, "ratio": large / max(small, 1e-12)}
        said = f"the targets are {numbers['ratio']:.3g} times as large as the outputs ({large:.4g} against {small:.4g})"
        if tried is None or trial is None:
            yield Hit(said, numbers, where=call.where, severity="info")
            continue
        made = progress(trial.losses, tried.floor)
        numbers["made"] = made
        sick = not trial.reached and made < LEAST and not tried.out_of_time
        after = f": {trial.optimizer} has come {max(made, 0):.1%} of the way on one batch in {trial.steps} steps"
        yield Hit(said + after, numbers, where=call.where, severity="warning" if sick else "info")
