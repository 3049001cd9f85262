"""D602: evaluations are better than the training loss."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..finding import Hit, finding
from ..statistics.blocks import median
from ..statistics.evaluations import evaluations
from ..statistics.noise import noise

__all__ = ["evaluation_below_training"]

BELOW = 0.05  # of the training loss
SIGMAS = 3.0
LEAST = 3


@finding("D602", severity="info", phases=("during", "after"))
def evaluation_below_training(evidence: Evidence) -> Iterator[Hit]:
    """Evaluations are better than the training loss.

    Cause:       Dropout, augmentation, label smoothing or mixup make the training loss harder than the evaluation; or the
                 training loss is a mean over an epoch in which the model still improved. Rarely: training examples in the
                 evaluation set.
    Rule:        In each of the last half of the evaluations (3 or more) the evaluation is below the training loss before it
                 and after it, and the median difference is above 5 % of it and 3 times its noise.
    Silent when: the difference is within the noise, or the training loss of the same steps is not known.
    Fix:         None is needed where dropout or augmentation explains it. Otherwise look for duplicates of training
                 examples in the evaluation set.
    Confirm:     Evaluate on the training set in evaluation mode: it should be at or below the evaluation loss.
    Reference:   Srivastava et al. 2014, Dropout, JMLR 15; Google's tuning playbook, on evaluation setup.
    Example:
        train_loss = loss_fn(model.train()(augment(x)), y); eval_loss = loss_fn(model.eval()(x), y)   # the usual reason
    """
    found = evaluations(evidence.run)
    if found is None:
        return
    half = max(LEAST, found.values.numel() // 2)
    lower = torch.where(torch.isnan(found.later), found.train, torch.minimum(found.train, found.later))
    apart = (lower - found.values)[-half:]
    beside = median(lower[-half:])
    if apart.numel() < LEAST or not bool(torch.isfinite(apart).all()) or bool((apart <= 0).any()):
        return
    gap = median(apart)
    if gap <= max(BELOW * abs(beside), SIGMAS * noise(apart)) or math.isnan(gap):
        return
    now = median(found.values[-half:])
    said = f"the evaluation is {now:.4g} where the training loss is {beside:.4g}, in each of the last {half} evaluations"
    yield Hit(said, {"evaluation": now, "training": beside, "gap": gap, "evaluations": float(half)}, step=int(found.steps[-half]))
