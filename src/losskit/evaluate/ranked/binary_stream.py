"""AUC and average precision of yes-or-no scores that come in batches: how often each score was a yes is the whole state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from ...core.check import choice
from ...ops.list_ranks import order
from ..totals import fields, others_of
from .given import YES_OR_NO, Flat, lists_of, real
from .hits import Hits, Runs, precisions
from .pairs_in_order import area, check_fpr, standardised
from .standing import Standing, begins
from .stream import of_ranks

__all__ = ["BinaryRanking"]

_PENDING = 2**20  # scores that wait for the next sort: a sort of more costs the same a score


class Counts(NamedTuple):
    """Each score that came, once, from the highest down, (D,): how often it was a yes, and a no."""

    scores: Tensor
    """float32 or float64"""
    yes: Tensor
    """int64"""
    no: Tensor
    """int64"""

    def to(self, device: torch.device | str) -> Counts:
        """A copy elsewhere."""
        return Counts(*(each.to(device) for each in self))

    def plus(self, other: Counts) -> Counts:
        """Both together, where this one is."""
        if not len(other.scores) or not len(self.scores):
            return self if len(self.scores) else other
        other = other.to(self.scores.device)
        dtype = torch.promote_types(self.scores.dtype, other.scores.dtype)  # float32 is exact in float64
        scores, yes, no = (
            torch.cat([a.to(t), b.to(t)]) for a, b, t in zip(self, other, (dtype, *[torch.int64] * 2), strict=True)
        )
        at = order(scores, descending=True)
        scores, yes, no = (each.index_select(0, at) for each in (scores, yes, no))
        start = begins(scores).nonzero().squeeze(1)
        return Counts(scores.index_select(0, start), _added(yes, start), _added(no, start))


class Curve(NamedTuple):
    """What both figures follow from."""

    runs: Runs
    """The scores that were ever a yes."""
    positives: Tensor
    """() float64"""
    negatives: Tensor
    """() float64"""
    nan: Tensor
    """() bool: whether a score is NaN"""


class BinaryRanking:
    """AUC and average precision of yes-or-no scores that come in batches, over all of them at once, exactly.

    Neither is a mean over batches. What is kept is each score once (4 bytes of float32, 8 of float64) with two counts; scores
    of half precision are at most 65,536 numbers, whatever the length of the stream. Sorting waits until ``compute``, or until
    a million scores have come. Integers are compared as float64.

    Args:
        max_fpr: of the AUC, as in ``auc``.
        ties: of the average precision: "average" is the mean over all orders of equal scores, "threshold" takes them as
            one threshold, as scikit-learn does.
    Raises:     ValueError for an option that is none.
    Example:
        >>> metric = BinaryRanking()
        >>> metric.update(torch.tensor([0.9, 0.4]), torch.tensor([1, 1]))
        >>> metric.update(torch.tensor([0.4, 0.1]), torch.tensor([0, 0]))
        >>> metric.compute()["auc"]  # three of four pairs in order, and half of one
        tensor(0.8750, dtype=torch.float64)
    """

    def __init__(self, *, max_fpr: float | None = None, ties: Literal["average", "threshold"] = "average") -> None:
        check_fpr(max_fpr)
        choice("ties", ties, ("average", "threshold"))
        self.max_fpr = max_fpr
        self.ties: Literal["average", "threshold"] = ties
        self.reset()

    def reset(self) -> Self:
        """Forget every score, and what other ranks have said."""
        self._sorted = _nothing()
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._waiting = 0
        self._others: list[Counts] = []  # of the other ranks, as of the last sync()
        return self

    @torch.no_grad()
    def update(self, scores: Tensor, target: Tensor, *, mask: Tensor | None = None) -> None:
        """Add a batch, possibly an empty one; if it raises, nothing has been added.

        Shape:      scores (*), target (*) of 0 and 1 or bool, mask (*) bool, True where a score counts
        Raises:     ShapeError; TypeError; ValueError for a target other than 0 and 1.
        """
        given = lists_of(*_rows(scores, target, mask), None, None, domain=YES_OR_NO, name="target")
        if not len(given.scores):
            return
        kept = given.scores.to(_kept_dtype(given.scores.dtype))
        self._pending.append((kept + 0.0, given.relevance != 0))  # a copy, with one zero
        self._waiting += len(kept)
        if self._waiting > max(_PENDING, len(self._sorted.scores)):
            self._own()

    @torch.no_grad()
    def compute(self) -> dict[str, Tensor]:
        """ "auc" and "average_precision", 0-d float64; NaN if a score was, if no positive came, or for the AUC no negative.

        Raises:     ValueError if there was no score at all.
        """
        runs, positives, negatives, nan = self._curve()
        limit = negatives if self.max_fpr is None else negatives * self.max_fpr
        area_under = area(runs, limit).sum() / (positives * negatives)
        precision = precisions(runs, as_threshold=self.ties == "threshold").sum() / positives
        found = {"auc": standardised(area_under, self.max_fpr), "average_precision": precision}
        return {name: torch.where(nan, torch.nan, value) for name, value in found.items()}

    def _curve(self) -> Curve:
        if not self._pending or self._others or len(self._sorted.scores):
            return _of_counts(reduce(Counts.plus, self._others, self._own()))
        self._pending = [_together(self._pending)]  # counts are for what is kept longer: an order is enough here
        return _of_scores(*self._pending[0])

    def merge_state(self, others: Iterable[BinaryRanking]) -> Self:
        """Add the scores of other metrics to this one, which are left as they are.

        Raises:     TypeError; ValueError for this metric itself, or for one that comes twice.
        """
        found = others_of(self, others, BinaryRanking)
        self._sorted = reduce(Counts.plus, [other._own() for other in found], self._own())
        return self

    def sync(self, process_group: dist.ProcessGroup | None = None) -> Self:
        """Let ``compute`` speak for all ranks, as of now; every rank calls it, a rank without scores too.

        Each rank gets every other one's counts. Calling it twice counts nothing twice. Without a process group it does nothing.
        """
        found = of_ranks(self._own().to("cpu"), process_group)
        self._others = self._others if found is None else [*found[0], *found[1]]
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the counts; later batches follow them."""
        self._sorted = self._own().to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """What this rank has counted, on the CPU; ``torch.load(weights_only=True)`` reads it."""
        return {name: each.cpu().clone() for name, each in self._own()._asdict().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from a ``state_dict``: it replaces what was counted so far; the options stay.

        Raises:     TypeError; ValueError for what ``state_dict`` does not return.
        """
        scores, yes, no = fields(state, "scores", "yes", "no")
        tensors = all(isinstance(each, Tensor) and each.ndim == 1 for each in (scores, yes, no))
        fits = tensors and len(scores) == len(yes) == len(no) and scores.dtype in (torch.float32, torch.float64)
        if not fits or yes.dtype != torch.int64 or no.dtype != torch.int64 or bool((yes < 0).any() | (no < 0).any()):
            raise ValueError('"state" has other than scores with int64 counts of yes and no, expected what state_dict() returns')
        self.reset()._sorted = Counts(scores.clone(), yes.clone(), no.clone())
        return self

    def _own(self) -> Counts:
        """What this rank has counted, with what was pending."""
        if self._pending:
            pending, self._pending, self._waiting = _together(self._pending), [], 0
            self._sorted = self._sorted.plus(_counts(*pending))
        return self._sorted


def _nothing() -> Counts:
    return Counts(torch.zeros(0), torch.zeros(0, dtype=torch.int64), torch.zeros(0, dtype=torch.int64))


def _kept_dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.float32 if dtype in (torch.float32, torch.float16, torch.bfloat16) else torch.float64


def _rows(*given: Any) -> tuple[Any, Any, Any]:
    """Tensors of any shape as one list, if their shapes are the same; else as they are, for the error that names them."""
    shapes = {tuple(each.shape) for each in given if isinstance(each, Tensor)}
    if len(shapes) == 1:
        given = tuple(each.reshape(-1) if isinstance(each, Tensor) else each for each in given)
    scores, target, mask = given
    return scores, target, mask


def _together(batches: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Scores and targets of all batches, where the first one is."""
    if len(batches) == 1:
        return batches[0]
    device = batches[0][0].device
    dtype = torch.float64 if any(scores.dtype == torch.float64 for scores, _ in batches) else torch.float32
    scores, target = zip(*batches, strict=True)
    return torch.cat([each.to(device, dtype) for each in scores]), torch.cat([each.to(device) for each in target])


def _counts(scores: Tensor, target: Tensor) -> Counts:
    at = order(scores, descending=True)
    scores, target = scores.index_select(0, at), target.index_select(0, at)
    start = begins(scores).nonzero().squeeze(1)
    yes = _added(target, start)
    size = torch.cat([start, start.new_full((1,), len(scores))]).diff()
    return Counts(scores.index_select(0, start), yes, size.sub_(yes))


def _added(count: Tensor, start: Tensor) -> Tensor:
    """Sums of integers over runs that begin at ``start``."""
    upto = torch.cat([start.new_zeros(1), count.cumsum(0)])
    return torch.cat([upto.index_select(0, start), upto[-1:]]).diff()


def _of_scores(scores: Tensor, target: Tensor) -> Curve:
    length = torch.full((1,), len(scores), device=scores.device)
    lists = Flat(scores, target, length, None, torch.Size(()))
    hits = Hits(Standing(lists, scores), target)
    return Curve(hits.runs, hits.total[0], real(length[0]) - hits.total[0], lists.nan[0])


def _of_counts(counts: Counts) -> Curve:
    scores, yes, no = counts
    if not len(scores):
        raise ValueError("compute() has no score to go by: call update first, with scores that are not masked")
    at, size = yes.nonzero().squeeze(1), yes + no
    columns = (yes, yes.cumsum(0) - yes, size.cumsum(0) - size, size)
    runs = Runs(*(real(each.index_select(0, at)) for each in columns))
    return Curve(runs, real(yes.sum()), real(no.sum()), (scores != scores).any())
