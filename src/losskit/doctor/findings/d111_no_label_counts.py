"""D111: there is nothing to learn in the batch: every label is ignored."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..before.labels import classes_of
from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..evidence.probes import Look
from ..finding import Hit, Severity, finding

__all__ = ["no_label_counts"]

FEWEST = 0.01  # share of labels that count; masked language models have 0.15, answers after long prompts some hundredths
LOOKS = 2  # one batch without labels may be an odd one
ENOUGH = 500  # labels before a share of 1 % is a number at all


@finding(
    "D111",
    severity="error",
    phases=("before", "during"),
    explains=("D202", "D301", "D304", "D310", "D401", "D402", "D405", "D505", "D209", "D217", "D218", "D303"),
)
def no_label_counts(evidence: Evidence) -> Iterator[Hit]:
    """Every label is ignored, every element masked, or nearly so.

    Cause:       The mean over nothing is 0 / 0: torch returns NaN and poisons the weights, losskit returns 0. Labels are lost
                 where the padding id is also a real id, a prompt fills the whole window, or a mask is inverted.
    Rule:        An error where no label, no mask entry and no weight of a call counts; a warning where fewer than 1 % of at
                 least 500 class labels do. Live also a warning where no label counts in two of the batches looked at, an error
                 if it is all of them.
    Silent when: some labels count, or labels are class probabilities without a mask.
    Fix:         Leave such samples out of the data, or sum the losses and divide by max(count, 1). Check ignore_index and the
                 mask's sense (True = counts in losskit).
    Confirm:     (target != ignore_index).sum() is above 0 in each batch.
    Reference:   pytorch/pytorch #70348, #75181.
    Example:
        F.cross_entropy(scores, torch.full((8,), -100))     # sick: NaN
        F.cross_entropy(scores, torch.tensor([-100, 3]))    # healthy
    """
    seen = [hit for call in evidence.calls if (hit := _classes(call) or _masked(call)) is not None]
    yield from seen
    if not seen and evidence.probes is not None:
        yield from _later(evidence.probes.looks)


def _later(looks: Sequence[Look]) -> Iterator[Hit]:
    """Of a live run, whose first calls had labels that count."""
    told = [look for look in looks if look.supervised is not None]
    empty = [look for look in told if look.supervised == 0]
    if len(empty) < LOOKS:
        return
    said = f"no label counts in {len(empty)} of {len(told)} batches looked at, the first at step {empty[0].step}"
    severity: Severity | None = None if empty == told else "warning"
    yield Hit(said, {"empty": len(empty), "looks": len(told)}, step=empty[0].step, severity=severity)


def _classes(call: LossCall) -> Hit | None:
    found = classes_of(call)
    if found is None or len(found.labels) == 0:
        return None
    labels, counted = len(found.labels), int(found.counted.sum())
    numbers = {"labels": labels, "counted": counted}
    if counted == 0:
        value = float("nan") if call.value is None or call.value.numel() != 1 else float(call.value)
        said = f"0 of {labels} labels of {call.name} count, all are ignore_index {found.ignore_index}: the loss is {value:.4g}"
        return Hit(said, numbers, where=call.where)
    if labels < ENOUGH or counted >= FEWEST * labels:
        return None
    said = (
        f"{counted} of {labels} labels of {call.name} count ({100 * counted / labels:.2g} %), the others are ignore_index "
        f"{found.ignore_index}"
    )
    return Hit(said, numbers, where=call.where, severity="warning")


def _masked(call: LossCall) -> Hit | None:
    for name in ("mask", "weight"):
        tensor = call.tensors.get(name)
        classes = name == "weight" and classes_of(call) is not None  # class weights are another finding's
        if tensor is not None and tensor.numel() > 0 and not classes and not bool((tensor != 0).any()):
            return Hit(
                f'all {tensor.numel()} entries of "{name}" of {call.name} are 0: nothing counts',
                {"entries": tensor.numel()},
                where=call.where,
            )
    return None
