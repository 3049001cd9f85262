"""D119: the loss grows with the batch."""

from __future__ import annotations

from collections.abc import Iterator

from ..before.labels import classes_of
from ..before.optimizers import ignores_scale
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["sum_in_place_of_mean"]

WHOLE = 0.05  # relative gap between the slope of a plain sum and the one that is seen
FEWEST = 4  # samples; a sum over two is a factor that any learning rate takes


@finding("D119", severity="warning", phases=("before", "during"), explains=("D215", "D309", "D401", "D501"))
def sum_in_place_of_mean(evidence: Evidence) -> Iterator[Hit]:
    """The loss is a sum over the samples and nothing divides it.

    Cause:       With a sum over N samples (tokens, pixels) the gradient is N times that of the mean: the learning rate is in
                 effect N times as large, it changes with the batch size and with a last batch that is smaller, and clipping
                 bites N times earlier.
    Rule:        The one loss of the batch is called with reduction="sum", or with "none" and then summed, over 4 samples or
                 more, and the total rises by as much as the sum does (within 5 %). Info with an optimizer whose steps do not
                 depend on the scale of the gradient (Adam and its relatives), with none known, or where several losses are
                 summed alike.
    Silent when: the sum is divided afterwards (by samples, tokens or accumulation steps), or reduction is "mean".
    Fix:         reduction="mean", or divide by the number of samples (or tokens) that count.
    Confirm:     The loss of the batch given twice is the same; now it is double.
    Reference:   torch.nn.CrossEntropyLoss, reduction.
    Example:
        F.cross_entropy(model(x), y, reduction="sum")            # sick
        F.cross_entropy(model(x), y, reduction="sum") / len(y)   # healthy
    """
    calls = [call for call in evidence.calls if call.home != "written" and call.slope]
    summed = [(call, samples) for call in calls if (samples := _summed(call)) >= FEWEST]
    if not summed or len(summed) < len(calls):
        return
    optimizer = "" if evidence.wiring is None else evidence.wiring.optimizer
    sure = len(summed) == 1 and optimizer != "" and not ignores_scale(optimizer)
    for call, samples in summed:
        terms = _terms(call) or samples
        over = f"{samples} samples" if terms == samples else f"{terms} numbers of {samples} samples"
        said = f"{call.name} is summed over {over} and not divided: its gradient is {terms} times that of the mean"
        numbers = {"samples": samples, "terms": terms, "slope": float(call.slope or 0)}
        yield Hit(said, numbers, where=call.where, severity=None if sure else "info")
        return


def _terms(call: LossCall) -> int:
    """How many numbers the sum has: labels that count, or elements; 0 where nobody knows."""
    found = classes_of(call)
    if found is not None:
        return int(found.counted.sum())
    return 0 if call.per_sample is None else call.per_sample.numel()


def _summed(call: LossCall) -> int:
    """Over how many samples a call is summed in the total; 0 if it is not."""
    reduction, slope = call.options.get("reduction"), abs(call.slope or 0.0)
    first = next((call.tensors[n] for n in ("target", "input", "anchor", "input1", "query") if n in call.tensors), None)
    samples = 0 if first is None or first.dim() == 0 else first.shape[0]
    if reduction == "sum":
        return samples if abs(slope - 1) <= WHOLE else 0
    if reduction == "none" and call.value is not None and call.value.dim() > 0:
        many = call.value.numel()
        return samples if abs(slope - many) <= WHOLE * many else 0
    return 0
