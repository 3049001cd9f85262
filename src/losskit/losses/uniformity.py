"""Uniformity: how evenly the rows of a batch lie on the sphere."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least
from ..core.domain import Embeddings, Mask
from ..core.module import Loss
from ..core.reduce import Reduction, reduce
from ..ops.logsum import log_sum
from ..ops.pair_sets import NOBODY, Who
from ..ops.pairs import Pairs, pair_logsumexp
from ..parallel import gather_rows, logsumexp_over_ranks
from .embeddings import rows_of

__all__ = ["UniformityLoss", "uniformity_loss"]


def _paper(input: Tensor, *, t: float = 2.0, mask: Tensor | None = None) -> Tensor:
    """log of the mean of exp(-t |x_i - x_j|^2) over all pairs."""
    x = input.double().reshape(-1, input.shape[-1])
    x = x / x.norm(dim=1, keepdim=True)
    kernel = [torch.exp(-t * (x[i] - x[j]).square().sum()) for i in range(len(x)) for j in range(i)]
    return torch.stack(kernel).mean().log()


def _chance(t: float = 2.0) -> float:
    """All at right angles."""
    return -2 * t


@loss(
    task="embedding",
    sample={"input": Embeddings(), "mask": Mask(meaning="True where a row is there")},
    reference=_paper,
    laws=("whole_batch",),
    variants=({}, {"t": 0.5}, {"t": 20.0}),
    chance=_chance,
)
def uniformity_loss(
    input: Tensor,
    *,
    t: float = 2.0,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""How evenly the rows of a batch lie on the sphere; the lower, the more evenly. The other half of a contrastive loss.

    Formula:    \ell = \log \frac{1}{N (N - 1)} \sum_{i \ne j} e^{-t |u_i - u_j|^2},\; u = x / |x|
    Gradient:   \partial\ell/\partial u_i = 4 t \sum_{j \ne i} w_{ij} u_j, w the share of each of the N (N - 1) terms in their sum
    Use when:   with alignment_loss as a sum in place of info_nce_loss, or alone to watch a training: 0 is a collapse.
    Avoid when: it would be alone in training: rows that lie anywhere, if far apart, are all it asks for.
    Shape:      input (*, D) -> ()
    Args:
        t: > 0, how near two rows must be to be felt: a pair at squared distance 1 / t counts 0.37. 2 is the paper's.
        mask: (*) bool, True where a row is there; what is masked may be NaN, and is in no pair.
        reduction: a batch is one sample that counts one, so that "mean", "sum" and "none" are the same 0-d value.
        normalizer: divides the value.
        group: ranks that share the batch: each returns the value of all rows, whose gradient is DDP's mean of the gradients.
    Returns:    0-d: 0 if all rows are one, -2 t if all are at right angles, as random rows of many features nearly are.
                Fewer than two rows are 0, and no sample. A row of zeros is at a right angle to all, and has no gradient.
    Raises:     ShapeError; TypeError; ValueError for t <= 0.
    Reference:  Wang, Isola 2020, arXiv:2005.10242
    Example:
        >>> losskit.uniformity_loss(torch.eye(3))  # all at right angles
        tensor(-4.)
    """
    at_least("t", t, 0, strict=True)
    rows = rows_of(input, mask)
    every, start = gather_rows(rows.values, group)
    here = torch.where(rows.valid, start + torch.arange(len(rows.valid), device=input.device), NOBODY)
    places = gather_rows(here, group).rows
    near, _ = pair_logsumexp(Pairs(2 * t * rows.values, every, Who(here, places, here, places, False), rows.narrow))
    total = logsumexp_over_ranks(log_sum(near), group)
    count = (places != NOBODY).sum()
    enough = count > 1
    number = torch.where(enough, count, 2).double()
    value = torch.where(enough, total - 2 * t - (number * (number - 1)).log(), 0)
    return reduce(value.to(every.dtype), enough.to(every.dtype), reduction, normalizer)


class UniformityLoss(Loss, function=uniformity_loss):
    """Module of :func:`uniformity_loss`."""

    t: float = 2.0
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
