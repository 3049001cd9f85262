"""NT-Xent: each of two views of a batch must find the other among all views (SimCLR)."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.unit import dots
from ..parallel import first_row
from .contrast import contrast, inverse, log_add, nll, side
from .embeddings import TEMPERATURE, positive_number, reduce_rows, towers
from .info_nce import rows64

__all__ = ["NTXentLoss", "nt_xent_loss"]


def _paper(query: Tensor, key: Tensor, *, temperature: float = 0.1, ids: Tensor | None = None, decoupled: bool = False) -> Tensor:
    """Dense, in float64: the mean of the two views' cross-entropies over the 2N - 1 other rows."""
    views = torch.cat([rows64(query, True), rows64(key, True)])
    n = len(views) // 2
    rank = torch.arange(n) if ids is None else ids.flatten()
    who = torch.cat([rank, rank])
    e = (views @ views.T / temperature).exp()
    own = torch.cat([e.diagonal(n), e.diagonal(n)])
    rest = torch.where(who[:, None] != who, e, 0).sum(1)
    each = torch.where(rest == 0, 0, -torch.log(own / (rest + (0 if decoupled else own))))
    return ((each[:n] + each[n:]) / 2).reshape(query.shape[:-1])


def _chance(batch_size: int, decoupled: bool = False, temperature: object = None) -> float:
    """Of embeddings that are all the same, at any temperature."""
    return math.log(2 * batch_size - 1 - decoupled)


@loss(
    task="embedding",
    sample={
        "query": Embeddings(meaning="one view of each thing"),
        "key": Embeddings(meaning="the other view"),
        "ids": Labels(optional=True, meaning="integers, equal for rows of the same thing"),
        "mask": Mask(meaning="True where a thing is there"),
        "temperature": TEMPERATURE,
    },
    reference=_paper,
    laws=("whole_batch",),
    variants=({}, {"temperature": 0.5, "decoupled": True}, {"ids": Labels()}),
    chance=_chance,
)
def nt_xent_loss(
    query: Tensor,
    key: Tensor,
    *,
    temperature: Tensor | float = 0.1,
    ids: Tensor | None = None,
    decoupled: bool = False,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Two views of a thing find each other among both views of all things of the batch (SimCLR).

    Formula:    \ell_i = -\log \frac{e^{s_{i,i'}}}{\sum_{a \ne i} e^{s_{i,a}}},\; s_{i,a} = \cos(z_i, z_a) / \tau
    Gradient:   \partial\ell_i/\partial s_{i,a} = p_{i,a} - [a = i']
    Use when:   there are no labels, and two augmentations of one thing should have one vector.
    Avoid when: batches are small (decoupled helps), or the batch holds many views of the same thing and no ids say so.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        temperature: > 0, a number or a tensor.
        ids: (*) integers: rows with equal ids are not each other's negatives.
        decoupled: leaves the pair's own score out of the sum, so that small batches still learn (DCL).
        mask: (*) bool, True where a thing is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, the mean over all 2N views, or (*) for reduction="none": of each thing the mean of its two views.
    Raises:     ShapeError; TypeError; ValueError for a temperature <= 0.
    Reference:  Chen et al. 2020, arXiv:2002.05709; decoupled: Yeh et al. 2021, arXiv:2110.06848
    Example:
        >>> losskit.nt_xent_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # no direction at all: ln 7
        tensor(1.9459)
    """
    positive_number("temperature", temperature)
    q, k = towers(query, key, mask)
    start = first_row(q.values, group)
    left, right = (side(r, start, ids, ids) for r in (q, k))
    queries, keys = left.everywhere(group), right.everywhere(group)
    scale = inverse(temperature)
    near = left.times(scale)
    across = contrast(near, keys, both=(start, group))
    own = dots(near.rows, k.values)
    rest = log_add(across.rest, contrast(near, queries).rest)
    back = log_add(across.back, contrast(right.times(scale), keys).rest)
    value = (nll(own, rest, decoupled=decoupled) + nll(own, back, decoupled=decoupled)) / 2
    return reduce_rows(value.to(q.values.dtype), q.valid, q.lead, reduction, normalizer, group)


class NTXentLoss(Loss, function=nt_xent_loss):
    """Module of :func:`nt_xent_loss`."""

    temperature: Tensor | float = 0.1
    ids: Tensor | None = None
    decoupled: bool = False
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
