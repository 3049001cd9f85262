"""Two towers, one batch: CLIP's softmax in both directions, and SigLIP's sigmoid for every pair."""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.domain import Embeddings, Labels, Mask, Real
from ..core.module import Loss
from ..core.reduce import Reduction, reduce_total
from ..ops.pair_sets import Who
from ..ops.pairs import Curve, Pairs, pair_sums, pair_total_sum
from ..ops.unit import dots
from ..parallel import first_row, sum_over_ranks
from .contrast import side
from .embeddings import TEMPERATURE, positive_number, reduce_rows, towers
from .info_nce import Batch, paper, rows64

__all__ = ["CLIPLoss", "SigLIPLoss", "clip_loss", "siglip_loss"]

_SAMPLE = {
    "query": Embeddings(),
    "key": Embeddings(meaning='one vector for each row of "query": its own key'),
    "query_ids": Labels(optional=True, meaning="integers, equal for queries of the same thing"),
    "key_ids": Labels(optional=True, meaning="integers, equal for keys that are the same"),
    "mask": Mask(meaning="True where a pair is there"),
    "logit_scale": TEMPERATURE,
}


def _clip_paper(
    query: Tensor,
    key: Tensor,
    *,
    logit_scale: Tensor | float = 1 / 0.07,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    normalize: bool = True,
) -> Tensor:
    return paper(
        query, key, temperature=1 / logit_scale, directions="both", query_ids=query_ids, key_ids=key_ids, normalize=normalize
    )


def _siglip_paper(
    query: Tensor,
    key: Tensor,
    *,
    logit_scale: Tensor | float = 10.0,
    logit_bias: Tensor | float = -10.0,
    query_ids: Tensor | None = None,
    multi_positive: bool = False,
) -> Tensor:
    """Of each query the sum over keys of -log sigmoid(z_ij (t s_ij + b)), z = 1 for a pair, -1 for others."""
    logits = logit_scale * (rows64(query, True) @ rows64(key, True).T) + logit_bias
    own = torch.eye(len(logits), dtype=torch.bool)
    alike = own if query_ids is None else query_ids.flatten()[:, None] == query_ids.flatten()
    right = alike if multi_positive else own
    each = torch.where(right, torch.log1p((-logits).exp()), torch.where(alike, 0, torch.log1p(logits.exp())))
    return each.sum(1).reshape(query.shape[:-1])


def _clip_chance(batch_size: int, logit_scale: object = None, normalize: bool = True) -> float:
    """Of embeddings that are all the same, at any temperature."""
    return math.log(batch_size)


@loss(
    task="embedding",
    sample=_SAMPLE,
    reference=_clip_paper,
    laws=("whole_batch",),
    variants=({}, {"logit_scale": 100.0}, {"query_ids": Labels(), "key_ids": Labels()}),
    chance=_clip_chance,
)
def clip_loss(
    query: Tensor,
    key: Tensor,
    *,
    logit_scale: Tensor | float = 1 / 0.07,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Images find their captions and captions their images, among all of the batch.

    Formula:    \ell_i = -\frac{1}{2} \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}}}
        - \frac{1}{2} \log \frac{e^{s_{ii}}}{\sum_j e^{s_{ji}}},\; s_{ij} = t \cos(q_i, k_j)
    Gradient:   \partial\ell/\partial s_{ij} = \frac{1}{2} (p_{ij} + p'_{ij}) - [i = j]
    Use when:   two towers see two sides of the same things and batches are large.
    Avoid when: batches are small, or spread over ranks that cannot exchange rows: siglip_loss needs no sum over the batch.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        logit_scale: > 0, a number or a tensor: what cosines are multiplied by, as it is (``model.logit_scale.exp()``). CLIP
            keeps it below 100.
        query_ids: (*) integers: rows with equal ids are not each other's negatives.
        key_ids: (*) the same for keys, e.g. a caption that fits several images.
        normalize: False takes products of the vectors as they are.
        mask: (*) bool, True where a pair is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". A pair without negatives counts 0.
    Raises:     ShapeError; TypeError; ValueError for a scale <= 0.
    Reference:  Radford et al. 2021, arXiv:2103.00020
    Example:
        >>> losskit.clip_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # no direction at all: ln 4
        tensor(1.3863)
    """
    positive_number("logit_scale", logit_scale)
    q, k = towers(query, key, mask, normalize=normalize)
    value = Batch(q, k, None, query_ids, key_ids, None, None, group).nll(logit_scale, "both")
    return reduce_rows(value.to(q.values.dtype), q.valid, q.lead, reduction, normalizer, group)


class CLIPLoss(Loss, function=clip_loss):
    """Module of :func:`clip_loss`."""

    logit_scale: Tensor | float = 1 / 0.07
    query_ids: Tensor | None = None
    key_ids: Tensor | None = None
    normalize: bool = True
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None


def _siglip_chance(batch_size: int, logit_bias: float = -10.0, logit_scale: object = None, normalize: bool = True) -> float:
    """Of embeddings that are at right angles to each other: of those alone the scale does not matter."""
    return math.log1p(math.exp(-logit_bias)) + (batch_size - 1) * math.log1p(math.exp(logit_bias))


@loss(
    task="embedding",
    sample={
        **_SAMPLE,
        "logit_bias": Real("", optional=True, scalar=True, meaning="a number"),
    },
    reference=_siglip_paper,
    laws=("whole_batch", "nonnegative"),
    variants=(
        {},
        {"logit_scale": 1.0, "logit_bias": 0.0, "query_ids": Labels()},
        {"query_ids": Labels(), "multi_positive": True},
    ),
    chance=_siglip_chance,
)
def siglip_loss(
    query: Tensor,
    key: Tensor,
    *,
    logit_scale: Tensor | float = 10.0,
    logit_bias: Tensor | float = -10.0,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    multi_positive: bool = False,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Asks of every query and every key of the batch: a pair or not? No sum over the batch, so small batches learn too.

    Formula:    \ell_i = \sum_j \log(1 + e^{-z_{ij} (t \cos(q_i, k_j) + b)}),\; z_{ij} = 2 [i = j] - 1
    Gradient:   \partial\ell_i/\partial l_{ij} = \sigma(l_{ij}) - [i = j],\; l_{ij} = t \cos(q_i, k_j) + b
    Use when:   two towers, as clip_loss, with batches that are small or spread over many ranks.
    Avoid when: scale and bias are not learned: at a scale of 10 and a bias of 0 the N - 1 negatives drown the one pair.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        logit_scale: > 0, a number or a tensor: what cosines are multiplied by, as it is (``t.exp()``); 10 in the beginning.
        logit_bias: a number or a tensor; -10 in the beginning.
        query_ids: (*) integers: rows with equal ids are not each other's negatives.
        key_ids: (*) the same for keys.
        multi_positive: all keys whose row has the query's ``query_ids`` are its pairs, too.
        normalize: False takes products of the vectors as they are.
        mask: (*) bool, True where a pair is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none": of each query the sum over keys. The mean is over queries, as in the paper.
    Raises:     ShapeError; TypeError; ValueError for a scale <= 0, or multi_positive without "query_ids" alone.
    Reference:  Zhai et al. 2023, arXiv:2303.15343
    Example:
        >>> losskit.siglip_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # all -10: 10 for the pair, almost nothing for others
        tensor(10.0002)
    """
    if multi_positive and (query_ids is None or key_ids is not None):
        raise ValueError('"multi_positive" takes "query_ids", and no "key_ids"')
    choice("reduction", reduction, ("none", "mean", "sum"))
    positive_number("logit_scale", logit_scale)
    if not isinstance(logit_bias, Tensor):
        at_least("logit_bias", logit_bias, -math.inf)
    q, k = towers(query, key, mask, normalize=normalize)
    start = first_row(q.values, group)
    left, right = (side(r, start, query_ids, key_ids) for r in (q, k))
    keys = right.everywhere(group)
    x = left.rows * logit_scale
    bias = logit_bias.to(x.dtype) if isinstance(logit_bias, Tensor) else x.new_full((), logit_bias)
    apart = Who(left.ids, keys.ids, left.slots, keys.slots, False)
    others = Pairs(x, keys.rows, apart, left.narrow), Curve("softplus", t=bias.expand(len(x)))
    if multi_positive:
        alike = Who(left.ids, keys.ids, torch.zeros_like(left.ids), torch.ones_like(keys.ids), True)
        near = pair_sums(Pairs(-x, keys.rows, alike, left.narrow), Curve("softplus", t=-bias.expand(len(x))))
    else:
        near = -F.logsigmoid(dots(x, k.values) + bias)
    near = torch.where(q.valid, near, 0)
    if reduction == "none":
        value = near + pair_sums(*others)
        return reduce_rows(value.to(x.dtype), q.valid, q.lead, reduction, normalizer, group)
    count = q.valid.to(x.dtype)
    total = near.sum() + pair_total_sum(*others, count)
    return reduce_total(sum_over_ranks(total, group).to(x.dtype), sum_over_ranks(count.sum(), group), reduction, normalizer)


class SigLIPLoss(Loss, function=siglip_loss):
    """Module of :func:`siglip_loss`."""

    logit_scale: Tensor | float = 10.0
    logit_bias: Tensor | float = -10.0
    query_ids: Tensor | None = None
    key_ids: Tensor | None = None
    multi_positive: bool = False
    normalize: bool = True
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
