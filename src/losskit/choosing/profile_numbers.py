"""What numbers look like: tails, outliers and skewness by quantiles, which no outlier can move, with the error of sampling.

A statistic is held against what a normal sample of as many rows would show in all but one of about 2,000 cases (z = 3.5), so that
few rows say "cannot tell" and many healthy ones raise no alarm.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .columns import Columns

__all__ = ["FEW", "FOLDS", "SAMPLE", "UNIT", "Shape", "design", "quantiles", "residuals", "shape_of", "standardised", "too_far",
           "unit_of"]  # fmt: skip

NORMAL_TAIL = 2.905847  # (q97.5 - q2.5) / (q75 - q25) of a normal distribution
# standard errors at n = 1 under a normal, from the covariance of sample quantiles
TAIL_ERROR = 1.3255  # of the logarithm of the tail ratio
SKEW_ERROR = 1.3562  # of (q75 + q25 - 2 median) / (q75 - q25)
SPREAD_ERROR = 1.1664  # of the logarithm of the median absolute deviation
Z = 3.5
FEW = 30  # below, the 2.5 % quantile is the smallest value or beyond it
SIGMA = 1.4826  # standard deviation of a normal, in units of its median absolute deviation
NEVER = 1e-3  # of so many normal samples one has a value beyond the bound for outliers
SAMPLE = 20_000
LARGEST = 1e18  # its square is within float32
SMALLEST = 1e-18
FOLDS = 5
UNIT = 100.0  # a spread this far from 1, or a median so many spreads from 0: the first steps are lost on the scale


@dataclass(frozen=True)
class Shape:
    """Quantile statistics of numbers; see the top of this file."""

    count: int
    median: float
    sigma: float
    """1.4826 median absolute deviations: the standard deviation of the good values."""
    tail: float
    tail_bound: float
    skew: float
    skew_bound: float
    outliers: int
    far: float
    """How many sigma an outlier is away at least."""
    farthest: float
    """The farthest value, in sigma."""

    @property
    def few(self) -> bool:
        """Too few to tell tails from luck."""
        return self.count < FEW

    @property
    def heavy(self) -> bool:
        """Tails that a normal sample of this size would not show."""
        return not self.few and self.tail > self.tail_bound

    @property
    def skewed(self) -> bool:
        """Leaning to one side by more than a normal sample of this size would."""
        return not self.few and abs(self.skew) > self.skew_bound


def quantiles(values: Tensor, shares: list[float]) -> list[float]:
    """Quantiles by sorting, linear between neighbours; torch.quantile refuses more than 16 million values."""
    ordered = values.sort().values
    found: list[float] = []
    for share in shares:
        place = share * (len(ordered) - 1)
        low, high = ordered[math.floor(place)].item(), ordered[math.ceil(place)].item()
        found.append(low + (place - math.floor(place)) * (high - low) if high > low else low)
    return found


def too_far(values: Tensor) -> str:
    """Why no loss can be computed of numbers (n,) or (n, D) as they are, in float32; nothing if one can."""
    largest = float(values.abs().max())
    spread = float((values.amax(0) / 2 - values.amin(0) / 2).max())
    if largest > LARGEST:
        return (
            f"Targets reach {largest:.3g}, and float32 cannot hold their squares: choose for them divided by {_power(largest)}."
        )
    if 0 < spread < SMALLEST:
        return f"Targets vary by {2 * spread:.3g}, whose square is 0 in float32: choose for them divided by {_power(2 * spread)}."
    return ""


def _power(size: float) -> str:
    """The power of ten below a size, as it is written in code."""
    return f"1e{math.floor(math.log10(size)):+03d}"


def shape_of(values: Tensor) -> Shape:
    """The statistics of finite numbers (n,), at least one."""
    n = len(values)
    low, first, median, third, high = quantiles(values, [0.025, 0.25, 0.5, 0.75, 0.975])
    apart = (values - median).abs()
    (mad,) = quantiles(apart, [0.5])
    between = third - first
    # half of the values are one number: only the others can say how wide they lie
    sigma = SIGMA * mad or (between / 1.349) or float(values.std(correction=0)) if n > 1 else 0.0
    far = -float(torch.special.ndtri(torch.tensor(NEVER / (2 * n), dtype=torch.float64))) * (1 + Z * SPREAD_ERROR / math.sqrt(n))
    away = apart / sigma if sigma > 0 else torch.zeros_like(apart)
    return Shape(
        n,
        median,
        sigma,
        (high - low) / between if between > 0 else math.nan,
        NORMAL_TAIL * math.exp(Z * TAIL_ERROR / math.sqrt(n)),
        (third + first - 2 * median) / between if between > 0 else math.nan,
        Z * SKEW_ERROR / math.sqrt(n),
        int((away > far).sum()),
        far,
        float(away.max()),
    )


def unit_of(values: Tensor) -> tuple[float, float] | None:
    """Median and spread as code writes them, where numbers are far from 0 or from a spread of 1; outliers move neither."""
    shape = shape_of(values)
    spread = float(f"{shape.sigma:.4g}")
    apart = abs(shape.median) / spread if spread else 0.0
    if not spread or (1 / UNIT < spread < UNIT and apart <= UNIT):
        return None
    # as many digits as the spread needs: a median of 1234567.8 beside a spread of 1
    digits = 4 + math.ceil(math.log10(max(apart, 1)))
    return float(f"{shape.median:.{min(digits, 15)}g}"), spread


def residuals(columns: Columns, values: Tensor, rows: Tensor, seed: int = 0) -> Tensor | None:
    """What a ridge regression on the inputs leaves of ``values``, each row predicted without having been seen.

    None where there are no inputs, or too few rows for them. Rows are drawn if there are more than 20,000.
    """
    chosen = torch.arange(len(rows))
    if len(rows) > SAMPLE:
        chosen = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    matrix = design(columns.take(rows[chosen]))
    n, width = matrix.shape
    if not width or n < max(FEW, 3 * width):
        return None
    target = values[chosen].double()
    shape = shape_of(target)
    # a fit that outliers lead would spread them over all residuals
    tame = target.clamp(shape.median - 10 * shape.sigma, shape.median + 10 * shape.sigma)
    left = torch.empty_like(target)
    fold = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) % FOLDS
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        mean = tame[train].mean()
        x, new = standardised(matrix[train], matrix[test])
        gram = x.T @ x + torch.eye(width, dtype=x.dtype)
        weight = torch.linalg.solve(gram, x.T @ (tame[train] - mean))
        left[test] = target[test] - mean - new @ weight
    return left


def standardised(train: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the units of ``train``, so that one ridge fits every input; a constant input is 0."""
    center, spread = train.mean(0), train.std(0, correction=0)
    spread = torch.where(spread > 0, spread, 1)
    return (train - center) / spread, (new - center) / spread


def design(columns: Columns) -> Tensor:
    """Inputs as a matrix: missing numbers at the mean, words one-hot."""
    features = columns.features()
    numbers = features.numbers
    mean = torch.nan_to_num(numbers.nanmean(0))
    parts = [torch.where(numbers.isnan(), mean, numbers)]
    for column, levels in zip(features.categories.T, features.levels, strict=True):
        parts.append((column[:, None] == torch.arange(len(levels))).double())
    return torch.cat(parts, 1)
