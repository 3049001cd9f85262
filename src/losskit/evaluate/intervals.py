"""How far a ratio of two sums over documents can be trusted: standard errors, intervals, and the difference of two models."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import torch
from torch import Tensor

from ..core.check import ShapeError, at_least, between
from .bootstrap import flipped_sums, grouped, reach, resampled

__all__ = [
    "Difference",
    "Estimate",
    "block_bootstrap",
    "bootstrap",
    "iid_standard_error",
    "paired",
    "ratio",
    "student_t_quantile",
]

STEPS = 60  # of the continued fraction: all 16 digits up to 1,000 degrees of freedom
Numbers = Sequence[float] | Tensor


class Estimate(NamedTuple):
    """R = sum(sums) / sum(units), and how far it can be trusted; what cannot be given is None."""

    value: float
    standard_error: float | None
    low: float | None
    high: float | None
    clusters: int
    level: float
    method: str


class Difference(NamedTuple):
    """R_A - R_B on the same documents, and how far it can be trusted; what cannot be given is None."""

    delta: float
    standard_error: float | None
    low: float | None
    high: float | None
    p_value: float | None
    clusters: int
    level: float


def ratio(sums: Numbers, units: Numbers, *, level: float = 0.95) -> Estimate:
    r"""The ratio with documents as clusters: tokens of one document are not independent, documents are.

    Formula:    r_d = S_d - R U_d;\quad se = \sqrt{M/(M-1) \sum_d r_d^2} / \sum_d U_d;\quad R \pm t_{M-1} se
    Shape:      sums (D,), units (D,), one pair a document; the M documents that hold anything are the clusters
    Raises:     ShapeError; ValueError for units that are negative or no number
    Example:
        >>> ratio([2.0, 4.0], [1, 1]).value
        3.0
    """
    value, above, below, clusters = _begun(sums, units, level)
    error = _spread(_residuals(above, below)) if clusters > 1 else None
    return Estimate(value, *_symmetric(value, error, clusters - 1, level), clusters, level, "cluster")


def bootstrap(
    sums: Numbers,
    units: Numbers,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    r"""The ratio with an interval from documents drawn with replacement; it may be longer on one side.

    Percentiles, at levels that make up for the narrowness of few documents: measured beside plain percentiles, BCa and
    bootstrap-t, this kind kept closest to its level. The bounds are None where the resamples do not reach that far out:
    below 5 documents, and at a high ``level`` with few ``resamples``. More than 65,536 documents are drawn in that many
    random groups.

    Formula:    quantiles of R^* at \Phi(\mp \sqrt{M/(M-1)}\, t_{M-1});\quad se = \sqrt{M/(M-1)}\, sd(R^*)
    Shape:      sums (D,), units (D,), one pair a document
    Raises:     ShapeError; ValueError for units that are negative or no number
    Reference:  Hesterberg 2015, arXiv:1411.5279, the expanded percentile interval
    """
    at_least("resamples", resamples, 2)
    value, above, below, clusters = _begun(sums, units, level)
    none = Estimate(value, None, None, None, clusters, level, "bootstrap")
    if clusters < 2 or not math.isfinite(value):
        return none
    generator = torch.Generator().manual_seed(seed)
    residuals, below = grouped(generator, above - value * below, below)
    ratios = resampled(residuals, below, len(below), resamples, generator)
    widen = math.sqrt(clusters / (clusters - 1))
    error = float(ratios.std()) * widen
    if not math.isfinite(error):
        return none
    share = NormalDist().cdf(-widen * _upper((1 - level) / 2, clusters - 1))
    bounds = reach(ratios, share, clusters) if share else None
    if bounds is None:
        return none._replace(standard_error=error)
    return none._replace(standard_error=error, low=value + bounds[0], high=value + bounds[1])


def block_bootstrap(
    sums: Numbers,
    units: Numbers,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    r"""The ratio of few long documents, from runs of neighbouring windows drawn with replacement.

    A block is sqrt(n) windows long and may begin anywhere, the last window being followed by the first. It says how far the
    figure would move on other passages of the same documents; nothing can say how far on other documents.

    Formula:    n windows, blocks of l = \lfloor\sqrt n\rfloor, k = n/l of them;\quad R \pm t_{k-1} \sqrt{k/(k-1)}\, sd(R^*)
    Shape:      sums (n,), units (n,), one pair a window, in the order of the text
    Returns:    an Estimate whose ``clusters`` is the number of blocks that make up the text
    Raises:     ShapeError; ValueError for units that are negative or no number
    Reference:  Politis and Romano 1992, the circular block bootstrap
    """
    at_least("resamples", resamples, 2)
    value, above, below, windows = _begun(sums, units, level)
    length = max(1, math.isqrt(windows))
    blocks = math.ceil(windows / length)
    error = None
    if windows > 1 and math.isfinite(value):
        columns = (torch.cat([column, column[: length - 1]]) for column in (above - value * below, below))
        residuals, below = (column.unfold(0, length, 1).sum(1) for column in columns)  # (n,) each: the block from here on
        ratios = resampled(residuals, below, blocks, resamples, torch.Generator().manual_seed(seed))
        # sqrt(k / (k - 1)), and what is drawn is a whole number of blocks, somewhat more than k
        error = float(ratios.std()) * math.sqrt(blocks / (windows / length - 1))
    bounds = _symmetric(value, error, windows / length - 1, level)
    return Estimate(value, *bounds, blocks, level, "block bootstrap")


def iid_standard_error(total: float, squares: float, tokens: int) -> float | None:
    """The standard error of the mean as if tokens were independent, which they are not: llama.cpp's, for comparison only.

    ``total`` and ``squares`` are the sums of the tokens' losses and of their squares. None below two tokens.
    """
    if tokens < 2:
        return None
    mean = total / tokens
    variance = (squares / tokens - mean * mean) / (tokens - 1)
    return math.sqrt(max(variance, 0.0)) if math.isfinite(variance) else None


def paired(
    sums_a: Numbers,
    units_a: Numbers,
    sums_b: Numbers,
    units_b: Numbers,
    *,
    level: float = 0.95,
    permutations: int = 10000,
    seed: int = 0,
) -> Difference:
    r"""R_A - R_B of two models on the same documents: what is hard for both cancels in each document.

    p is the share of the ways to exchange A and B in single documents that part them at least as far: all 2^(M-1) ways
    if they are no more than ``permutations``, else random ones, (1 + hits) / (1 + permutations).

    Formula:    e_d = r^A_d/\sum U^A - r^B_d/\sum U^B;\quad se = \sqrt{M/(M-1) \sum_d e_d^2};\quad \Delta \pm t_{M-1} se
    Shape:      all (D,), the same document in the same place
    Raises:     ShapeError; ValueError for units that are negative or no number
    """
    between("level", level, 0, 1, strict=True)
    at_least("permutations", permutations, 1)
    names = ("sums_a", "units_a", "sums_b", "units_b")
    above_a, below_a, above_b, below_b = _documents(names, sums_a, units_a, sums_b, units_b)
    a, b = _over(_total(above_a), _total(below_a)), _over(_total(above_b), _total(below_b))
    delta, clusters = a - b, len(above_a)
    if clusters < 2 or not math.isfinite(delta):
        return Difference(delta, None, None, None, None, clusters, level)
    error = _spread(_residuals(above_a, below_a) - _residuals(above_b, below_b))
    # they add up to delta whatever is subtracted; the middle makes the exchange of A and B a change of sign
    middle = a + (b - a) / 2
    terms = (above_a - middle * below_a) / _total(below_a) - (above_b - middle * below_b) / _total(below_b)
    bounds = _symmetric(delta, error, clusters - 1, level)
    return Difference(delta, *bounds, _sign_flip(terms, permutations, seed), clusters, level)


def _sign_flip(terms: Tensor, permutations: int, seed: int) -> float | None:
    size = float(terms.abs().sum())
    if not math.isfinite(size):
        return None
    sums, every = flipped_sums(terms, permutations, torch.Generator().manual_seed(seed))
    # equal in exact arithmetic counts as equal: the order of summation must not decide
    hits = int((sums.abs() >= abs(_total(terms)) - 1e-12 * size).sum())
    return hits / len(sums) if every else (1 + hits) / (1 + permutations)


def _begun(sums: Numbers, units: Numbers, level: float) -> tuple[float, Tensor, Tensor, int]:
    between("level", level, 0, 1, strict=True)
    above, below = _documents(("sums", "units"), sums, units)
    return _over(_total(above), _total(below)), above, below, len(above)


def _documents(names: tuple[str, ...], *columns: Numbers) -> tuple[Tensor, ...]:
    """The columns in float64 without the documents that hold nothing; columns alternate between sums and units."""
    wide = [torch.as_tensor(column, dtype=torch.float64, device="cpu").detach() for column in columns]
    for name, column in zip(names, wide, strict=True):
        if column.shape != wide[0].shape or column.ndim != 1:
            expected = f"the shape of {names[0]!r}, {tuple(wide[0].shape)}" if wide[0].ndim == 1 else "(D,)"
            raise ShapeError(f'"{name}" has shape {tuple(column.shape)}, expected {expected}: one number for each document')
    for name, column in zip(names[1::2], wide[1::2], strict=True):
        wrong = ~(column >= 0) | column.isinf()
        if wrong.any():
            at = int(wrong.nonzero()[0])
            raise ValueError(f'"{name}" is {float(column[at])!r} at index {at}, expected a count >= 0: give 0 for nothing scored')
    holds = torch.stack(wide).ne(0).any(0)
    return tuple(column[holds] for column in wide)


def _total(column: Tensor) -> float:
    """The exact sum, rounded once, whatever the order; inf or nan where there is no number."""
    try:
        return math.fsum(column.tolist())
    except (OverflowError, ValueError):  # beyond all floats; inf - inf
        return float(column.sum())


def _over(above: float, below: float) -> float:
    return above / below if below else math.nan


def _residuals(above: Tensor, below: Tensor) -> Tensor:
    """What each document adds to the error of the ratio."""
    total = _total(below)
    return (above - _over(_total(above), total) * below) / total


def _spread(residuals: Tensor) -> float:
    return math.sqrt(len(residuals) / (len(residuals) - 1) * _total(residuals * residuals))


def _symmetric(
    value: float, error: float | None, freedom: float, level: float
) -> tuple[float | None, float | None, float | None]:
    """The standard error and the bounds, or None three times where there is no finite error."""
    if error is None or not math.isfinite(error) or not math.isfinite(value):
        return None, None, None
    half = _upper((1 - level) / 2, freedom) * error
    return error, value - half, value + half


def student_t_quantile(p: float, freedom: float) -> float:
    """The number that Student's t with ``freedom`` degrees of freedom stays below with probability ``p``."""
    between("p", p, 0, 1, strict=True)
    at_least("freedom", freedom, 0, strict=True, finite=False)
    return -_upper(p, freedom) if p < 0.5 else _upper(1 - p, freedom)


@functools.lru_cache(maxsize=256)
def _upper(tail: float, freedom: float) -> float:
    """Where the upper ``tail``, at most one half, of Student's t begins."""
    if tail == 0.5:
        return 0.0
    if freedom >= 1000:  # Abramowitz and Stegun 1964, 26.7.5; right to 1e-10 down to tails of 1e-12
        z, n = -NormalDist().inv_cdf(tail), freedom
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
        fourth = (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * n**4)
        return z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2) + third + fourth
    low, high = 0.0, 1.0
    while _tail(high, freedom) > tail:
        low, high = high, 2 * high
    while low < (middle := low + (high - low) / 2) < high:
        low, high = (middle, high) if _tail(middle, freedom) > tail else (low, middle)
    return high


def _tail(t: float, freedom: float) -> float:
    """P(T > t): half the incomplete beta function of x = n / (n + t^2), or one half less that of 1 - x."""
    length = math.hypot(t, math.sqrt(freedom))
    x, y = freedom / length / length, (t / length) ** 2
    a, b = freedom / 2, 0.5
    shape = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(shape + a * math.log(x) + b * math.log(y)) if x > 0 else 0.0
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(x, a, b) / (2 * a)
    return 0.5 - front * _fraction(y, b, a) / (2 * b)


def _fraction(x: float, a: float, b: float) -> float:
    """The continued fraction of the incomplete beta function, Abramowitz and Stegun 26.5.8, from the back."""
    value = 1.0
    for m in range(STEPS, 0, -1):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        value = 1 + even / (1 + odd / value)
    return 1 / (1 - (a + b) * x / (a + 1) / value)
