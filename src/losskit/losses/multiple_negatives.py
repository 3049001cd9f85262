"""Multiple negatives ranking: InfoNCE for search, with hard negatives of each query shared by the whole batch."""

from __future__ import annotations

import math
from typing import Any

import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import choice
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from .contrast import inverse
from .embeddings import TEMPERATURE, Rows, positive_number, reduce_rows, rows_of, towers
from .info_nce import Batch, Directions, paper

__all__ = ["MultipleNegativesRankingLoss", "multiple_negatives_ranking_loss"]


def _paper(query: Tensor, key: Tensor, *, negatives: Tensor | None = None, temperature: float = 0.05, **options: Any) -> Tensor:
    pool = None if negatives is None else negatives.flatten(0, -2)
    return paper(query, key, negatives=pool, temperature=temperature, **options)


def _chance(batch_size: int, directions: str = "one", temperature: object = None, normalize: bool = True) -> float:
    """Of embeddings that are all the same, at any temperature."""
    return math.log(1 + (batch_size - 1) * (4 if directions == "joint" else 1))


@loss(
    task="embedding",
    sample={
        "query": Embeddings(),
        "key": Embeddings(meaning='one vector for each row of "query": its own key'),
        "negatives": Embeddings(
            "* H D", optional=True, meaning="H hard negatives for each query; of one each: negatives.unsqueeze(-2)"
        ),
        "query_ids": Labels(optional=True, meaning="integers, equal for queries of the same thing"),
        "key_ids": Labels(optional=True, meaning="integers, equal for keys that are the same"),
        "negative_ids": Labels("* H", optional=True, meaning='integers, equal to "key_ids" of the same key'),
        "mask": Mask(meaning="True where a pair is there"),
        "temperature": TEMPERATURE,
    },
    reference=_paper,
    laws=("whole_batch",),
    variants=({}, {"negatives": Embeddings("* H D")}, {"directions": "both", "key_ids": Labels()}, {"directions": "joint"}),
    chance=_chance,
)
def multiple_negatives_ranking_loss(
    query: Tensor,
    key: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: Tensor | float = 0.05,
    directions: Directions = "one",
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Ranks each query's own key before all other keys of the batch and before everybody's hard negatives.

    Formula:    \ell_i = -\log \frac{e^{s_{ii}}}{\sum_j e^{s_{ij}} + \sum_{h} e^{s_{ih}}},\; s_{ij} = \cos(q_i, k_j) / \tau
    Gradient:   \partial\ell_i/\partial s_{ij} = p_{ij} - [i = j]
    Use when:   training a search or sentence model from (query, right answer) or (query, right answer, wrong answers).
    Avoid when: answers repeat within a batch and no ids say so: they would be pushed away from queries that they answer.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        negatives: (*, H, D) hard negatives of each query; all queries, of all ranks, share them.
        temperature: > 0, a number or a tensor; 0.05 is a ``scale`` of 20.
        directions: "one": queries rank keys. "both": the mean of that and keys ranking queries. "joint": see
            ``info_nce_loss``; sentence-transformers counts the own pair twice there, so that its loss ends at ln 2 and not at 0.
        query_ids: (*) integers: rows with equal ids are not each other's negatives.
        key_ids: (*) the same for keys, e.g. a document that answers several queries of the batch.
        negative_ids: (*, H) ids of ``negatives``, in the numbering of ``key_ids``, or of ``query_ids`` where there are none.
        normalize: False takes products of the vectors as they are.
        mask: (*) bool, True where a pair is there; what is masked, its hard negatives too, may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". A query without negatives counts 0.
    Raises:     ShapeError; TypeError; ValueError for a temperature <= 0 or an unknown direction.
    Reference:  Henderson et al. 2017, arXiv:1705.00652
    Example:
        >>> losskit.multiple_negatives_ranking_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # no direction at all: ln 4
        tensor(1.3863)
    """
    positive_number("temperature", temperature)
    choice("directions", directions, ("one", "both", "joint"))
    q, k = towers(query, key, mask, normalize=normalize)
    pool = None if negatives is None else _pool(negatives, mask, normalize)
    value = Batch(q, k, pool, query_ids, key_ids, negative_ids, None, group).nll(inverse(temperature), directions)
    return reduce_rows(value.to(q.values.dtype), q.valid, q.lead, reduction, normalizer, group)


def _pool(negatives: Tensor, mask: Tensor | None, normalize: bool) -> Rows:
    """Everybody's hard negatives, (N * H, D)."""
    there = None if mask is None else mask[..., None].expand(negatives.shape[:-1])
    return rows_of(negatives, there, normalize=normalize)


class MultipleNegativesRankingLoss(Loss, function=multiple_negatives_ranking_loss):
    """Module of :func:`multiple_negatives_ranking_loss`."""

    negatives: Tensor | None = None
    temperature: Tensor | float = 0.05
    directions: Directions = "one"
    query_ids: Tensor | None = None
    key_ids: Tensor | None = None
    negative_ids: Tensor | None = None
    normalize: bool = True
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
