"""Two views of a batch whose features agree and do not repeat each other: Barlow Twins, VICReg."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.domain import Embeddings, Mask
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.blocks import product
from ..ops.gram import feature_products, off_diagonal, row_products, standardised
from ..parallel import gather_rows, sum_over_ranks
from .embeddings import towers

__all__ = ["BarlowTwinsLoss", "VICRegLoss", "barlow_twins_loss", "vicreg_loss"]

_SAMPLE = {"query": Embeddings(), "key": Embeddings(), "mask": Mask(meaning="True where a pair of rows is there")}


class _Views(NamedTuple):
    """Two views of the rows of this rank, float32 at least."""

    query: Tensor
    """(n, D), 0 where a row is masked"""
    key: Tensor
    valid: Tensor
    """(n,) bool: the rows that are there"""
    number: Tensor
    """() how many these are on all ranks"""
    add: Callable[[Tensor], Tensor] | None
    """What sums over ranks; None if all rows are here, and all are valid."""

    def total(self, value: Tensor) -> Tensor:
        """The sum over ranks."""
        return value if self.add is None else self.add(value)


def _views(query: Tensor, key: Tensor, mask: Tensor | None, group: dist.ProcessGroup | None) -> _Views:
    first, second = towers(query, key, mask, normalize=False)
    number = sum_over_ranks(first.valid.sum().to(first.values.dtype), group)
    add = None if mask is None and group is None else functools.partial(sum_over_ranks, group=group)
    return _Views(first.values, second.values, first.valid, number, add)


def _products(views: _Views, eps: float | None, group: dist.ProcessGroup | None, *, crossed: bool) -> tuple[Tensor, Tensor]:
    """Of standardised features: the diagonal of A^T B and the sum of the squares beside it; or of A^T A and B^T B.

    From products of rows where all ranks' rows are fewer than features, from products of features otherwise: the smaller
    matrix is never larger than the rows themselves, nor is what travels.
    """
    pair = standardised(views.query, views.key, eps, views.valid, views.number, views.add)
    count, features = pair.shape[1:]
    rows = count if group is None else int(sum_over_ranks(torch.tensor(count, device=pair.device), group))
    if rows < features:
        every = None if group is None else gather_rows(pair.detach().transpose(0, 1), group).rows.transpose(0, 1)
        diagonal, power = (sum_over_ranks(t, group) for t in row_products(pair, every, crossed=crossed))
        return diagonal, power - diagonal.square().sum()
    if group is None:
        return feature_products(pair, crossed=crossed)
    return off_diagonal(sum_over_ranks(product(pair[0].mT, pair[1]) if crossed else product(pair.mT, pair), group))


def _finish(value: Tensor, views: _Views, reduction: Reduction, normalizer: Tensor | float | None) -> Tensor:
    """A batch is one sample: its value counts one, and nothing where no row is there."""
    dtype = views.query.dtype
    return reduce(value.to(dtype), (views.number > 0).to(dtype), reduction, normalizer)


def _paper_barlow(query: Tensor, key: Tensor, *, redundancy: float = 0.005, eps: float = 1e-5) -> Tensor:
    """sum_d (1 - C_dd)^2 + lambda sum_{d != e} C_de^2, C the correlations of standardised features."""
    a, b = (t.double().reshape(-1, t.shape[-1]) for t in (query, key))
    a, b = ((t - t.mean(0)) / (t.var(0, correction=0) + eps).sqrt() for t in (a, b))
    c = a.T @ b / len(a)
    own = torch.eye(len(c), dtype=torch.float64)
    return ((own + redundancy * (1 - own)) * (c - own) ** 2).sum()


@loss(
    task="embedding",
    sample=_SAMPLE,
    reference=_paper_barlow,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"redundancy": 0.5, "eps": 0.01}),
)
def barlow_twins_loss(
    query: Tensor,
    key: Tensor,
    *,
    redundancy: float = 0.005,
    eps: float = 1e-5,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Two views of a batch: each feature is to agree with itself, and not to repeat another; no negatives are needed.

    Formula:    \ell = \sum_d (1 - C_{dd})^2 + \lambda \sum_{d \ne e} C_{de}^2,\;
                C_{de} = \frac{1}{N} \sum_n \hat q_{nd} \hat k_{ne},\;
                \hat q = \frac{q - \bar q}{\sqrt{\mathrm{var}(q) + \epsilon}} over the batch, feature by feature
    Gradient:   \partial\ell/\partial \hat q_{nd} = \frac{2}{N} ((C_{dd} - 1)\, \hat k_{nd}
                + \lambda \sum_{e \ne d} C_{de} \hat k_{ne}), then through the standardisation
    Use when:   images or texts are learned from pairs of views without labels, and batches of a thousand rows are too small for
                contrast; features are to be decorrelated.
    Avoid when: labels exist (supervised_contrastive_loss), or a batch holds fewer than some hundred rows: C is noise then.
    Shape:      query (*, D), key (*, D), all leading axes are the batch -> ()
    Args:
        redundancy: >= 0, the paper's lambda (0.005; the authors' code 0.0051).
        eps: > 0, added to the variances, which are divided by N: those of the batch norm without a scale in the authors' code
            and in lightly's. A feature that is constant correlates with nothing and costs 1.
        mask: (*) bool, True where a pair of rows is there; what is masked may be NaN, and is in no mean.
        reduction: a batch is one sample that counts one, so that "mean", "sum" and "none" are the same 0-d value.
        normalizer: divides the value.
        group: the ranks that hold the batch together: means, variances and C are those of all their rows.
    Returns:    0-d, in float32 (float64 for float64). With fewer rows than features no D x D matrix is made: C is known by the
                products of rows, N^2 D steps in place of N D^2.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Zbontar et al. 2021, arXiv:2103.03230; products of rows: Garrido et al. 2022, arXiv:2206.02574
    Example:
        >>> view = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
        >>> losskit.barlow_twins_loss(view, -view)  # two features, each its own opposite: (1 + 1)^2 each, less eps
        tensor(7.9999)
    """
    at_least("redundancy", redundancy, 0)
    at_least("eps", eps, 0, strict=True)
    views = _views(query, key, mask, group)
    number = views.number.clamp(min=1)
    agreement, repeated = _products(views, eps, group, crossed=True)
    value = (1 - agreement / number).square().sum() + redundancy * repeated / number**2
    return _finish(value, views, reduction, normalizer)


class BarlowTwinsLoss(Loss, function=barlow_twins_loss):
    """Module of :func:`barlow_twins_loss`."""

    redundancy: float = 0.005
    eps: float = 1e-5
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None


def _paper_vicreg(
    query: Tensor,
    key: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    margin: float = 1.0,
    eps: float = 1e-4,
) -> Tensor:
    """The authors' code, line by line: mean squared error, hinges of standard deviations, covariances beside the diagonal."""
    views = [t.double().reshape(-1, t.shape[-1]) for t in (query, key)]
    value = invariance * ((views[0] - views[1]) ** 2).mean()
    for view in views:
        cov = torch.cov(view.T).reshape(view.shape[-1], view.shape[-1])
        value = value + variance / 2 * (margin - (cov.diagonal() + eps).sqrt()).clamp(min=0).mean()
        value = value + covariance * ((cov - cov.diagonal().diag()) ** 2).sum() / len(cov)
    return value


def _collapsed(variance: float = 25.0, margin: float = 1.0, eps: float = 1e-4) -> float:
    return float(variance * max(margin - eps**0.5, 0.0))


@loss(
    task="embedding",
    sample=_SAMPLE,
    reference=_paper_vicreg,
    laws=("whole_batch", "nonnegative"),
    variants=({}, {"margin": 2.0, "eps": 0.01, "variance": 3.0}, {"invariance": 0.5, "covariance": 4.0}),
    chance=_collapsed,
)
def vicreg_loss(
    query: Tensor,
    key: Tensor,
    *,
    invariance: float = 25.0,
    variance: float = 25.0,
    covariance: float = 1.0,
    margin: float = 1.0,
    eps: float = 1e-4,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Two views of a batch are to be alike, while every feature varies and no two vary together; no negatives are needed.

    Formula:    \ell = \frac{\lambda}{N D} \sum_{nd} (q_{nd} - k_{nd})^2 + \frac{\mu}{2} (v(q) + v(k)) + \nu (c(q) + c(k)),\;
                v(z) = \frac{1}{D} \sum_d \max(0, m - \sqrt{\mathrm{var}(z_d) + \epsilon}),\;
                c(z) = \frac{1}{D} \sum_{d \ne e} \mathrm{cov}(z_d, z_e)^2
    Gradient:   of the covariances:
                \partial c/\partial z_{nd} = \frac{4}{D (N - 1)} \sum_{e \ne d} \mathrm{cov}(z_d, z_e) (z_{ne} - \bar z_e)
    Use when:   pairs of views without labels, also of two kinds (text and image): each side is held up by itself.
    Avoid when: labels exist (supervised_contrastive_loss), or features must have length one, which the variances work against.
    Shape:      query (*, D), key (*, D), all leading axes are the batch -> ()
    Args:
        invariance: lambda >= 0, of the squared difference. It is a mean over rows and features as in the authors' code and in
            lightly's; the paper writes the sum over features.
        variance: mu >= 0, of the hinges on standard deviations, the mean of both views as in the code; the paper adds them.
        covariance: nu >= 0, of the squared covariances, the sum of both views as in both.
        margin: m >= 0 (the paper's gamma), the standard deviation that is enough.
        eps: > 0, added to the variances, which like the covariances are divided by N - 1. Collapsed rows cost
            variance * (margin - sqrt(eps)): 24.75.
        mask: (*) bool, True where a pair of rows is there; what is masked may be NaN, and is in no mean.
        reduction: a batch is one sample that counts one, so that "mean", "sum" and "none" are the same 0-d value.
        normalizer: divides the value.
        group: the ranks that hold the batch together: means, variances and covariances are those of all their rows.
    Returns:    0-d, in float32 (float64 for float64). One row has no variance: its hinges cost margin - sqrt(eps). With fewer
                rows than features no D x D matrix is made, N^2 D steps in place of N D^2.
    Raises:     ShapeError; TypeError; ValueError for an option out of range.
    Reference:  Bardes, Ponce, LeCun 2022, arXiv:2105.04906; products of rows: Garrido et al. 2022, arXiv:2206.02574
    Example:
        >>> losskit.vicreg_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # collapsed: 25 (1 - 0.01)
        tensor(24.7500)
    """
    for name, number in (("invariance", invariance), ("variance", variance), ("covariance", covariance), ("margin", margin)):
        at_least(name, number, 0)
    at_least("eps", eps, 0, strict=True)
    views = _views(query, key, mask, group)
    features, freedom = max(views.query.shape[-1], 1), (views.number - 1).clamp(min=1)
    apart = views.total(F.mse_loss(views.query, views.key, reduction="sum")) / (views.number.clamp(min=1) * features)
    power, together = _products(views, None, group, crossed=False)
    hinges = F.relu(margin - torch.sqrt(power / freedom + eps)).sum() / (2 * features)
    value = invariance * apart + variance * hinges + covariance * together / (freedom**2 * features)
    return _finish(value, views, reduction, normalizer)


class VICRegLoss(Loss, function=vicreg_loss):
    """Module of :func:`vicreg_loss`."""

    invariance: float = 25.0
    variance: float = 25.0
    covariance: float = 1.0
    margin: float = 1.0
    eps: float = 1e-4
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
