"""D113: kl_div of numbers that are no log-probabilities, or averaged over elements."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from ..evidence import Evidence
from ..evidence.calls import LossCall
from ..finding import Hit, finding

__all__ = ["kl_div_of_wrong_numbers"]

LARGEST_GAP = 1e-2  # of a sum of probabilities in half precision


@finding(
    "D113",
    severity="error",
    phases=("before", "during"),
    explains=("D102", "D401", "D402", "D403", "D405", "D505", "D217", "D218"),
)
def kl_div_of_wrong_numbers(evidence: Evidence) -> Iterator[Hit]:
    """torch's kl_div gets something else than log-probabilities and probabilities.

    Cause:       F.kl_div(input, target) is sum target (log target - input): input must be logarithms of probabilities. Of
                 scores or probabilities it is no divergence, has no floor and may be negative. With reduction="mean" it divides
                 by all elements, not by the samples: the value is C times too small.
    Rule:        An error where the target has negative values without log_target, or where the target sums to 1 within 0.01
                 along an axis and exp(input) along none. A warning for reduction="mean" of two axes or more, if the numbers
                 themselves are right.
    Silent when: input and target both sum to 1 over the last axis, axis 1, or all axes but the first (heat maps), or target
                 sums to 1 along none (a part of a distribution).
    Fix:         F.kl_div(scores.log_softmax(-1), target, reduction="batchmean"), or losskit.kl_div_loss(student_scores,
                 teacher_scores).
    Confirm:     The value is 0 where input = target.log(), and never negative.
    Reference:   torch.nn.KLDivLoss: "this loss expects the argument input in log-space", and its note on reduction="mean".
    Example:
        F.kl_div(p.softmax(-1), q, reduction="batchmean")       # sick
        F.kl_div(p.log_softmax(-1), q, reduction="batchmean")   # healthy
    """
    for call in evidence.calls:
        input, target = call.tensors.get("input"), call.tensors.get("target")
        if call.name != "kl_div" or input is None or target is None or input.shape != target.shape or input.dim() < 1:
            continue
        if input.numel() < 2 or not bool(torch.isfinite(target).all()) or bool(torch.isnan(input).any()):
            continue
        hit = _wrong(call, input.double(), target.double()) or _mean(call, input)
        if hit is not None:
            yield hit


def _wrong(call: LossCall, input: Tensor, target: Tensor) -> Hit | None:
    logs = bool(call.options.get("log_target", False))
    value = float("nan") if call.value is None or call.value.numel() != 1 else float(call.value)
    if not logs and bool((target < 0).any()):
        lowest, count = float(target.min()), int((target < 0).sum())
        said = (
            f'"target" of kl_div has {count} of {target.numel()} values below 0 (lowest {lowest:.4g}), expected '
            f"probabilities: the loss is {value:.4g}"
        )
        fix = "log_target=True if these are log-probabilities; kl_div(log-probabilities, probabilities) if the two are swapped."
        return Hit(said, {"negative": count, "lowest": lowest, "loss": value}, where=call.where, fix=fix)
    truth = _gap(target.exp() if logs else target)
    gap, plain = _gap(input.exp()), _gap(input)
    if truth > LARGEST_GAP or gap <= LARGEST_GAP:
        return None
    kind = (
        "probabilities without their logarithm" if plain <= LARGEST_GAP and bool((input >= 0).all()) else "no log-probabilities"
    )
    said = (
        f'"input" of kl_div holds {kind}: exp of a row misses the sum 1 by {gap:.4g} (median), the target by {truth:.2g}; '
        f"the loss is {value:.4g}"
    )
    return Hit(said, {"gap of input": gap, "gap of target": truth, "loss": value}, where=call.where)


def _gap(chances: Tensor) -> float:
    """How far sums are from 1, for the axis along which they are nearest to it."""
    ways = (
        [chances.sum(-1)]
        if chances.dim() < 3
        else [chances.sum(-1), chances.sum(1), chances.flatten(1).sum(1), chances.flatten(2).sum(2)]
    )
    return min(float((way - 1).abs().median()) for way in ways)


def _mean(call: LossCall, input: Tensor) -> Hit | None:
    if call.options.get("reduction") != "mean" or input.dim() < 2 or call.value is None or call.value.numel() != 1:
        return None
    if call.slope is not None and call.slope > 1.5:
        return None  # the total multiplies it: the factor is known
    factor, value = input.numel() / input.shape[0], float(call.value)
    said = (
        f'kl_div with reduction="mean" divides by all {input.numel()} elements, not by the {input.shape[0]} '
        f"samples: {value:.4g} in place of "
        f"{value * factor:.4g}"
    )
    return Hit(
        said,
        {"factor": factor, "loss": value, "per sample": value * factor},
        where=call.where,
        severity="warning",
        fix='reduction="batchmean"',
    )
