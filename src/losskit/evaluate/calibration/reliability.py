"""The reliability table: confidence against what happened, bin by bin, and every error that can be read from it."""

from __future__ import annotations

from statistics import NormalDist
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from ...core.call import whole_number
from ...core.check import at_least, between, choice, peek
from .confidence import Given

__all__ = [
    "Binning",
    "IfCalibrated",
    "Norm",
    "ReliabilityTable",
    "edges_of_equal_mass",
    "edges_of_equal_width",
    "table_of",
    "tally",
]

Norm = Literal["l1", "l2", "max"]
Binning = Literal["equal_width", "equal_mass"]

_LARGEST_WEIGHT = 1e100  # its square, and that of a sum of many, is a float; so is that of 1 / it


def edges_of_equal_width(bins: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """0, 1/bins, ..., 1, each the nearest number of ``dtype`` (linspace is off by one bit here and there)."""
    widest = torch.float32 if device.type == "mps" else torch.float64
    return (torch.arange(bins + 1, dtype=widest, device=device) / bins).to(dtype).to(widest)


def edges_of_equal_mass(rows: Given, bins: int) -> Tensor:
    """The lower quantiles k/bins of the confidences: equal confidences are never torn apart, so order does not matter."""
    order = rows.confidence.argsort()
    held = torch.where(rows.weight != 0, rows.weight, 0)[order].cumsum(0)
    wanted = torch.arange(1, bins, device=held.device) * held[-1] / bins
    inner = rows.confidence[order][torch.searchsorted(held, wanted).clamp_(max=len(held) - 1)]
    return torch.cat([inner.new_zeros(1), inner, inner.new_ones(1)])


def tally(rows: Given, edges: Tensor) -> tuple[Tensor, Tensor]:
    """Of each bin (low, high]: how many rows, int64 (bins,); sums of w, w^2, w confidence, w happened, w squared, (5, bins).

    Raises:     ValueError for weights whose squares add up to no float, where that can be seen.
    """
    bins = len(edges) - 1
    place = torch.bucketize(rows.confidence, edges[1:-1])
    count = torch.zeros(bins, dtype=torch.int64, device=place.device).index_add_(0, place, (rows.weight != 0).long())
    sums = rows.weight.new_zeros(5, bins)
    one = torch.ones((), dtype=rows.weight.dtype, device=place.device)
    for row, times in zip(sums, (one, rows.weight, rows.confidence, rows.happened, rows.squared), strict=True):
        row.index_add_(0, place, rows.weight * times)
    square = sums[1] / count.clamp(min=1)  # NaN is in no range, and is to show
    beyond = (count > 0) & ((square > _LARGEST_WEIGHT**2) | (square < _LARGEST_WEIGHT**-2))
    if peek(beyond.any()):
        held = rows.weight[beyond[place] & (rows.weight != 0)]
        raise ValueError(
            f'"weight" has a bin of rows between {float(held.min()):g} and {float(held.max()):g}, expected 0 or '
            f"{1 / _LARGEST_WEIGHT:g} to {_LARGEST_WEIGHT:g}: divide all weights by their largest"
        )
    return count, sums


class IfCalibrated(NamedTuple):
    """What the error of a perfectly calibrated model with the same confidences would be: the zero that a reader compares with."""

    mean: float
    high: float
    """Exceeded in one case of twenty, at the default level."""
    p_value: float
    """How often such a model shows an error at least as large as the one that was measured."""


class ReliabilityTable(NamedTuple):
    """One entry a bin; NaN in an empty bin. ``print(table)`` shows it."""

    low: Tensor
    """The bin holds confidences in (low, high]; the first one holds 0 as well."""
    high: Tensor
    rows: Tensor
    """How many, int64."""
    share: Tensor
    """Of the total weight."""
    effective: Tensor
    """How many unweighted rows would tell as much: (sum w)^2 / sum w^2; the count if nothing is weighted."""
    confidence: Tensor
    """The mean of what the model claimed."""
    accuracy: Tensor
    """How often it came true."""
    gap: Tensor
    """confidence - accuracy: positive where the model is overconfident."""
    accuracy_low: Tensor
    """Wilson's interval of the accuracy."""
    accuracy_high: Tensor
    level: float

    def error(self, norm: Norm = "l1", *, debias: bool = False) -> Tensor:
        r"""The calibration error, 0-d float64.

        Formula:    \sum_b s_b |g_b| (l1), \sqrt{\sum_b s_b g_b^2} (l2), \max_b |g_b| (max), with share s and gap g
        Args:
            debias: for "l2" only: takes from g_b^2 what chance puts there, a_b (1 - a_b) / (n_b - 1), and 0 from the whole if
                that leaves less. A bin of one row says nothing and adds nothing.
        Reference:  Naeini et al. 2015; debiased: Kumar et al. 2019, arXiv:1909.10155
        """
        choice("norm", norm, ("l1", "l2", "max"))
        if debias and norm != "l2":
            raise ValueError(f'"debias" is for norm="l2", got norm={norm!r}: no unbiased estimate of it is known')
        held = self.rows > 0
        gap, share = torch.where(held, self.gap, 0), self.share
        if not debias:
            return _norm(gap, share, norm)
        single = held & (self.effective <= 1)
        chance = self.accuracy * (1 - self.accuracy) / torch.where(single, 1, self.effective - 1)
        squares = torch.where(held & ~single, gap.square() - chance, 0)
        return (share * squares).sum().clamp_min(0).sqrt()

    def if_calibrated(self, norm: Norm = "l1", *, level: float = 0.95, draws: int = 1000, seed: int = 0) -> IfCalibrated:
        """What ``error`` would be by chance alone: outcomes are drawn from the mean confidence of each bin.

        A measured error is never 0, and grows with the number of bins and as rows get fewer: read it against this number.
        Confidences within a bin that differ make chance a little smaller than what is drawn here (Hoeffding 1956).
        Reference:  Bröcker and Smith 2007, Increasing the reliability of reliability diagrams (consistency resampling)
        """
        choice("norm", norm, ("l1", "l2", "max"))
        between("level", level, 0, 1, strict=True)
        whole_number("draws", draws)
        whole_number("seed", seed)
        at_least("draws", draws, 1)
        held = self.rows > 0
        share, p, n = (t[held].double().cpu() for t in (self.share, self.confidence, self.effective))
        if not bool(share.isfinite().all() & p.isfinite().all()):
            return IfCalibrated(torch.nan, torch.nan, torch.nan)
        n = n.round().expand(draws, -1).contiguous()
        generator = torch.Generator().manual_seed(seed)
        happened = torch.binomial(n, p.clamp(0, 1).expand(draws, -1).contiguous(), generator=generator) / n
        drawn = _norm(p - happened, share, norm)
        # the measured one is a draw too if the model is calibrated: never a p-value of 0
        above = int((drawn >= float(self.error(norm)) * (1 - 1e-12)).sum())
        return IfCalibrated(float(drawn.mean()), float(drawn.quantile(level)), (above + 1) / (draws + 1))

    @override
    def __str__(self) -> str:
        level = f"{self.level:.0%}".replace("%", " %")
        lines = [f"{'confidence':>16}{'rows':>10}{'claimed':>9}{'true':>8}   {level + ' interval':<16}{'gap':>8}"]
        for low, high, n, _, _, p, a, g, least, most in zip(*(t.tolist() for t in self[:-1]), strict=True):
            if n:
                mark = "" if least <= p <= most else "  *"
                bounds = f"{least:.3f} to {most:.3f}"
                lines.append(f"{f'({low:.3f}, {high:.3f}]':>16}{n:>10}{p:>9.3f}{a:>8.3f}   {bounds:<16}{g:>+8.3f}{mark}")
        return "\n".join(lines)


def _norm(gap: Tensor, share: Tensor, norm: Norm) -> Tensor:
    """Over the last axis."""
    if norm == "max":
        return gap.abs().amax(-1)
    return (share * gap.abs()).sum(-1) if norm == "l1" else (share * gap.square()).sum(-1).sqrt()


def table_of(count: Tensor, sums: Tensor, edges: Tensor, level: float) -> ReliabilityTable:
    """The table of what ``tally`` counted."""
    weight, squares, claimed, happened, _ = sums
    confidence, accuracy = claimed / weight, happened / weight  # 0 / 0 is NaN in an empty bin
    effective = torch.where(count > 0, weight.square() / squares, 0)
    low, high = wilson(accuracy, effective, level)
    return ReliabilityTable(
        low=edges[:-1],
        high=edges[1:],
        rows=count,
        share=weight / weight.sum(),
        effective=effective,
        confidence=confidence,
        accuracy=accuracy,
        gap=confidence - accuracy,
        accuracy_low=low,
        accuracy_high=high,
        level=level,
    )


def wilson(rate: Tensor, n: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Wilson's score interval of a rate seen in n trials: inside [0, 1], and not empty at a rate of 0 or 1 (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + level / 2)
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * (rate * (1 - rate) / n + z * z / (4 * n * n)).sqrt()
    # at a rate of 0 or 1 the bound is the rate, which rounding would miss
    low, high = torch.where(rate == 0, 0, middle - reach), torch.where(rate == 1, 1, middle + reach)
    return torch.where(n > 0, low, torch.nan), torch.where(n > 0, high, torch.nan)
