"""Columns to a problem: classes as indices, words one-hot; and inputs standardised with what a fold's training rows know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from ..columns import Columns
from ..inputs_said import inputs_said
from ..profile_rows import telling
from ..targets import encode
from .problem import Problem

__all__ = ["NO_CLASSES", "problem_of", "standardised"]

MOST_CLASSES = 10_000  # 30 models side by side: 300 MiB of scores in each batch
WIDEST = 500  # inputs of a small model
NO_CLASSES = 'a proof for embedding needs one class a row in "target"; pairs and triplets are compared on your own encoder'


def problem_of(columns: Columns, task: str, num_classes: int | None = None, want: str = "") -> Problem:
    """What is to be learned, of the rows whose target is known; ``num_classes`` where there are more classes than rows show.

    Raises:     ValueError where there are no inputs, or a target that a small model cannot be asked for.
    """
    if not columns.targets:
        raise ValueError(NO_CLASSES)
    columns, unused = _honest(columns)
    target = encode(columns, task, num_classes)
    values, classes = target.values, len(target.classes)
    if task == "binary" and not target.soft:
        values = values.long()
    elif task in ("multilabel", "multiclass") and values.is_floating_point():
        values = values.float()
    elif task not in ("binary", "multiclass", "multilabel", "embedding") and values.ndim > 1:
        raise ValueError(f'a proof trains for one number, and "target" has {values.shape[1]}: name one of them')
    if task == "embedding" and values.ndim > 1:
        raise ValueError(NO_CLASSES)
    if classes > MOST_CLASSES and task in ("multiclass", "multilabel"):
        raise ValueError(
            f"a proof trains for at most {MOST_CLASSES:,} classes, and there are {classes:,}: prove it on some of them"
        )
    if task == "ranking":
        # NDCG is of relevance from 0 on, and the first relevant one is above the lowest grade; the losses of a list do not mind
        values = values - (values.min() if want == "first" else values.min().clamp(max=0))
    inputs, said = _inputs(columns, target.rows, unused)
    return Problem(task, inputs, values, classes, target.groups, said)


def _honest(columns: Columns) -> tuple[Columns, dict[str, str]]:
    """The columns without inputs that would decide the proof by themselves, and why each of those is away."""
    unused = telling(columns)
    return replace(columns, inputs=tuple(c for c in columns.inputs if c.name not in unused)), unused


def _inputs(columns: Columns, rows: Tensor, unused: Mapping[str, str]) -> tuple[Tensor, str]:
    """(N, D) float32 of some rows: numbers, NaN where missing, then a column for each word; and a line on what they are."""
    columns = columns.take(rows)
    features = columns.features()
    left_out = {**unused, **features.left_out}
    if not features.width:
        why = "; ".join(f"{name}: {reason}" for name, reason in left_out.items())
        raise ValueError(
            "a proof trains a small model, and there are no inputs to train on"
            + (f" ({why})" if why else ': pass a table, or "inputs" beside the target')
        )
    if features.width > WIDEST:
        raise ValueError(f'"inputs" are {features.width:,} numbers a row, a proof takes {WIDEST}: name fewer columns in "inputs"')
    words = [
        one_hot(codes + 1, len(levels) + 1)[:, 1:]  # a missing word is a row of zeros
        for codes, levels in zip(features.categories.unbind(1), features.levels, strict=True)
    ]
    inputs = torch.cat([_sized(features.numbers), *(w.float() for w in words)], 1)
    if not bool((inputs.nan_to_num(2) != inputs[:1].nan_to_num(2)).any()):
        raise ValueError("a proof trains a small model, and no input varies: there is nothing to learn from")
    blanks = ["blanks filled with the median and flagged"] if bool(inputs.isnan().any()) else []
    blanks += ["a blank word all zeros"] if bool((features.categories < 0).any()) else []
    return inputs, inputs_said(columns, left_out, blanks)


def _sized(numbers: Tensor) -> Tensor:
    """Around 0 and within 1, of which standardising leaves no trace: float32 holds neither 1e40 nor the digits behind 1e9."""
    if not numbers.numel():
        return numbers.float()
    for middle in (torch.zeros(numbers.shape[1], dtype=numbers.dtype), None):
        numbers = numbers - (numbers.nanmedian(0).values.nan_to_num(0) if middle is None else middle)
        largest = numbers.abs().nan_to_num(0).amax(0)
        numbers = numbers / torch.where(largest > 0, largest, 1)
    return numbers.float()


def standardised(inputs: Tensor, train: Tensor, mask: Tensor | None) -> Tensor:
    """Inputs as the model sees them: missing ones are the median, with an input that says so; then mean 0 and variance 1.

    Median, mean and deviation are those of the training units alone. ``mask`` (U, L) is True where a list has an item.
    """
    seen = inputs[train] if mask is None else inputs[train][mask[train]]
    missing = inputs.isnan()
    median = seen.nanmedian(0).values.nan_to_num(0)
    filled = torch.where(missing, median, inputs)
    wanted = seen.isnan().any(0)  # a column that is never missing needs no indicator
    wide = torch.cat([filled, missing[..., wanted].to(filled.dtype)], -1)
    rows = wide[train] if mask is None else wide[train][mask[train]]
    deviation = rows.std(0, correction=0)
    scaled = (wide - rows.mean(0)) / torch.where(deviation > 1e-6 * rows.abs().amax(0).clamp(min=1e-30), deviation, 1)
    # what lies beyond ten deviations is an error of measurement: it must not decide which loss is better
    return scaled.clamp(-10, 10)
