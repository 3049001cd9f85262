"""How noisy a curve is, whatever its trend: robust spread, correlation in time, independent points."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["autocorrelation", "effective", "finite", "mad", "noise", "spread"]

NORMAL = 1.4826  # standard deviation of a normal variable / its median absolute deviation
LAGS = (1, 2, 4, 8, 16, 32, 64)  # correlation over more steps than the last is seen by block medians
LONG = 20_000  # points that a curve is thinned to, in runs: more do not move a median by 1 %


def finite(values: Tensor) -> Tensor:
    """The values that are numbers, float64, in one dimension."""
    values = values.detach().double().flatten()
    return values[torch.isfinite(values)]


def mad(values: Tensor) -> float:
    """Standard deviation by the median absolute deviation; 0 for fewer than two values."""
    if values.numel() < 2:
        return 0.0
    return NORMAL * (values - values.median()).abs().median().item()


def noise(values: Tensor) -> float:
    """sigma_d: the spread of neighbours, 1.4826 MAD(differences) / sqrt(2); a linear trend is not in it."""
    return mad(_sample(finite(values)).diff()) / math.sqrt(2)


def spread(values: Tensor) -> float:
    """Standard deviation around the trend: the largest sigma_d over lags up to 64, as noise that lasts shows at longer ones.

    A short curve has no long lags: there it is what AR(1) noise of this correlation would have.
    """
    values = _sample(finite(values))
    lags = [lag for lag in LAGS if 8 * lag <= values.numel()] or [1]
    lasting = noise(values) / math.sqrt(1 - autocorrelation(values)) if lags[-1] < LAGS[-1] else 0.0
    return max(lasting, *(mad(values[lag:] - values[:-lag]) / math.sqrt(2) for lag in lags))


def autocorrelation(values: Tensor) -> float:
    """Lag-1 correlation of the noise, 0 to 0.99: the variance of differences over two steps is 1 + rho times that over one."""
    values = _sample(finite(values))
    one, two = mad(values[1:] - values[:-1]), mad(values[2:] - values[:-2])
    if values.numel() < 8 or one <= 0:
        return 0.0
    return min(max((two / one) ** 2 - 1, 0.0), 0.99)


def effective(values: Tensor) -> float:
    """How many independent points they are worth: n (1 - rho) / (1 + rho), at least 1 where there is one."""
    values = finite(values)
    rho = autocorrelation(values)
    return min(float(values.numel()), max(1.0, values.numel() * (1 - rho) / (1 + rho)))


def _sample(values: Tensor) -> Tensor:
    """A long curve as 40 runs of neighbours."""
    if values.numel() <= LONG:
        return values
    return values.unfold(0, LONG // 40, values.numel() // 40)[:40].reshape(-1)
