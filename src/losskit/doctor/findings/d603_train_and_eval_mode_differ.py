"""D603: the same batch has another loss in eval mode, because batch norm's running moments are not those of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator

from ..evidence import Evidence
from ..finding import Hit, finding

__all__ = ["train_and_eval_mode_differ"]

STEPS = 100  # batches that a running moment has seen: with torch's momentum of 0.1 its start has faded to 3e-5
ERRORS = 3.0  # standard errors over the samples; the moments of the norm are evidence of their own
GAP = 0.5  # of the loss in train mode
SHIFT = 3.0  # running standard deviations between running mean and that of the batch
RATIO = 10.0  # between the variances
ROWS = 32  # values of a channel, or its own moments are noise


@finding("D603", severity="error", phases=("before",), explains=("D601", "D604"))
def train_and_eval_mode_differ(evidence: Evidence) -> Iterator[Hit]:
    """On one and the same batch the loss in eval mode is far above that in train mode: batch norm makes the difference.

    Cause:       In train mode batch norm takes the moments of the batch, in eval mode the running ones. Small or unshuffled
                 batches, momentum near 0 or 1, frozen statistics, or two kinds of data through one norm drive them apart;
                 validation then looks like overfitting.
    Rule:        loss(eval) - loss(train, dropout off) is above half of the latter and above 3 standard errors over the
                 samples, and a batch norm that has counted at least 100 batches differs from the batch (32 values a channel
                 or more) by more than 3 running standard deviations in the mean or 10 times in the variance.
    Silent when: the model is fresh (running moments start at 0 and 1); the gap comes from dropout alone; the loss is lower
                 in eval mode.
    Fix:         larger or shuffled batches, momentum=0.1, nn.GroupNorm in place of batch norm; or estimate the moments anew
                 with torch.optim.swa_utils.update_bn(loader, model).
    Confirm:     both losses on the same batch agree within 10 %.
    Reference:   Ioffe 2017, Batch Renormalization, arXiv:1702.03275.
    Example:
        nn.BatchNorm2d(64, momentum=1.0)  # sick: the last batch alone counts
        nn.BatchNorm2d(64)                # healthy
    """
    modes = evidence.modes
    if (
        modes is None
        or modes.without_dropout is None
        or not (math.isfinite(modes.evaluation) and math.isfinite(modes.without_dropout))
    ):
        return
    gap = modes.evaluation - modes.without_dropout
    if gap <= max(GAP * abs(modes.without_dropout), ERRORS * modes.spread if math.isfinite(modes.spread) else 0.0):
        return
    sick = [n for n in modes.norms if (n.steps or 0) >= STEPS and n.rows >= ROWS and (n.shift > SHIFT or n.ratio > RATIO)]
    if sick:
        worst = max(sick, key=lambda norm: max(norm.shift / SHIFT, norm.ratio / RATIO))
        said = (
            f"the same batch has a loss of {modes.without_dropout:.4g} in train mode and {modes.evaluation:.4g} in eval mode: "
            f'the running mean of "{worst.name}" is {worst.shift:.1f} deviations off, the variance {worst.ratio:.1f} times'
        )
        numbers = {"train": modes.without_dropout, "evaluation": modes.evaluation, "shift": worst.shift, "ratio": worst.ratio}
        yield Hit(said, numbers, where=worst.name)
