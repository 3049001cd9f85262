"""D114: sequences too short for their targets."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["ctc_cannot_align"]

SHOWN = 5  # samples named in the sentence


@finding("D114", severity="error", phases=("before", "during"), explains=("D301", "D304", "D401", "D505", "D217", "D218", "D303"))
def ctc_cannot_align(evidence: Evidence) -> Iterator[Hit]:
    """A target of CTC is longer than its input allows, or contains the blank.

    Cause:       CTC puts a blank between equal neighbours: T frames can hold U labels only if T >= U + repeats. Otherwise no
                 path exists, the loss is infinite and its gradient NaN; zero_infinity=True sets it to 0 and such samples are
                 silently not learned.
    Rule:        Some sample has input_length < target_length + (equal neighbours), or a target within its length is the blank.
                 A warning with zero_infinity=True if it is fewer than half of the samples.
    Silent when: every target fits.
    Fix:         Less subsampling before the loss, leave such samples out, or correct input_lengths (after the strides of
                 convolutions). Blank: labels must not use it (0 unless blank= says another).
    Confirm:     F.ctc_loss(..., reduction="none") is finite for every sample.
    Reference:   Graves et al. 2006, section 3; torch.nn.CTCLoss, zero_infinity.
    Example:
        F.ctc_loss(log_probs, torch.tensor([[1, 1, 1]]), [4], [3])   # sick: 3 labels and 2 repeats need 5 frames
        F.ctc_loss(log_probs, torch.tensor([[1, 1, 1]]), [5], [3])   # healthy
    """
    for call in evidence.calls:
        if call.name == "ctc_loss" and "log_probs" in call.tensors and "targets" in call.tensors:
            hit = _short(call) or _blanks(call)
            if hit is not None:
                yield hit


def _short(call: LossCall) -> Hit | None:
    rows = _rows(call)
    frames = _numbers(call, "input_lengths")
    if len(rows) != len(frames) or not rows:
        return None
    need = [len(row) + int((row[1:] == row[:-1]).sum()) for row in rows]
    bad = [i for i, (have, want) in enumerate(zip(frames, need, strict=True)) if have < want]
    if not bad:
        return None
    first = bad[0]
    places = ", ".join(str(i) for i in bad[:SHOWN]) + (", ..." if len(bad) > SHOWN else "")
    said = (
        f"{len(bad)} of {len(rows)} samples are too short for CTC: sample {first} has {frames[first]} frames and "
        f"needs {need[first]} "
        f"({len(rows[first])} labels and {need[first] - len(rows[first])} repeats)"
    )
    numbers = {"samples": len(rows), "too short": len(bad), "first": first, "frames": frames[first], "needed": need[first]}
    hidden = bool(call.options.get("zero_infinity")) and len(bad) * 2 < len(rows)
    where = f"{call.where}, samples {places}" if call.where else f"samples {places}"
    return Hit(said, numbers, where=where, severity="warning" if hidden else None)


def _blanks(call: LossCall) -> Hit | None:
    rows = _rows(call)
    blank = int(call.options.get("blank", 0))
    bad = [i for i, row in enumerate(rows) if bool((row == blank).any())]
    if not bad:
        return None
    said = f"the targets of {len(bad)} of {len(rows)} samples hold the blank {blank} within their lengths, first sample {bad[0]}"
    return Hit(said, {"samples": len(rows), "with a blank": len(bad), "blank": blank}, where=call.where)


def _rows(call: LossCall) -> list[Tensor]:
    """The labels of each sample, whether they came as a table or in one row; [] where the lengths do not fit."""
    targets, lengths = call.tensors["targets"], _numbers(call, "target_lengths")
    if targets.dim() == 2 and len(lengths) == len(targets):
        return [row[:n] for row, n in zip(targets, lengths, strict=True)]
    if targets.dim() == 1 and sum(lengths) <= len(targets):
        ends = torch.tensor([0, *lengths]).cumsum(0).tolist()
        return [targets[a:b] for a, b in pairwise(ends)]
    return []


def _numbers(call: LossCall, name: str) -> list[int]:
    value: Any = call.tensors.get(name, call.options.get(name, ()))
    return [int(v) for v in (value.reshape(-1).tolist() if isinstance(value, Tensor) else value)]
