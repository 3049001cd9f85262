"""Own score against all others: what the softmax losses over a batch of embeddings are made of."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

from ..core.check import wide
from ..ops.logsum import log_sum
from ..ops.pair_sets import NOBODY, Who
from ..ops.pair_tiles import Gate
from ..ops.pairs import Pairs, pair_logsumexp
from ..parallel import gather_rows, logsumexp_over_ranks
from .embeddings import Rows

__all__ = ["Contrast", "Side", "contrast", "inverse", "label_counts", "label_sums", "log_add", "nll", "side"]


class Side(NamedTuple):
    """Rows of one tower (n, D); of each its id and its slot, (n,) int64. Two that share one of them are no negatives."""

    rows: Tensor
    ids: Tensor
    slots: Tensor
    narrow: str = ""
    """What the operands of products may be rounded to."""

    def everywhere(self, group: dist.ProcessGroup | None) -> Side:
        """This side of all ranks."""
        if group is None:
            return self
        rows, ids = (gather_rows(each, group).rows for each in self[:2])
        return Side(rows, ids, ids if self.slots is self.ids else gather_rows(self.slots, group).rows, self.narrow)

    def times(self, scale: Tensor | float) -> Side:
        """The same with longer rows, so that products with them are scores."""
        return self._replace(rows=self.rows * scale)


class Contrast(NamedTuple):
    """Log-sum-exps of scores / temperature, float64, -inf where there is nothing to sum."""

    rest: Tensor
    """(n,): of each row of the left side with all of the right that share nothing with it"""
    back: Tensor
    """(n,): the same of the right side's rows of this rank; empty unless asked for"""


def side(rows: Rows, start: int, ids: Tensor | None = None, slots: Tensor | None = None) -> Side:
    """Rows with ids and slots: their places in the whole batch where none are given, NOBODY where a row is not there."""
    place = start + torch.arange(len(rows.values), device=rows.values.device)
    first = torch.where(rows.valid, place if ids is None else named(ids), NOBODY)
    if slots is ids:  # one tensor for both: the ops compare it once
        return Side(rows.values, first, first, rows.narrow)
    return Side(rows.values, first, torch.where(rows.valid, place if slots is None else named(slots), NOBODY), rows.narrow)


def named(ids: Tensor) -> Tensor:
    """Ids without axes, none of which says that nobody is there: the lowest of all integers counts as the next one."""
    return ids.reshape(-1).long().clamp(min=NOBODY + 1)


def contrast(
    left: Side,
    right: Side,
    *,
    both: tuple[int, dist.ProcessGroup | None] | None = None,
    gate: Gate | None = None,
) -> Contrast:
    """Log-sum-exps over the pairs of two sides that share neither id nor slot, the right one of all ranks.

    ``both``, where this rank's rows begin in the right side, and the ranks, asks for the way back too: the left sides
    of all ranks together hold every row once.
    """
    who = Who(left.ids, right.ids, left.slots, right.slots, False)
    pairs = Pairs(left.rows, right.rows, who, left.narrow)
    rest, back = pair_logsumexp(pairs, columns=both is not None, gate=gate)
    if both is not None:
        start, group = both
        back = logsumexp_over_ranks(back, group)[start : start + len(left.rows)]
    return Contrast(rest, back)


def inverse(temperature: Tensor | float) -> Tensor | float:
    """1 / temperature, with digits that half precision has not: 1 / 0.01 is 99.98 there."""
    return 1 / (wide(temperature) if isinstance(temperature, Tensor) else temperature)


def log_add(*terms: Tensor) -> Tensor:
    """log(sum of exp) of equal shapes; -inf, without a gradient, where all are -inf."""
    return log_sum(torch.stack(terms))


def nll(own: Tensor, rest: Tensor, *, decoupled: bool = False) -> Tensor:
    """-log of the own score's share; without others 0. Decoupled: the own score is not among what it is compared with."""
    if not decoupled:
        return -F.logsigmoid(own - rest)
    alone = rest == -torch.inf
    return torch.where(alone, 0, torch.where(alone, 0, rest) - own)


def label_sums(values: Tensor, labels: Tensor) -> Tensor:
    """For each row (N, D) the sum of all rows with its label, its own among them."""
    ordered, order = labels.sort(stable=True)
    changes = torch.cat([torch.zeros_like(ordered[:1]), (ordered[1:] != ordered[:-1]).long()])
    segments = torch.zeros_like(labels).scatter(0, order, changes.cumsum(0))  # (N,), whatever the labels are
    return torch.zeros_like(values).index_add(0, segments, values)[segments]


def label_counts(labels: Tensor, of: Tensor) -> Tensor:
    """How many of ``labels`` (N,) are equal to each one ``of`` (n,); 0 for NOBODY."""
    ordered = labels.sort().values
    count = torch.searchsorted(ordered, of, right=True) - torch.searchsorted(ordered, of)
    return torch.where(of == NOBODY, 0, count)
