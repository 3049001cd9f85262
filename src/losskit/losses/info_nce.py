"""InfoNCE: each query must find its own key among all keys of the batch."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.card import loss
from ..core.check import at_least, choice
from ..core.domain import Embeddings, Labels, Mask
from ..core.module import Loss
from ..core.reduce import Reduction
from ..ops.pair_sets import NOBODY, Who
from ..ops.pairs import Curve, Pairs, pair_sums
from ..ops.unit import dots
from ..parallel import first_row
from .contrast import Side, contrast, inverse, label_counts, log_add, named, nll, side
from .embeddings import TEMPERATURE, Rows, positive_number, reduce_rows, rows_of, towers
from .false_negatives import Guide, Judge

__all__ = ["InfoNCELoss", "info_nce_loss"]

Directions = Literal["one", "both", "joint"]

_TOWERS = {
    "query": Embeddings(),
    "key": Embeddings(meaning='one vector for each row of "query": its own key'),
    "query_ids": Labels(optional=True, meaning="integers, equal for queries of the same thing"),
    "key_ids": Labels(optional=True, meaning="integers, equal for keys that are the same"),
    "mask": Mask(meaning="True where a pair is there"),
}
_GUIDE = {
    "guide_query": Embeddings("* G", optional=True, kind="number", meaning="the guide's vector for each query"),
    "guide_key": Embeddings("* G", optional=True, kind="number", meaning="the guide's vector for each key"),
    "guide_negatives": Embeddings("M G", optional=True, kind="number", meaning="the guide's vector for each negative"),
}


def rows64(rows: Tensor, normalize: bool) -> Tensor:
    """(N, D) in float64, of length one if ``normalize``."""
    rows = rows.double().flatten(0, -2)
    return torch.nn.functional.normalize(rows, dim=-1, eps=1e-12) if normalize else rows


def paper(
    query: Tensor,
    key: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: Tensor | float = 0.07,
    directions: str = "one",
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    multi_positive: bool = False,
    mask_above: float | None = None,
    decoupled: bool = False,
    margin: float = 0.0,
    normalize: bool = True,
) -> Tensor:
    """Dense, in float64: -s_ii + log(e^{s_ii} + sum of e^{s_ij} over negatives j), s = cosine / temperature."""
    q, k = rows64(query, normalize), rows64(key, normalize)
    n = len(q)
    differ = ~torch.eye(n, dtype=torch.bool)
    for ids in (query_ids, key_ids):
        if ids is not None:
            differ = differ & (ids.flatten()[:, None] != ids.flatten())

    def total(a: Tensor, b: Tensor, apart: Tensor, limit: Tensor) -> Tensor:
        s = a @ b.T
        seen = apart if mask_above is None else apart & ~(s > limit[:, None] + mask_above)
        return torch.where(seen, (s / temperature).exp(), 0).sum(1)

    limit = (q * k).sum(1)
    own = ((limit - margin) / temperature).exp()
    parts = [total(q, k, differ, limit)]
    if negatives is not None:
        pool, apart = rows64(negatives, normalize), torch.ones(n, len(negatives), dtype=torch.bool)
        if negative_ids is not None and key_ids is not None:
            apart = key_ids.flatten()[:, None] != negative_ids
        elif negative_ids is not None and query_ids is not None:
            apart = query_ids.flatten()[:, None] != negative_ids
        parts.append(total(q, pool, apart, limit))
    if directions == "joint":
        parts += [total(k, q, differ, limit), total(q, q, differ, limit), total(k, k, differ, limit)]
    rest = torch.stack(parts).sum(0)
    if multi_positive:
        assert query_ids is not None
        alike = query_ids.flatten()[:, None] == query_ids.flatten()
        each = (((q @ k.T) - margin) / temperature).exp()
        value = torch.where(alike, -torch.log(each / (each + rest[:, None])), 0).sum(1) / alike.sum(1)
    else:
        value = -torch.log(own / (rest + (0 if decoupled else own)))
    if directions == "both":
        back = total(k, q, differ, limit)
        value = (value - torch.log(own / (back + (0 if decoupled else own)))) / 2
    return torch.where(rest == 0, 0, value).reshape(query.shape[:-1])  # nobody to lose against


def _chance(
    batch_size: int, directions: str = "one", decoupled: bool = False, temperature: object = None, normalize: bool = True
) -> float:
    """Of embeddings that are all the same, at any temperature."""
    others = (batch_size - 1) * (4 if directions == "joint" else 1)
    return math.log(others + (not decoupled))


@loss(
    task="embedding",
    sample={
        **_TOWERS,
        "negatives": Embeddings("M D", optional=True, meaning="keys that belong to no query, one vector each"),
        "negative_ids": Labels("M", optional=True, meaning='integers, equal to "key_ids" of the same key'),
        **_GUIDE,
        "temperature": TEMPERATURE,
    },
    reference=paper,
    laws=("whole_batch",),
    variants=(
        {},
        {"directions": "both", "query_ids": Labels()},
        {"directions": "joint", "negatives": Embeddings("M D")},
        {"query_ids": Labels(), "multi_positive": True, "margin": 0.1},
        {"decoupled": True, "mask_above": 0.2, "normalize": False, "temperature": 1.0},
    ),
    chance=_chance,
)
def info_nce_loss(
    query: Tensor,
    key: Tensor,
    *,
    negatives: Tensor | None = None,
    temperature: Tensor | float = 0.07,
    directions: Directions = "one",
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    negative_ids: Tensor | None = None,
    multi_positive: bool = False,
    mask_above: float | None = None,
    guide_query: Tensor | None = None,
    guide_key: Tensor | None = None,
    guide_negatives: Tensor | None = None,
    decoupled: bool = False,
    margin: float = 0.0,
    normalize: bool = True,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    normalizer: Tensor | float | None = None,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    r"""Pulls each query to its own key and away from all other keys of the batch, which serve as its negatives.

    Formula:    \ell_i = -\log \frac{e^{s_{ii}}}{e^{s_{ii}} + \sum_{j \ne i} e^{s_{ij}}},\; s_{ij} = \cos(q_i, k_j) / \tau
    Gradient:   \partial\ell_i/\partial s_{ij} = p_{ij} - [i = j]
    Use when:   pairs are all there is to learn from: search, images and captions, two views of one thing.
    Avoid when: batches are small (a batch of N teaches log N at most), or most other keys are right as well and no ids say so.
    Shape:      query (*, D), key (*, D) -> () or (*)
    Args:
        negatives: (M, D) further keys, negatives of every query; with ``group`` those of all ranks.
        temperature: > 0, a number or a tensor (learned, if it wants a gradient). Small: only the hardest negatives matter.
        directions: "one": queries find keys. "both": the mean of that and keys finding queries. "joint": one sum over the
            other keys, the other queries (of the query and of the key), and the keys' own others; the own pair counts once.
        query_ids: (*) integers: rows with equal ids are not each other's negatives. A class label is an id.
        key_ids: (*) the same for keys, e.g. a document that answers several queries of the batch.
        negative_ids: (M,) ids of ``negatives``, in the numbering of ``key_ids``, or of ``query_ids`` where there are none.
        multi_positive: all keys whose row has the query's ``query_ids`` are its positives; the mean of their losses.
        mask_above: leaves out negatives whose cosine (product, if ``normalize`` is False) is more than this above that of the
            own key; from 0 on an exact copy of the own key stays. GIST's absolute margin m is ``mask_above=-m``.
        guide_query: (*, G) vectors of another model, whose cosines decide in place of ours (``mask_above`` is 0 if None).
        guide_key: (*, G), with ``guide_query``.
        guide_negatives: (M, G), with ``negatives`` and a guide.
        decoupled: leaves the own score out of the sum.
        margin: the own cosine must lead by this much.
        normalize: False takes products of the vectors as they are.
        mask: (*) bool, True where a pair is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the mean over all, whose gradient is DDP's mean of the gradients.
    Returns:    0-d, or (*) for reduction="none". A query without negatives counts 0. ``parts`` of micro-batches compare within
        each: for one large batch in pieces take ``CachedStep``.
    Raises:     ShapeError; TypeError; ValueError for a temperature <= 0, half a guide, options that exclude each other.
    Reference:  van den Oord et al. 2018, arXiv:1807.03748; decoupled: Yeh et al. 2021, arXiv:2110.06848; joint: Li et al. 2023,
        arXiv:2308.03281; guide: Solatorio 2024, arXiv:2402.16829
    Example:
        >>> losskit.info_nce_loss(torch.zeros(4, 8), torch.zeros(4, 8))  # no direction at all: ln 4
        tensor(1.3863)
    """
    if multi_positive and (query_ids is None or key_ids is not None or decoupled or directions != "one"):
        raise ValueError('"multi_positive" takes "query_ids", one direction, and neither "key_ids" nor "decoupled"')
    at_least("margin", margin, 0)
    positive_number("temperature", temperature)
    choice("directions", directions, ("one", "both", "joint"))
    q, k = towers(query, key, mask, normalize=normalize)
    pool = None if negatives is None else rows_of(negatives, normalize=normalize)
    guide = Guide(guide_query, guide_key, guide_negatives)
    judge = Judge.of(q.values, k.values, None if pool is None else pool.values, guide, mask_above, mask, group)
    batch = Batch(q, k, pool, query_ids, key_ids, negative_ids, judge, group)
    scale = inverse(temperature)
    value = batch.nll(scale, directions, margin=margin, decoupled=decoupled, multi_positive=multi_positive)
    return reduce_rows(value.to(q.values.dtype), q.valid, q.lead, reduction, normalizer, group)


class Batch(NamedTuple):
    """Pairs, further negatives, and who is whose negative."""

    query: Rows
    key: Rows
    pool: Rows | None
    query_ids: Tensor | None
    key_ids: Tensor | None
    negative_ids: Tensor | None
    judge: Judge | None
    group: dist.ProcessGroup | None

    def nll(
        self,
        scale: Tensor | float,
        directions: str,
        *,
        margin: float = 0.0,
        decoupled: bool = False,
        multi_positive: bool = False,
    ) -> Tensor:
        """-log of the share of each pair among all that it is compared with, (n,) in float64."""
        (q, k, pool), judge, group = self[:3], self.judge, self.group
        if self.negative_ids is not None and (pool is None or (self.query_ids is None and self.key_ids is None)):
            raise ValueError(
                '"negative_ids" goes with "negatives", and with the "key_ids" or "query_ids" that it is compared with'
            )
        start = first_row(q.values, group)
        left, right = (side(r, start, self.query_ids, self.key_ids) for r in (q, k))
        keys, ranks = right.everywhere(group), None if directions == "one" else (start, group)
        near = left.times(scale)
        found = contrast(near, keys, both=ranks, gate=judge and judge.of_keys())
        rest = [found.rest]
        if pool is not None:
            mine, further = self._against(near, pool)
            rest.append(contrast(mine, further.everywhere(group), gate=judge and judge.of_negatives()).rest)
        if directions == "joint":
            queries = left.everywhere(group)
            rest += [found.back, contrast(near, queries, gate=judge and judge.of_queries()).rest]
            rest += [contrast(right.times(scale), keys, gate=judge and judge.among_keys()).rest]
        others = rest[0] if len(rest) == 1 else log_add(*rest)
        if multi_positive:
            return _each_positive(near, keys, others + margin * scale)
        own = dots(near.rows, k.values) - margin * scale
        value = nll(own, others, decoupled=decoupled)
        return (value + nll(own, found.back, decoupled=decoupled)) / 2 if directions == "both" else value

    def _against(self, near: Side, pool: Rows) -> tuple[Side, Side]:
        """Queries, and the further negatives of this rank: of other ids, if they have ids, and else all."""
        known = self.query_ids if self.key_ids is None else self.key_ids
        ids: tuple[Tensor | int, Tensor | int] = (0, 1)
        if self.negative_ids is not None and known is not None:
            ids = named(known), named(self.negative_ids)
        mine, further = (torch.where(r.valid, each, NOBODY) for r, each in zip((self.query, pool), ids, strict=True))
        narrow = near.narrow if pool.narrow == near.narrow else ""
        return Side(near.rows, mine, mine, narrow), Side(pool.values.to(near.rows.dtype), further, further)


def _each_positive(query: Side, keys: Side, rest: Tensor) -> Tensor:
    """The mean over a query's positives of log(1 + e^(rest - s)), (n,)."""
    alike = Who(query.ids, keys.ids, torch.zeros_like(query.ids), torch.ones_like(keys.ids), True)
    total = pair_sums(Pairs(-query.rows, keys.rows, alike, query.narrow), Curve("softplus", t=rest))
    return total / label_counts(keys.ids, query.ids).clamp(min=1)


class InfoNCELoss(Loss, function=info_nce_loss):
    """Module of :func:`info_nce_loss`."""

    negatives: Tensor | None = None
    temperature: Tensor | float = 0.07
    directions: Directions = "one"
    query_ids: Tensor | None = None
    key_ids: Tensor | None = None
    negative_ids: Tensor | None = None
    multi_positive: bool = False
    mask_above: float | None = None
    guide_query: Tensor | None = None
    guide_key: Tensor | None = None
    guide_negatives: Tensor | None = None
    decoupled: bool = False
    margin: float = 0.0
    normalize: bool = True
    mask: Tensor | None = None
    reduction: Reduction = "mean"
    normalizer: Tensor | float | None = None
    group: dist.ProcessGroup | None = None
