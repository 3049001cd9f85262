"""Which negatives are too alike to be negatives: judged by the model's own cosines, or by those of a guide."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from ..core.check import at_least
from ..ops.pair_tiles import Gate
from ..parallel import gather_rows
from .embeddings import ROUNDING, rows_of, towers

__all__ = ["Guide", "Judge"]


class Guide(NamedTuple):
    """Vectors of another model for queries, keys and further negatives."""

    query: Tensor | None
    key: Tensor | None
    negatives: Tensor | None


class Judge(NamedTuple):
    """The vectors whose products decide, without gradients, and how high a product a pair of each row may have."""

    query: Tensor
    """(n, E)"""
    key: Tensor
    """(n, E)"""
    limit: Tensor
    """(n,)"""
    queries: Tensor
    """(N, E): of all ranks"""
    keys: Tensor
    limits: Tensor
    negatives: Tensor | None

    @classmethod
    def of(
        cls,
        query: Tensor,
        key: Tensor,
        negatives: Tensor | None,
        guide: Guide,
        above: float | None,
        mask: Tensor | None,
        group: dist.ProcessGroup | None,
    ) -> Judge | None:
        """The judge of a batch, None if there is none: vectors of the batch itself, or those of a guide."""
        guided = guide.query is not None or guide.key is not None
        if guided and (guide.query is None or guide.key is None or (negatives is not None and guide.negatives is None)):
            raise ValueError('"guide_query" goes with "guide_key", and with "guide_negatives" where there are "negatives"')
        if not guided and guide.negatives is not None:
            raise ValueError('"guide_negatives" goes with "guide_query" and "guide_key"')
        if above is None and not guided:
            return None
        if above is not None:
            at_least("mask_above", above, -math.inf)
        if guide.query is not None and guide.key is not None:
            query, key = (r.values for r in towers(guide.query.detach(), guide.key.detach(), mask))
            negatives = None if guide.negatives is None else rows_of(guide.negatives).values
        q, k = query.detach(), key.detach()
        # a copy of the own key is as alike as the own key, however the sum of its product is rounded
        slack = ROUNDING * torch.finfo(q.dtype).eps * q.norm(dim=-1) * k.norm(dim=-1)
        limit = (q * k).sum(-1) + (above or 0.0) + slack
        queries, keys, limits = (gather_rows(t, group).rows for t in (q, k, limit))
        negatives = None if negatives is None else gather_rows(negatives.detach().to(q.dtype), group).rows
        return cls(q, k, limit, queries, keys, limits, negatives)

    def of_keys(self) -> Gate:
        """Queries against all keys."""
        return Gate(self.query, self.keys, self.limit, self.limits)

    def of_queries(self) -> Gate:
        """Queries against all queries."""
        return Gate(self.query, self.queries, self.limit, self.limits)

    def among_keys(self) -> Gate:
        """Keys against all keys."""
        return Gate(self.key, self.keys, self.limit, self.limits)

    def of_negatives(self) -> Gate | None:
        """Queries against the further negatives, which have no limit of their own."""
        if self.negatives is None:
            return None
        return Gate(self.query, self.negatives, self.limit, self.limit.new_full((len(self.negatives),), torch.inf))
