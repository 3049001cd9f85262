"""What counts look like: do they scatter more than a Poisson count of the same mean, and are zeros too many?

The mean of each row comes from a Poisson regression on the inputs, each row predicted without having been seen; without inputs
it is one mean for all. The test is Cameron and Trivedi's: ((y - m)^2 - y) / m has mean 0 under Poisson, and alpha m under a
negative binomial of variance m + alpha m^2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.deviance import poisson_deviance_loss
from .columns import Columns
from .profile_numbers import FEW, FOLDS, SAMPLE, design, standardised

__all__ = ["Scatter", "scatter_of"]

Z = 3.5
STEPS = 20


@dataclass(frozen=True)
class Scatter:
    """How counts scatter around their means."""

    count: int
    mean: float
    ratio: float
    """Variance over mean, given the inputs if there are any: 1 for Poisson."""
    z: float
    """How many standard errors the test is away from Poisson."""
    alpha: float
    """Dispersion of the negative binomial with this variance; 0 where the variance is no more than the mean."""
    zeros: float
    """Share of zeros."""
    zeros_poisson: float
    """Share of zeros that Poisson counts of these means have."""
    zeros_expected: float
    """Share of zeros that the negative binomial has, or Poisson where alpha is 0."""
    zeros_z: float
    with_inputs: bool

    @property
    def few(self) -> bool:
        """Too few to tell scatter from luck."""
        return self.count < FEW

    @property
    def over(self) -> bool:
        """More scatter than Poisson, beyond luck and by a tenth at least."""
        return not self.few and self.z > Z and self.ratio > 1.1

    @property
    def inflated(self) -> bool:
        """More zeros than any dispersion explains, beyond luck and by a twentieth of all rows at least."""
        return not self.few and self.zeros_z > Z and self.zeros - self.zeros_expected > 0.05


def scatter_of(columns: Columns, counts: Tensor, rows: Tensor, seed: int = 0) -> Scatter:
    """The statistics of counts (m,) of some rows; of 20,000 drawn rows where there are more and inputs have to be fitted."""
    counts, mean, fitted = _means(columns, counts, rows, seed)
    n = len(counts)
    excess = ((counts - mean) ** 2 - counts) / mean
    error = float(excess.std()) / math.sqrt(n) if n > 1 else math.inf
    alpha = max(0.0, float((excess * mean).sum() / (mean**2).sum()))
    poisson = (-mean).exp()
    expected = torch.exp(-torch.log1p(alpha * mean) / alpha) if alpha > 1e-9 else poisson
    zeros, share = float((counts == 0).double().mean()), float(expected.mean())
    zeros_error = math.sqrt(max(share * (1 - share), 1e-12) / n)
    return Scatter(
        n,
        float(counts.mean()),
        float(((counts - mean) ** 2 / mean).mean()) * n / max(n - 1, 1),
        float(excess.mean()) / error if error else 0.0,
        alpha,
        zeros,
        float(poisson.mean()),
        share,
        (zeros - share) / zeros_error,
        fitted,
    )


def _means(columns: Columns, counts: Tensor, rows: Tensor, seed: int) -> tuple[Tensor, Tensor, bool]:
    """Counts, the mean of each, and whether inputs were used."""
    drawn = torch.arange(len(rows))
    if columns.inputs and len(rows) > SAMPLE:
        drawn = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[:SAMPLE]
    x = design(columns.take(rows[drawn])) if columns.inputs else torch.empty(len(rows), 0)
    n, width = x.shape
    if not width or n < max(FEW, 10 * width):
        return counts, counts.mean().expand(len(counts)), False
    y = counts[drawn].double()
    mean = torch.empty_like(y)
    fold = torch.randperm(n, generator=torch.Generator().manual_seed(seed)) % FOLDS
    for k in range(FOLDS):
        train, test = fold != k, fold == k
        mean[test] = _poisson(x[train], y[train], x[test])
    # held-out means of an unlucky fit scatter more than the data: then the inputs say nothing
    constant = y.mean().expand(n)
    return (y, mean, True) if _deviance(y, mean) < _deviance(y, constant) else (counts, counts.mean().expand(len(counts)), False)


def _deviance(y: Tensor, mean: Tensor) -> float:
    return float(poisson_deviance_loss(mean.log(), y, reduction="sum"))


def _poisson(x: Tensor, y: Tensor, new: Tensor) -> Tensor:
    """Means for ``new`` from a Poisson regression by Newton steps, a ridge of 1 on standardised inputs."""
    z, fresh = (torch.nn.functional.pad(each, (1, 0), value=1.0) for each in standardised(x, new))
    ridge = torch.eye(z.shape[1], dtype=z.dtype)
    ridge[0, 0] = 0
    weight = torch.zeros(z.shape[1], dtype=z.dtype)
    weight[0] = y.mean().clamp(min=1e-8).log()
    top = float(y.max().clamp(min=1).log()) + 1
    for _ in range(STEPS):
        m = (z @ weight).clamp(-20, top).exp()
        step = torch.linalg.solve(z.T @ (z * m[:, None]) + ridge, z.T @ (y - m) - ridge @ weight)
        weight = weight + step * min(1.0, 2.0 / float(step.abs().max().clamp(min=1e-12)))
        if float(step.abs().max()) < 1e-8:
            break
    return (fresh @ weight).clamp(-20, top).exp()
