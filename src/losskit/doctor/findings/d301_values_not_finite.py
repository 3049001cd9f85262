"""D301: a value that is not finite comes in with the batch, or the loss is not finite and nothing more is known."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch

from ..evidence import Evidence
from ..evidence.replay import Replay
from ..evidence.run import Run, Series
from ..finding import Hit, Severity, finding

__all__ = ["values_not_finite"]

FEW = 0.05  # share of bad points after the first: below, and with finite ones after them, steps were skipped, the run lives
_KNOWN = ("weight", "buffer", "forward", "loss", "backward", "optimizer")  # other rules speak of these

_LOG = (
    "The log says when, not why: data, a label, one operation or an overflow. Run losskit.doctor.check(model, batch, loss_fn) on "
    "the batch of step {step}, or go on from the checkpoint before it with losskit.doctor.Monitor(model, optimizer, loss_fn) and "
    "monitor.step(loss, batch=batch): they name the entry, the operation and its line."
)
_REPLAY = (
    "Give the batch: monitor.step(loss, batch=batch), and Monitor(..., loss_fn) or step=: the first bad batch is then run again, "
    "and the entry, the operation and its line are named. With the indices of the samples in the batch as well, the bad one can "
    "be found in the data set: batch=(input, target, index), step=lambda model, batch: loss_fn(model(batch[0]), batch[1])."
)


@finding(
    "D301", severity="error", phases=("before", "during", "after"), explains=("D205", "D217", "D303", "D304", "D505", "D904")
)
def values_not_finite(evidence: Evidence) -> Iterator[Hit]:
    """An input, a target or the loss is NaN or infinite.

    Cause:       Data, a label or one operation made it. A NaN in one entry of one sample makes the mean over the batch NaN, the
                 gradient of every weight NaN, and after one step every weight. An infinite feature does the same by inf - inf
                 and 0 * inf. Optimizers do not look.
    Rule:        Before and during: the loss or a gradient of the batch is not finite, an entry of the batch holds NaN or an
                 infinity, and with finite values of the same tensor in its place loss and gradients are finite. Or the loss is
                 not finite and the batch cannot be replayed. After: a train loss, else an eval loss, that is not finite; a
                 warning where at most 5 % of the points after the first are and the last one is finite.
    Silent when: loss and gradients are finite although the batch holds NaN (masked targets), -inf in a mask of attention, or NaN
                 only at the steps of an evaluation: rows of a table without a train loss, which are most of those with an
                 evaluation, beside rows without one.
    Fix:         Look at the named entry and drop or repair it where the data set is made: assert
                 torch.isfinite(batch_entry).all() in the collate function; divide by a standard deviation only where it is above
                 0; replace missing labels by a mask, e.g. losskit.mse_loss(input, target, mask=~target.isnan()). A sample is
                 counted within its batch: have the data set return the index too, and give monitor.step(loss, batch=(input,
                 target, index)) with Monitor(..., step=lambda model, batch: loss_fn(model(batch[0]), batch[1])); then
                 index[sample] is the row of the data set.
    Confirm:     torch.isfinite(entry).all() is False for the named entry; with that sample left out the same batch has a finite
                 loss.
    Reference:   pytorch/pytorch issue 160016; huggingface/trl issue 6702 (a corrupted run reports a clean loss).
    Example:
        x = (x - x.mean(0)) / x.std(0)                   # sick where a column is constant: 0 / 0
        x = (x - x.mean(0)) / x.std(0).clamp(min=1e-6)   # healthy
    """
    replay = evidence.replay
    if replay is not None and replay.kind in ("input", "target"):
        yield _entry(replay)
    elif replay is None or replay.kind not in _KNOWN:
        yield from _loss(evidence)


def _entry(replay: Replay) -> Hit:
    sample = "" if replay.sample is None else f", all in sample {replay.sample}"
    said = (
        f'the {replay.kind} "{replay.name}" holds {replay.value} at {list(replay.index)}: {replay.bad} of {replay.numel} values '
        f"are not finite{sample}; with finite ones in their place the loss and its gradient are finite"
    )
    numbers = {"bad": float(replay.bad), "numel": float(replay.numel)}
    if replay.sample is not None:
        numbers["sample"] = float(replay.sample)
    return Hit(said, numbers, where=f"batch[{replay.name}]", step=replay.step)


def _loss(evidence: Evidence) -> Iterator[Hit]:
    total, probes = evidence.total, evidence.probes
    if evidence.phase == "before":
        if total is not None and not math.isfinite(total):
            yield _of_batch(evidence, total)
    elif evidence.phase == "during" and probes is not None:
        if probes.first_bad is not None and probes.first_bad[1] == "loss":
            step = probes.first_bad[0]
            said = f"the loss of step {step} is not finite; the batch could not be replayed to find where it begins"
            yield Hit(said, {"step": float(step)}, step=step, confidence=0.8, fix=_REPLAY)
    elif evidence.run is not None:
        yield from _of_log(evidence.run)


def _of_batch(evidence: Evidence, total: float) -> Hit:
    tensors = evidence.batch.tensors if evidence.batch is not None else {}
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            said = f'the loss is {total}, and {bad} of {tensor.numel()} values of the entry "{name}" of the batch are not finite'
            return Hit(said, {"bad": float(bad), "numel": float(tensor.numel())}, where=f"batch[{name}]", confidence=0.9)
    return Hit(f"the loss of the batch is {total}", {"loss": total}, confidence=0.8)


def _of_log(run: Run) -> Iterator[Hit]:
    train, validation = run.main("train_loss"), run.main("eval_loss")
    for series, what in ((train, "train loss"), (validation, "eval loss")):
        if series is None or not len(series):
            continue
        bad = ~torch.isfinite(series.values)
        if not bool(bad.any()) or (series is train and _rows_of_evaluations(series, bad, validation)):
            continue
        yield _first(series, bad, what)
        return


def _rows_of_evaluations(train: Series, bad: torch.Tensor, validation: Series | None) -> bool:
    """Whether NaN stands at steps of an evaluation alone, and at most of them: a table that has no train loss in those rows."""
    if validation is None or bool(torch.isinf(train.values).any()) or not bool(torch.isfinite(train.values[~bad]).any()):
        return False
    shared = torch.isin(train.steps, validation.steps)
    usual = 2 * int((bad & shared).sum()) > int(shared.sum()) and not bool(shared.all())  # else a train loss stands in each row
    return usual and not bool((bad & ~shared).any()) and bool((~bad)[bad.nonzero()[0] :].any())


def _first(series: Series, bad: torch.Tensor, what: str) -> Hit:
    at = int(bad.nonzero()[0])
    step, count, after = int(series.steps[at]), int(bad.sum()), len(series) - at
    before = f", after {float(series.values[at - 1]):.4g} at step {int(series.steps[at - 1])}" if at else ""
    lives = count <= max(1.0, FEW * after) and after > 1 and not bool(bad[-1])
    end = "the others are finite again" if lives else f"{count} of the {after} points from there on are not finite"
    value = float(series.values[at])
    count_all = f"{count} in all, " if lives else ""
    said = f'the {what} "{series.name}" is {value} for the first time at step {step}{before}: {count_all}{end}'
    numbers = {"step": float(step), "bad": float(count), "after": float(after)}
    level: Severity = "warning" if lives else "error"
    return Hit(said, numbers, where=series.name, step=step, severity=level, confidence=0.9, fix=_LOG.format(step=step))
