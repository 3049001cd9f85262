"""A labelled batch as pairs: the rows of this rank against those of all ranks, of the same label and of others."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.check import wide
from ..core.domain import Embeddings, Labels, Mask
from ..ops.pair_sets import NOBODY, Who
from ..ops.pairs import Pairs
from ..ops.unit import unit
from ..parallel import gather_rows
from .contrast import label_counts, named
from .embeddings import Rows, rows_of

__all__ = ["LABELLED", "Labelled", "labelled", "softplus_sum"]

LABELLED = {"input": Embeddings(), "labels": Labels(), "mask": Mask(meaning="True where a row is there")}


class Labelled(NamedTuple):
    """Anchors, the rows of this rank, (n, D), and the rows of all ranks, (M, D), all of unit length."""

    rows: Rows
    """This rank's, as they were given."""
    own: Tensor
    every: Tensor
    own_ids: Tensor
    """(n,) the labels; NOBODY where a row is masked"""
    ids: Tensor
    """(M,)"""
    start: int
    positives: Tensor
    """(n,) int64: how many other rows have the anchor's label; 0 where it is masked"""
    negatives: Tensor
    """(n,) int64: how many have another one"""

    def same(self, scale: float = 1.0) -> Pairs:
        """The pairs of different rows with the same label; scores are cosines times ``scale``."""
        place = torch.arange(len(self.every), device=self.every.device)
        here = place[self.start : self.start + len(self.own)]
        return self._pairs(scale, Who(self.own_ids, self.ids, here, place, True))

    def others(self, scale: float = 1.0) -> Pairs:
        """The pairs of rows with other labels."""
        return self._pairs(scale, Who(self.own_ids, self.ids, self.own_ids, self.ids, False))

    def _pairs(self, scale: float, who: Who) -> Pairs:
        narrow = self.rows.narrow if self.every.dtype == self.rows.values.dtype else ""
        return Pairs(self.own if scale == 1 else self.own * scale, self.every, who, narrow)


def labelled(
    input: Tensor, labels: Tensor, mask: Tensor | None, group: dist.ProcessGroup | None, *, exact: bool = False
) -> Labelled:
    """The batch of all ranks; ``exact`` in float64, where the distance of nearly equal rows keeps its digits."""
    rows = rows_of(input, mask, normalize=False)
    every, start = gather_rows(rows.values, group)
    every = unit(wide(every) if exact else every)
    own_ids = torch.where(rows.valid, named(labels), NOBODY)
    ids = gather_rows(own_ids, group).rows
    own = every if group is None else every[start : start + len(own_ids)]
    alike = label_counts(ids, own_ids)  # the anchor itself is one of them
    others = torch.where(rows.valid, (ids != NOBODY).sum() - alike, 0)
    return Labelled(rows, own, every, own_ids, ids, start, (alike - 1).clamp(min=0), others)


def softplus_sum(lse: Tensor, shift: float) -> Tensor:
    """log(1 + sum of exp(score + shift)) of a log-sum-exp of scores; 0, without a gradient, for a sum of nothing."""
    nothing = lse == -torch.inf
    return torch.where(nothing, 0, -F.logsigmoid(-shift - torch.where(nothing, 0, lse)))
