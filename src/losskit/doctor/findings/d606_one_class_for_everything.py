"""D606: the majority class is the answer to everything."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from ..evidence import Evidence
from ..evidence.run import Series
from ..finding import Hit, finding
from ..levels_constant import constant_of_run
from ..levels_standing import hit_of, loss_of_run, stuck
from ..statistics.slope import slope

__all__ = ["one_class_for_everything"]

EVERYTHING = 0.999  # share of the rows for which one class is the highest
OTHERS = 0.02  # share of rows of other classes: below, one answer for everything is nearly right
RARE = 0.01  # the same where the cost of the class frequencies is known for each batch, and the loss is held against that
LOOKS = 3  # in a row
LASTING = 1000  # steps of looks in a row, over half of all, after which it is an error
NOTHING = 0.98  # of the entropy of the classes: the least that an error asks for
LEARNED = 0.01  # of the entropy, within those steps: it learns, if slowly
FRESH = 100  # steps in which a network may well say one thing
KNOWS_NOTHING = (
    0.95  # of the entropy of the classes: below, it ranks the rare class well and never says it aloud, which is no collapse
)


@finding("D606", severity="warning", phases=("during", "after"), explains=("D403", "D504", "D505", "D604"))
def one_class_for_everything(evidence: Evidence) -> Iterator[Hit]:
    """The model answers every input with the same class, and its loss is that of the class frequencies.

    Cause:       With unequal classes the frequencies alone are a fair guess: a loss of H(p), and as much accuracy as the
                 largest class has. The gradient of the rare classes is drowned by that of the frequent one, or the input
                 does not reach the output at all.
    Rule:        In a live run: one class is the highest for >= 99.9 % of the rows in the last 3 looks after step 100, other
                 classes hold >= 2 % of them, and the loss is not below 95 % of H(p). Where one plain cross-entropy is the whole
                 loss and its labels are in the batch: other classes hold >= 1 % by what their frequencies cost, and the mean
                 loss is, by two standard errors, not below 95 % of what the class frequencies so far cost the same batches,
                 and does not fall. An error if it is the same class over 1000 steps and half of the looks, and the loss not
                 below 98 % of H(p). From the log: the loss stands at H(p) of the class frequencies that are known (facts or
                 refs: "prior", "entropy"), see doctor/statistics/level.py.
    Silent when: the loss is clearly below H(p): then the model tells rare from frequent, and a threshold of 1/2 hides it.
                 Classes of equal frequency in a log: that is chance.
    Fix:         First see that the input matters: losskit.doctor.check. Then weight the rare classes (weight= or
                 pos_weight= by inverse frequency), take losskit.focal_loss or losskit.logit_adjusted_loss, and start the
                 last bias at the log of the class frequencies.
    Confirm:     The share of the most predicted class falls below 99.9 %, and the loss below 0.95 H(p).
    Reference:   Lin et al. 2017, arXiv:1708.02002 (prior bias); Menon et al. 2021, arXiv:2007.07314.
    Example:
        F.cross_entropy(model(torch.zeros_like(x)), y)    # sick: with 90 % of one class 0.3251 and accuracy 0.9
        F.cross_entropy(model(x), y)                      # healthy
    """
    hit = _seen(evidence)
    if hit is not None:
        yield hit
        return
    found = stuck(evidence)
    if found is not None and found.owner == "D606":
        yield hit_of(found, evidence, "the model answers with the class frequencies, so that the largest class wins every time")


def _seen(evidence: Evidence) -> Hit | None:
    """From the looks of a live run."""
    looks = [look for look in evidence.probes.looks if look.predicted and look.true] if evidence.probes is not None else []
    looks = looks[-LOOKS:]
    series = loss_of_run(evidence.run) if evidence.run is not None else None
    if len(looks) < LOOKS or looks[0].step < FRESH or series is None or not len(series):
        return None
    top = [max(range(len(look.predicted)), key=look.predicted.__getitem__) for look in looks]
    shares = [look.predicted[c] for look, c in zip(looks, top, strict=True)]
    true, paired = _mean([look.true for look in looks]), _paired(evidence, looks[0].step)
    if len(set(top)) > 1 or min(shares) < EVERYTHING or top[0] >= len(true):
        return None
    loss, entropy, knows = paired or _alone(series, looks[0].step, true)
    if knows or (1 - true[top[0]] < OTHERS if paired is None else entropy < _most_of(RARE, len(true))):
        return None
    said = (
        f"class {top[0]} is the answer to {min(shares):.1%} of the rows since step {looks[0].step} at least, while "
        f"{1 - true[top[0]]:.1%} are of other classes, and the loss {loss:.4f} is not below that of the class frequencies, "
        f"{entropy:.4f}"
    )
    numbers = {
        "class": top[0],
        "share of answers": min(shares),
        "share of the class": true[top[0]],
        "loss": loss,
        "entropy of the classes": entropy,
    }
    lasting = _stands(evidence, top[0]) and loss >= NOTHING * entropy
    return Hit(said, numbers, step=looks[0].step, severity="error" if lasting else None)


def _alone(series: Series, since: int, true: Sequence[float]) -> tuple[float, float, bool]:
    """Median of the loss, entropy of the classes that were looked at, and whether the loss is below it."""
    entropy = -sum(p * math.log(p) for p in true if p > 0)
    tail = series.values[series.steps >= since]
    tail = tail[torch.isfinite(tail)]
    loss = float(tail.median()) if tail.numel() else -math.inf
    return loss, entropy, loss < KNOWS_NOTHING * entropy


def _paired(evidence: Evidence, since: int) -> tuple[float, float, bool] | None:
    """Mean of the loss, of the cost of the class frequencies for the same batches, and whether the loss is below that."""
    run = evidence.run
    series, cost = (None, None) if run is None else (run.main("train_loss"), constant_of_run(run))
    if series is None or cost is None or not torch.equal(series.steps, cost.steps):
        return None
    there = (series.steps >= since) & torch.isfinite(series.values + cost.values)
    losses, costs = series.values[there], cost.values[there]
    if len(losses) < FRESH:
        return None
    apart, entropy = losses - costs, float(costs.mean())
    error = float(apart.std()) / math.sqrt(len(apart))
    trend = slope(apart)
    learns = trend.falls and -trend.value * len(apart) > LEARNED * entropy
    return float(losses.mean()), entropy, learns or float(apart.mean()) - 2 * error < (KNOWS_NOTHING - 1) * entropy


def _most_of(rare: float, classes: int) -> float:
    """The largest entropy of classes one of which has all but so much."""
    return -rare * math.log(rare / max(1, classes - 1)) - (1 - rare) * math.log(1 - rare)


def _stands(evidence: Evidence, one: int) -> bool:
    """Whether that class has been the only answer for long, up to the last look."""
    looks = [look for look in evidence.probes.looks if look.predicted] if evidence.probes is not None else []
    first = len(looks)
    while first and one < len(looks[first - 1].predicted) and looks[first - 1].predicted[one] >= EVERYTHING:
        first -= 1
    count = len(looks) - first
    return 2 * count >= len(looks) and count > 0 and looks[-1].step - looks[first].step >= LASTING


def _mean(rows: Sequence[Sequence[float]]) -> list[float]:
    return [sum(column) / len(rows) for column in zip(*rows, strict=False)]
