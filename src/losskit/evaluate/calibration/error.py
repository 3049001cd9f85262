"""Calibration: whether what a classifier is 80 % sure of is right in 80 % of the cases."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ...core.call import whole_number
from ...core.check import at_least, between, choice
from .confidence import Claim, Given, InputKind, Question, claims, each_class, given
from .reliability import (
    Binning,
    IfCalibrated,
    Norm,
    ReliabilityTable,
    edges_of_equal_mass,
    edges_of_equal_width,
    table_of,
    tally,
)

__all__ = ["IfCalibrated", "ReliabilityTable", "expected_calibration_error", "reliability_table"]


def expected_calibration_error(
    input: Tensor,
    target: Tensor,
    *,
    bins: int = 15,
    norm: Norm = "l1",
    debias: bool = False,
    binning: Binning = "equal_width",
    confidence: Literal["top", "positive", "classwise"] | None = None,
    input_kind: InputKind = "logits",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
) -> Tensor:
    r"""How far a classifier's confidence is from how often it is right, on average over bins of confidence.

    Formula:    \mathrm{ECE} = \sum_b \frac{n_b}{N} |\mathrm{conf}_b - \mathrm{acc}_b|
    Use when:   probabilities are acted upon: thresholds, costs, abstention, several models combined.
    Avoid when: models are to be ranked: a constant predictor can have 0. Use cross_entropy or brier_score, which pay for
                sharpness too.
    Shape:      input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1 -> ()
    Args:
        bins: how many. Bin b holds confidences in ((b-1)/bins, b/bins], the first one 0 too.
        norm: "l1" is the ECE, "l2" the root of the mean square, "max" the largest gap of any bin (MCE).
        debias: for "l2": takes away what chance puts into each bin (Kumar et al.). For the others, see
            ``reliability_table(...).if_calibrated(norm)``: what a perfectly calibrated model would show on as many rows.
        binning: "equal_width", or "equal_mass": as many rows (as much weight) in each, equal confidences kept together.
        confidence: "top": the probability of the predicted class against whether it is right. "positive": that of class 1
            against how often it is 1; binary only, and the default there. "classwise": that of each class against how often it
            is the target, averaged over the classes.
        input_kind: "logits", or "probabilities", which must be in [0, 1] and sum to 1 to three decimals. Never guessed.
        weight: (*) what each row counts for.
        mask: (*) bool, True where a row counts; what is masked may be NaN.
        ignore_index: rows with this target count nothing.
        class_dim: the axis of the classes; 1 for torch's (N, C, d1, ...).
    Returns:    0-d float64, without gradient; NaN if a score of a row that counts is NaN.
    Raises:     ShapeError; TypeError; IndexError for a target outside of [0, C); ValueError for an option or a probability out
                of range, or if no row counts.
    Reference:  Naeini et al. 2015; Guo et al. 2017, arXiv:1706.04599; classwise: Kull et al. 2019, arXiv:1910.12656;
                debiased: Kumar et al. 2019, arXiv:1909.10155
    Example:
        >>> z = torch.tensor([2.0, 2.0, 2.0, 2.0])  # four times sigmoid(2) = 0.88 for a yes, which comes three times
        >>> losskit.expected_calibration_error(z, torch.tensor([1, 1, 1, 0]))
        tensor(0.1308, dtype=torch.float64)
    """
    choice("norm", norm, ("l1", "l2", "max"))
    choice("confidence", confidence, (None, "top", "positive", "classwise"))
    asked = given(
        input, target, input_kind=input_kind, ignore_index=ignore_index, class_dim=class_dim, weight=weight, mask=mask
    )  # fmt: skip
    if confidence == "classwise":
        if asked.binary:
            raise ValueError('"confidence" is "classwise", expected "positive" or "top" for binary scores (N,)')
        errors = [_table(rows, asked, bins, binning, 0.95).error(norm, debias=debias) for rows in each_class(asked)]
        return torch.stack(errors).mean()
    return _table(claims(asked, claim_of(asked, confidence)), asked, bins, binning, 0.95).error(norm, debias=debias)


def reliability_table(
    input: Tensor,
    target: Tensor,
    *,
    bins: int = 15,
    binning: Binning = "equal_width",
    level: float = 0.95,
    confidence: Claim | None = None,
    input_kind: InputKind = "logits",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
) -> ReliabilityTable:
    r"""Confidence against accuracy in each bin, with an interval: where a classifier claims too much or too little.

    Shape:      input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1 -> columns (bins,)
    Args:
        bins, binning, confidence, input_kind, weight, mask, ignore_index, class_dim: as in ``expected_calibration_error``.
        level: of Wilson's interval of the accuracy.
    Returns:    ReliabilityTable: ``print`` shows the bins that hold rows, * where the mean confidence is outside of the
                interval; ``.error(norm, debias=...)`` and ``.if_calibrated(norm)`` are read from it.
    Raises:     as ``expected_calibration_error``.
    Reference:  DeGroot and Fienberg 1983, The comparison and evaluation of forecasters
    Example:
        >>> p = torch.tensor([0.6] * 10 + [0.95] * 20)
        >>> y = torch.tensor([1] * 6 + [0] * 4 + [1] * 12 + [0] * 8)  # 6 of 10, and 12 of 20
        >>> print(losskit.reliability_table(p, y, bins=5, input_kind="probabilities"))
              confidence      rows  claimed    true   95 % interval        gap
          (0.400, 0.600]        10    0.600   0.600   0.313 to 0.832    +0.000
          (0.800, 1.000]        20    0.950   0.600   0.387 to 0.781    +0.350  *
    """
    choice("confidence", confidence, (None, "top", "positive"))
    asked = given(
        input, target, input_kind=input_kind, ignore_index=ignore_index, class_dim=class_dim, weight=weight, mask=mask
    )  # fmt: skip
    return _table(claims(asked, claim_of(asked, confidence)), asked, bins, binning, level)


def claim_of(asked: Question, confidence: Claim | None) -> Claim:
    """The claim that is judged: by default that of the predicted class, or of class 1 if binary."""
    if confidence == "positive" and not asked.binary:
        raise ValueError(
            '"confidence" is "positive", expected "top" for class scores: only binary scores (N,) have a positive class'
        )
    return confidence or ("positive" if asked.binary else "top")


def check_bins(bins: int, level: float = 0.95) -> None:
    """Raise unless there is a bin, and a level inside (0, 1)."""
    whole_number("bins", bins)
    at_least("bins", bins, 1)
    between("level", level, 0, 1, strict=True)


def _table(rows: Given, asked: Question, bins: int, binning: Binning, level: float) -> ReliabilityTable:
    check_bins(bins, level)
    choice("binning", binning, ("equal_width", "equal_mass"))
    if not bool((rows.weight != 0).any()):
        raise ValueError(
            f'"target" has {rows.weight.numel()} rows of which none counts, expected at least one: nothing to average'
        )
    if binning == "equal_width":
        edges = edges_of_equal_width(bins, asked.edges_dtype, rows.weight.device)
    else:
        edges = edges_of_equal_mass(rows, bins)
    return table_of(*tally(rows, edges), edges, level)
