"""The Brier score: the squared distance between the probabilities and what happened, and what it is made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...core.check import choice
from .confidence import Given, InputKind, claims, each_class, given
from .error import check_bins
from .reliability import Binning, edges_of_equal_mass, edges_of_equal_width

__all__ = ["BrierParts", "brier_decomposition", "brier_score"]


def brier_score(
    input: Tensor,
    target: Tensor,
    *,
    input_kind: InputKind = "logits",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
) -> Tensor:
    r"""The squared distance between a classifier's probabilities and what happened: calibration and sharpness in one number.

    Formula:    \frac{1}{N} \sum_i \sum_c (p_{ic} - y_{ic})^2, from 0 to 2; binary: \frac{1}{N} \sum_i (p_i - y_i)^2, from 0 to 1
    Use when:   models are to be compared by their probabilities, and one very wrong row must not decide (cross_entropy).
    Avoid when: the classes are rare or many: all scores are near those of the base rates.
    Shape:      input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1 -> ()
    Args:
        input_kind, weight, mask, ignore_index, class_dim: as in ``expected_calibration_error``.
    Returns:    0-d float64, without gradient. Two classes give twice the binary score of the same probabilities.
    Raises:     as ``expected_calibration_error``.
    Reference:  Brier 1950, Verification of forecasts expressed in terms of probability
    Example:
        >>> losskit.brier_score(torch.zeros(1, 4), torch.tensor([2]))  # knows nothing: (3/4)^2 + 3 (1/4)^2
        tensor(0.7500, dtype=torch.float64)
    """
    asked = given(
        input, target, input_kind=input_kind, ignore_index=ignore_index, class_dim=class_dim, weight=weight, mask=mask
    )  # fmt: skip
    rows = claims(asked, "positive" if asked.binary else "top")
    return _mean(rows.squared, _some(rows.weight))


class BrierParts(NamedTuple):
    """score = reliability - resolution + uncertainty + spread - covariance, each 0-d float64."""

    score: Tensor
    reliability: Tensor
    """What the gaps of the bins cost: 0 if calibrated."""
    resolution: Tensor
    """What telling rows apart earns."""
    uncertainty: Tensor
    """The score of one who only knows the base rates."""
    spread: Tensor
    """The variance of the confidences inside of the bins; 0 if a bin has one confidence."""
    covariance: Tensor
    """Twice the covariance of confidence and outcome inside of the bins: resolution that the bins hide."""


def brier_decomposition(
    input: Tensor,
    target: Tensor,
    *,
    bins: int = 15,
    binning: Binning = "equal_width",
    input_kind: InputKind = "logits",
    weight: Tensor | None = None,
    mask: Tensor | None = None,
    ignore_index: int = -100,
    class_dim: int = -1,
) -> BrierParts:
    r"""What a Brier score is made of: being wrong about the odds, telling rows apart, and what nobody can know.

    Murphy's three parts add up only if all confidences in a bin are equal. The two terms inside of the bins make the sum exact
    for any bins. Of classes, each part is the sum over all classes, each against the rest.

    Formula:    \mathrm{REL} = \sum_b s_b (\bar p_b - \bar y_b)^2,\; \mathrm{RES} = \sum_b s_b (\bar y_b - \bar y)^2,\;
                \mathrm{UNC} = \bar y (1 - \bar y)
    Shape:      input (*, C), target (*) of class indices; or binary: input (N,), target (N,) of 0 and 1 -> six times ()
    Args:
        bins, binning: as in ``expected_calibration_error``, for the probability of each class.
        input_kind, weight, mask, ignore_index, class_dim: as there.
    Raises:     as ``expected_calibration_error``.
    Reference:  Murphy 1973, A new vector partition of the probability score; within bins: Stephenson, Coelho and Jolliffe 2008,
                Two extra components in the Brier score decomposition
    Example:
        >>> p, y = torch.tensor([0.2, 0.2, 0.9, 0.9]), torch.tensor([0, 1, 1, 1])
        >>> found = losskit.brier_decomposition(p, y, input_kind="probabilities")
        >>> [round(float(part), 4) for part in found[:4]]  # 0.175 = 0.05 - 0.0625 + 0.1875
        [0.175, 0.05, 0.0625, 0.1875]
    """
    check_bins(bins)
    choice("binning", binning, ("equal_width", "equal_mass"))
    asked = given(
        input, target, input_kind=input_kind, ignore_index=ignore_index, class_dim=class_dim, weight=weight, mask=mask
    )  # fmt: skip
    _some(asked.weight)
    total = torch.zeros(6, dtype=asked.weight.dtype, device=asked.weight.device)
    for rows in [claims(asked, "positive")] if asked.binary else each_class(asked):
        mass = binning == "equal_mass"
        edges = edges_of_equal_mass(rows, bins) if mass else edges_of_equal_width(bins, asked.edges_dtype, total.device)
        total = total + torch.stack(_parts(rows, edges))
    return BrierParts(*total.unbind())


def _parts(rows: Given, edges: Tensor) -> list[Tensor]:
    p, y, squared, weight = rows
    place = torch.bucketize(p, edges[1:-1])
    held = weight.new_zeros(len(edges) - 1).index_add_(0, place, weight)

    def in_bins(value: Tensor) -> Tensor:
        """The mean of each bin, 0 where it is empty."""
        return torch.zeros_like(held).index_add_(0, place, weight * value) / torch.where(held == 0, 1, held)

    claimed, happened, rate = in_bins(p), in_bins(y), _mean(y, weight)
    share, apart = held / held.sum(), p - claimed[place]
    return [
        _mean(squared, weight),
        (share * (claimed - happened).square()).sum(),
        (share * (happened - rate).square()).sum(),
        rate * (1 - rate),
        _mean(apart.square(), weight),
        2 * _mean(apart * (y - happened[place]), weight),
    ]


def _some(weight: Tensor) -> Tensor:
    """The weight, if any row counts."""
    if not bool((weight != 0).any()):
        raise ValueError(f'"target" has {weight.numel()} rows of which none counts, expected at least one: nothing to average')
    return weight


def _mean(value: Tensor, weight: Tensor) -> Tensor:
    return (weight * value).sum() / weight.sum()
