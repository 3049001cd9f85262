"""D901: the log shows a loss of 0 where the loss was NaN."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.run import Run, Series
from ..finding import Hit, finding

__all__ = ["log_hides_nan"]

LINES = 2  # a scaler that finds its factor may have one such line
ZEROS = 3  # in a row, to the end, where no gradient norm is there to tell
FELL_FROM = 0.01  # a loss that was below this may have come to 0.0000 in four digits


@finding(
    "D901",
    severity="error",
    phases=("after",),
    explains=("D301", "D302", "D402", "D403", "D404", "D405", "D5xx", "D601", "D602", "D904"),
)
def log_hides_nan(evidence: Evidence) -> Iterator[Hit]:
    """The logged loss is exactly 0 (or repeats) while the gradient is not a number: the true loss is NaN, and the log hides it.

    Cause:       The Trainer of transformers replaces each loss that is not finite by the average of those before it
                 (logging_nan_inf_filter=True, its default). A run whose every loss is NaN is logged as "loss": 0.0 with
                 "grad_norm": NaN.
    Rule:        At 2 lines or more the loss is exactly 0.0, or exactly that of the line before, and the gradient norm of the same
                 step is not finite. Without any gradient norm: the Trainer's log ends with 3 or more losses of exactly 0.0 after
                 one of at least 0.01.
    Silent when: gradient norms that are not finite stand beside losses that go on changing (a gradient scaler that looks for its
                 factor).
    Fix:         TrainingArguments(logging_nan_inf_filter=False), and train again from the last checkpoint whose weights are
                 finite. Then find the first bad value: losskit.doctor.Monitor with on_nonfinite="snapshot" names its op, line and
                 sample.
    Confirm:     With the filter off the same steps are logged as "loss": NaN.
    Reference:   transformers, TrainingArguments.logging_nan_inf_filter; huggingface/trl issue 6702.
    Example:
        {"loss": 0.0, "grad_norm": NaN, "step": 500}    # sick
        {"loss": 0.41, "grad_norm": 1.7, "step": 500}   # healthy
    """
    run = evidence.run
    losses = run.main("train_loss") if run is not None else None
    if run is None or losses is None or not len(losses):
        return
    norms = run.main("grad_norm")
    places = _hidden(losses, norms) if norms is not None and len(norms) else _zero_tail(run, losses)
    count = int(places.numel())
    if count < (LINES if norms is not None and len(norms) else ZEROS):
        return
    step, zeros = int(losses.steps[places[0]]), int((losses.values[places] == 0).sum())
    beside = "while the gradient norm is not finite" if norms is not None and len(norms) else "to the end of the log"
    said = (
        f"{losses.name} is exactly 0 or repeats at {count} lines ({zeros} of them 0.0) from step {step} on, {beside}: the "
        "true loss there is NaN"
    )
    numbers = {"lines": count, "zeros": zeros, "of": len(losses), "step": step}
    # the value that is repeated stands beside the first bad gradient: it is hidden too, and came first
    first = int(places[0]) - 1 if norms is not None and places[0] and bool(_bad(losses, norms)[places[0] - 1]) else int(places[0])
    step = int(losses.steps[first])
    yield Hit(said, numbers, where=losses.name, step=step, confidence=1.0 if norms is not None and len(norms) else 0.8)


def _hidden(losses: Series, norms: Series) -> Tensor:
    """Indices of losses that are 0 or repeat, beside a gradient norm that is not finite."""
    bad = _bad(losses, norms)
    still = losses.values == 0
    still[1:] |= losses.values[1:] == losses.values[:-1]
    # an infinite loss is in plain sight, however often it repeats
    return torch.nonzero(bad & still & torch.isfinite(losses.values)).flatten()


def _bad(losses: Series, norms: Series) -> Tensor:
    """Where a gradient norm that is not finite stands beside the loss."""
    if not len(norms):
        return torch.zeros(len(losses), dtype=torch.bool)
    place = torch.searchsorted(norms.steps.contiguous(), losses.steps.contiguous()).clamp(max=len(norms) - 1)
    return (norms.steps[place] == losses.steps) & ~torch.isfinite(norms.values[place])


def _zero_tail(run: Run, losses: Series) -> Tensor:
    """Indices of the zeros that a log without gradient norms ends with."""
    nothing = torch.zeros(0, dtype=torch.int64)
    if not run.reading.hides_nan:
        return nothing
    other = torch.nonzero(losses.values != 0).flatten()
    first = int(other[-1]) + 1 if other.numel() else 0
    fell = not other.numel() or abs(float(losses.values[other[-1]])) >= FELL_FROM
    return torch.arange(first, len(losses)) if fell else nothing
