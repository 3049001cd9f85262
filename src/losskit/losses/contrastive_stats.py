"""What a batch of embeddings looks like to a contrastive loss: numbers to watch a training by."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import override

from ..core.call import verify
from ..core.check import wide
from ..core.domain import Embeddings, Labels, Mask
from ..ops.pair_numbers import PairNumbers, pair_numbers
from ..ops.pair_sets import NOBODY, Who
from ..ops.pairs import Pairs
from ..ops.row_numbers import content_hash, effective_rank, joined_hash, row_shape
from ..parallel import first_row, gather_rows, sum_over_ranks
from .contrast import Side, label_counts, log_add, side
from .embeddings import ROUNDING, TEMPERATURE, Rows, positive_number, rows_of, towers
from .uniformity import uniformity_loss

__all__ = ["ContrastiveStats", "contrastive_stats"]

_ARGUMENTS = {
    "query": Embeddings(),
    "key": Embeddings(optional=True, meaning='one vector for each row of "query": its own key'),
    "labels": Labels(optional=True),
    "query_ids": Labels(optional=True, meaning="integers, equal for queries of the same thing"),
    "key_ids": Labels(optional=True, meaning="integers, equal for keys that are the same"),
    "mask": Mask(meaning="True where a row is there"),
    "temperature": TEMPERATURE,
}
_ACTIVE = 0.01  # of the softmax: with less than that in its negatives a row has next to no gradient


class ContrastiveStats(NamedTuple):
    """What :func:`contrastive_stats` finds; nan where there is nothing to average. ``print`` it."""

    rows: int
    """That are there, of all ranks."""
    valid: float
    """Fraction of them that have a positive and a negative."""
    active: float
    """Fraction of the valid ones whose negatives hold more than 1 % of the softmax: the others hardly learn."""
    loss: float
    """In nats: ``info_nce_loss`` one way of pairs, ``supervised_contrastive_loss`` of labels."""
    chance: float
    """That loss where all similarities are equal: ln N for N pairs without ids."""
    top1: float
    """Fraction of valid rows whose nearest row is a positive; of ties the expected share."""
    top1_chance: float
    positive: float
    """Mean cosine of positive pairs."""
    negative: float
    """Mean cosine of negative pairs."""
    negatives: float
    """How many a row has, on average."""
    effective_negatives: float
    """How many equally near ones would have the entropy of their softmax, on average: few are hard, or all alike."""
    alignment: float
    """Mean squared distance of positive pairs on the sphere: 0 where they are one, 2 at right angles."""
    uniformity: float
    """``uniformity_loss``, mean of both towers: 0 collapsed, -4 at right angles."""
    rank: float
    """Effective rank of the unit rows, of the tower that has less: exp of the entropy of their singular values."""
    rank_limit: int
    """At most: rows or features, whichever are fewer."""
    spread: float
    """Mean standard deviation of a feature of unit rows, times the square root of their number: 0 collapsed, 1 even."""
    duplicates: int
    """Rows with an exact copy among rows that share no id with them: false negatives."""

    @property
    def excess(self) -> float:
        """Loss minus chance: below 0 as soon as something is learned."""
        return self.loss - self.chance

    @override
    def __str__(self) -> str:
        return "\n".join(
            (
                f"loss        {self.loss:.4g}, at chance {self.chance:.4g} ({self.excess:+.4g})",
                f"top-1       {self.top1:.1%}, at chance {self.top1_chance:.1%}",
                f"anchors     {self.valid:.1%} of {self.rows} rows valid, {self.active:.1%} of these active",
                f"cosine      {self.positive:.3f} of positives, {self.negative:.3f} of negatives",
                f"negatives   {self.negatives:.1f} a row, as hard as {self.effective_negatives:.1f} equal ones",
                f"alignment   {self.alignment:.3f}, 0 where positives are one",
                f"uniformity  {self.uniformity:.3f}, 0 collapsed, -4 at right angles",
                f"rank        {self.rank:.1f} of {self.rank_limit}",
                f"spread      {self.spread:.3f}, 0 collapsed, 1 even",
                f"duplicates  {self.duplicates} of {self.rows} rows" + (": give ids" if self.duplicates else ""),
            )
        )


@torch.no_grad()
def contrastive_stats(
    query: Tensor,
    key: Tensor | None = None,
    *,
    labels: Tensor | None = None,
    temperature: Tensor | float = 0.07,
    query_ids: Tensor | None = None,
    key_ids: Tensor | None = None,
    mask: Tensor | None = None,
    group: dist.ProcessGroup | None = None,
) -> ContrastiveStats:
    r"""Whether a contrastive training learns, has collapsed, saturates, or is fed duplicates: a batch in seventeen numbers.

    Of pairs (``query``, ``key``) or of rows with ``labels``; give the temperature and ids that the loss gets. Nothing of it
    has a gradient. Memory is that of the rows and a tile; the work is three products of N x N x D (four of labels on CUDA) and
    a decomposition of min(N, D)^3 on the host, for which a GPU is waited for, once.

    Shape:      query (*, D), key (*, D), labels (*)
    Args:
        labels: (*) integers in place of ``key``: rows of one label are positives.
        temperature: > 0, a number or a tensor, as the loss has it.
        query_ids: (*) integers: rows with equal ids are not each other's negatives.
        key_ids: (*) the same for keys.
        mask: (*) bool, True where a row is there; what is masked may be NaN.
        group: ranks that share the batch: each returns the numbers of all rows.
    Returns:    :class:`ContrastiveStats`, Python numbers with a text of one line each. Similarity is the cosine.
    Raises:     ShapeError; TypeError; ValueError for a temperature <= 0, both or neither of "key" and "labels", ids with labels.
    Reference:  alignment, uniformity: Wang, Isola 2020, arXiv:2005.10242; effective rank: Roy, Vetterli 2007, EUSIPCO
    Example:
        >>> print(losskit.contrastive_stats(torch.eye(4), torch.eye(4), temperature=0.5))
        loss        0.3408, at chance 1.386 (-1.046)
        top-1       100.0%, at chance 25.0%
        anchors     100.0% of 4 rows valid, 100.0% of these active
        cosine      1.000 of positives, 0.000 of negatives
        negatives   3.0 a row, as hard as 3.0 equal ones
        alignment   0.000, 0 where positives are one
        uniformity  -4.000, 0 collapsed, -4 at right angles
        rank        4.0 of 4
        spread      0.866, 0 collapsed, 1 even
        duplicates  0 of 4 rows
    """
    given = {"query": query, "key": key, "labels": labels, "query_ids": query_ids, "key_ids": key_ids, "mask": mask}
    verify(_ARGUMENTS, {**given, "temperature": temperature}, None, -1)
    positive_number("temperature", temperature)
    if (key is None) == (labels is None):
        raise ValueError('"key" and "labels" are both or neither given, expected one of them: pairs, or rows with labels')
    if labels is not None and not (query_ids is None and key_ids is None):
        raise ValueError('"query_ids" and "key_ids" go with "key", expected none of them beside "labels"')
    scale = 1 / (wide(temperature) if isinstance(temperature, Tensor) else temperature)
    if key is not None:
        batch = _of_pairs(query, key, query_ids, key_ids, mask, scale, group)
    else:
        batch = _of_labels(query, labels, mask, scale, group)
    evenly = [uniformity_loss(t, mask=mask, group=group) for t in (query, key) if t is not None]
    return _told(batch, scale, torch.stack(evenly).double().mean(), group)


class _Batch(NamedTuple):
    """Positives and negatives of the anchors of this rank, and the rows of all ranks."""

    there: Tensor
    """(n,) bool"""
    positive: PairNumbers
    negative: PairNumbers
    """``tied`` and ``above``: compared with the best positive"""
    every: list[Side]
    """Unit rows, of each tower"""
    copied: Tensor
    """0-d: how many rows have a copy that shares no id"""


def _of_pairs(
    query: Tensor,
    key: Tensor,
    query_ids: Tensor | None,
    key_ids: Tensor | None,
    mask: Tensor | None,
    scale: Tensor | float,
    group: dist.ProcessGroup | None,
) -> _Batch:
    q, k = towers(query, key, mask)
    start = first_row(q.values, group)
    left, right = (side(r, start, query_ids, key_ids) for r in (q, k))
    queries, keys = left.everywhere(group), right.everywhere(group)
    own = (q.values * k.values).sum(-1, dtype=torch.float64)
    apart = Pairs(left.rows, keys.rows, Who(left.ids, keys.ids, left.slots, keys.slots, False))
    one = q.valid.double()
    positive = PairNumbers(one, own, own, torch.where(q.valid, own * scale, -torch.inf), one, torch.zeros_like(one), one)
    copied = _copied(query, queries, group) | _copied(key, keys, group)
    return _Batch(q.valid, positive, pair_numbers(apart, scale, own, _slack(q)), [queries, keys], copied.sum())


def _of_labels(
    input: Tensor, labels: Tensor | None, mask: Tensor | None, scale: Tensor | float, group: dist.ProcessGroup | None
) -> _Batch:
    z = rows_of(input, mask)
    mine = side(z, first_row(z.values, group), labels)
    every = mine.everywhere(group)
    alike = Pairs(mine.rows, every.rows, Who(mine.ids, every.ids, mine.slots, every.slots, True))
    apart = Pairs(mine.rows, every.rows, Who(mine.ids, every.ids, mine.ids, every.ids, False))
    best = pair_numbers(alike, scale).best
    positive, negative = (pair_numbers(pairs, scale, best, _slack(z)) for pairs in (alike, apart))
    return _Batch(z.valid, positive, negative, [every], _copied(input, every._replace(slots=every.ids), group).sum())


def _slack(rows: Rows) -> float:
    """How far two sums of the same products may be apart."""
    return ROUNDING * torch.finfo(rows.values.dtype).eps


def _copied(input: Tensor, every: Side, group: dist.ProcessGroup | None) -> Tensor:
    """Which rows of all ranks are equal, bit by bit, to one that shares neither id nor slot with them, (N,) bool."""
    content = gather_rows(content_hash(input.flatten(0, -2) if input.ndim != 1 else input[None]), group).rows

    def alike(*what: Tensor) -> Tensor:
        name = content
        for ids in what:
            name = joined_hash(name, ids)
        name = torch.where(every.ids == NOBODY, NOBODY, name)
        return label_counts(name, name)

    return alike() > alike(every.ids) + alike(every.slots) - alike(every.ids, every.slots)


def _told(batch: _Batch, scale: Tensor | float, uniformity: Tensor, group: dist.ProcessGroup | None) -> ContrastiveStats:
    sums = sum_over_ranks(_sums(batch, scale), group)
    shapes = [row_shape(each.rows, each.ids != NOBODY) for each in batch.every]
    grams, spreads = zip(*shapes, strict=True)
    told = torch.cat([sums, torch.stack([uniformity, batch.copied.double(), torch.stack(spreads).amin()])])
    numbers = torch.cat([told, *(gram.flatten() for gram in grams)]).cpu()  # the only wait
    spectra = numbers[len(told) :].split([gram.numel() for gram in grams])
    ranks = [effective_rank(part.view(gram.shape)) for part, gram in zip(spectra, grams, strict=True)]
    rows, both, active, some, loss, chance, first, luck, near, nears, far, fars, hard, hards, evenly, copies, spread = numbers[
        : len(told)
    ].tolist()
    positive = _mean(near, nears)
    return ContrastiveStats(
        rows=int(rows),
        valid=_mean(both, rows),
        active=_mean(active, both),
        loss=_mean(loss, some),
        chance=_mean(chance, some),
        top1=_mean(first, both),
        top1_chance=_mean(luck, both),
        positive=positive,
        negative=_mean(far, fars),
        negatives=_mean(fars, rows),
        effective_negatives=_mean(hard, hards),
        alignment=2 - 2 * positive,
        uniformity=evenly if rows > 1 else math.nan,
        rank=min(ranks) if rows else math.nan,
        rank_limit=min(int(rows), batch.every[0].rows.shape[1]),
        spread=spread if rows else math.nan,
        duplicates=int(copies),
    )


def _mean(total: float, count: float) -> float:
    return total / count if count else math.nan


def _sums(batch: _Batch, scale: Tensor | float) -> Tensor:
    """What is averaged, and over how many; in the order that :func:`_told` takes them."""
    positive, negative = batch.positive, batch.negative
    some, others = positive.number > 0, negative.number > 0
    both, all_of_them = some & others, positive.number + negative.number
    total = log_add(positive.lse, negative.lse)
    loss = total - positive.total / positive.number.clamp(min=1) * scale
    active = (negative.lse - total).exp() > _ACTIVE
    first = torch.where(negative.above > 0, 0, positive.tied / (positive.tied + negative.tied))
    each = (
        (batch.there, None), (both, None), (both & active, None), (some, None), (loss, some), (all_of_them.log(), some),
        (first, both), (positive.number / all_of_them, both), (positive.total, some), (positive.number, some),
        (negative.total, others), (negative.number, others), (negative.perplexity, others), (others, None),
    )  # fmt: skip
    return torch.stack([(v if seen is None else torch.where(seen, v, 0)).double().sum() for v, seen in each])
