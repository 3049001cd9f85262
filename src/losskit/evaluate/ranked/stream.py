"""Ranking metrics over batches of lists and over ranks: weighted sums are the whole state, so that any split gives the same."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, reduce
from typing import Any, NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from typing_extensions import Self

from ...core.check import at_least, choice
from ..totals import fields, others_of
from .given import GRADES, REAL, Cuts, Empty, Flat, Values, check, cuts, lists_of, shown, sums
from .graded import Gain, arp_of, dcg_of, ndcg_of
from .groups import Pending, groups
from .hits import Hits, first_hit_of, precision_of, precisions_of, recall_of
from .pairs_in_order import concordance_of, kendall_tau_of
from .standing import Standing, Ties, check_draw

__all__ = ["RankingMetrics", "of_ranks"]

S = TypeVar("S")

_OF_HITS: Mapping[str, Callable[[Hits, Cuts], Values]] = {
    "mrr": partial(first_hit_of, figure="mrr"),
    "hit_rate": partial(first_hit_of, figure="hit_rate"),
    "average_precision": precisions_of,
    "precision": precision_of,
    "recall": recall_of,
}
_GRADED = ("ndcg", "dcg", "arp")
_NO_CUT = ("arp", "concordance", "kendall_tau")
_FIGURES = (*_GRADED, "mrr", "average_precision", "precision", "recall", "hit_rate", "concordance", "kendall_tau")


class State(NamedTuple):
    """What the lists so far add to the mean of each figure."""

    what: str
    """The figures and the options they are computed with."""
    lists: Tensor
    """() int64"""
    totals: Tensor
    """(F,) float64"""
    weights: Tensor
    """(F,) float64"""

    def to(self, device: torch.device | str) -> State:
        """A copy elsewhere."""
        return State(self.what, *(each.to(device) for each in self[1:]))

    def plus(self, other: State) -> State:
        """Both together, on an accelerator if one of them is there."""
        if self.what != other.what:
            raise ValueError(f'"figures" are {other.what!r} in one and {self.what!r} in the other, expected the same in all')
        there = other if self.totals.device.type == "cpu" else self
        return State(
            self.what, *(a.to(there.totals.device) + b.to(there.totals.device) for a, b in zip(self[1:], other[1:], strict=True))
        )


class RankingMetrics:
    """Any number of ranking metrics of lists that come in batches, on one rank or many, from one sort of each batch.

    Float64 sums are the state, and at most 131,072 items that wait to be sorted together; a list belongs to one batch.
    Options are those of the functions of the same names.

    Args:
        figures: names of metrics, with "@k" for the first k places: ndcg, dcg, mrr, average_precision, precision, recall,
            hit_rate, and without k arp, concordance, kendall_tau.
        gain: of ndcg and dcg.
        threshold: from which relevance on an item is relevant, for mrr to hit_rate.
        ties, generator: as in ``ndcg``; concordance and kendall_tau have rules of their own for ties.
        empty: what a list is that has nothing a figure is about, as in ``ndcg``.
    Raises:     ValueError for a figure that is none.
    Example:
        >>> metrics = RankingMetrics(["mrr", "ndcg@1"])
        >>> metrics.update(torch.tensor([[3.0, 2.0, 1.0]]), torch.tensor([[0, 1, 0]]))
        >>> metrics.update(torch.tensor([[3.0, 2.0]]), torch.tensor([[1, 0]]))
        >>> {name: float(value) for name, value in metrics.compute().items()}
        {'mrr': 0.75, 'ndcg@1': 0.5}
    """

    def __init__(
        self,
        figures: Sequence[str] = ("ndcg@10", "mrr", "average_precision", "recall@10"),
        *,
        gain: Gain = "exponential",
        threshold: float = 1.0,
        ties: Ties = "average",
        generator: torch.Generator | None = None,
        empty: Empty = "skip",
    ) -> None:
        self.figures = _checked_names(figures)
        choice("gain", gain, ("exponential", "linear"))
        choice("ties", ties, ("average", "stable", "random"))
        check_draw(ties, generator)
        check(empty, "mean")
        self.gain: Gain = gain
        at_least("threshold", threshold, -math.inf, finite=False)
        self.threshold = threshold
        self.ties: Ties = ties
        self.generator = generator
        self.empty: Empty = empty
        self.reset()

    def reset(self) -> Self:
        """Forget every list, and what other ranks have said."""
        self._own = self._nothing()
        self._pending = Pending()
        self._before: list[State] = []  # of the other ranks, as of the last sync(); in the order of ranks, so that all
        self._after: list[State] = []  # ranks add in the same order and get the same bits
        return self

    @torch.no_grad()
    def update(
        self,
        scores: Tensor,
        relevance: Tensor,
        *,
        mask: Tensor | None = None,
        query_weight: Tensor | None = None,
        offsets: Tensor | None = None,
    ) -> None:
        """Add a batch of lists, possibly none; if it raises, nothing has been added.

        Shape:      scores (*, L), relevance (*, L), mask (*, L), query_weight (*); or (T,) with offsets (B + 1,)
        Raises:     as the functions.
        """
        domain = GRADES if any(_base(name) in _GRADED for name in self.figures) else REAL
        lists = lists_of(scores, relevance, mask, query_weight, offsets, domain=domain)
        if self.ties == "random":  # one draw is of one batch, at once
            self._own = self._own.plus(self._state_of(lists))
        elif not self._pending.take(lists):
            self._count_pending()
            if not self._pending.take(lists):
                self._own = reduce(State.plus, map(self._state_of, groups(lists)), self._own)

    @torch.no_grad()
    def _count_pending(self) -> None:
        if self._pending.lists:
            self._own = self._own.plus(self._state_of(self._pending.joined()))
            self._pending.clear()

    def _counted(self) -> State:
        """What this rank has counted, with nothing pending."""
        self._count_pending()
        self._pending = Pending()  # what is copied or pickled now takes no room with it
        return self._own

    def _state_of(self, lists: Flat) -> State:
        bases = {_base(name) for name in self.figures}
        standing = Standing(lists, lists.scores, self.ties, self.generator)
        plain = Standing(lists, lists.scores) if self.ties != "average" and bases & set(_NO_CUT[1:]) else standing
        hits = Hits(standing, lists.relevance >= self.threshold) if bases & set(_OF_HITS) else None
        found: dict[str, tuple[Tensor, Tensor]] = {}
        for base in bases:
            names = [name for name in self.figures if _base(name) == base]
            at = Cuts(tuple(_place(name) for name in names), True)
            values = self._values(base, at, plain if base in _NO_CUT[1:] else standing, hits)
            totals, weight = sums(lists, shown(lists, values, self.empty), self.empty)
            found.update({name: (total, weight) for name, total in zip(names, totals, strict=True)})
        totals, weights = (torch.stack([found[name][i] for name in self.figures]) for i in (0, 1))
        return State(self._own.what, torch.tensor(len(lists.length), device=totals.device), totals, weights)

    def _values(self, base: str, at: Cuts, standing: Standing, hits: Hits | None) -> Values:
        if hits is not None and base in _OF_HITS:
            return _OF_HITS[base](hits, at)
        of_order: dict[str, Callable[[], Values]] = {
            "ndcg": lambda: ndcg_of(standing, at, self.gain),
            "dcg": lambda: dcg_of(standing, at, self.gain),
            "arp": lambda: arp_of(standing),
            "concordance": lambda: concordance_of(standing),
            "kendall_tau": lambda: kendall_tau_of(standing),
        }
        return of_order[base]()

    def compute(self) -> dict[str, Tensor]:
        """Every figure, 0-d float64: its mean over the lists that count; NaN where none does.

        Raises:     ValueError if there was no list at all.
        """
        total = reduce(State.plus, [*self._before, self._counted(), *self._after])
        if not int(total.lists):
            raise ValueError("compute() has no list to go by: call update first")
        return dict(zip(self.figures, (total.totals / total.weights).unbind(), strict=True))

    def merge_state(self, others: Iterable[RankingMetrics]) -> Self:
        """Add the lists of other metrics to this one, which are left as they are.

        Raises:     TypeError; ValueError if figures or options differ, for this metric itself, or for one that comes twice.
        """
        found = others_of(self, others, RankingMetrics)
        self._own = reduce(State.plus, [other._counted() for other in found], self._counted())
        return self

    def sync(self, process_group: dist.ProcessGroup | None = None) -> Self:
        """Let ``compute`` speak for all ranks, as of now; every rank calls it, a rank without lists too.

        Calling it twice counts nothing twice. Without a process group it does nothing.
        """
        found = of_ranks(self._counted().to("cpu"), process_group)
        if found is not None:
            reduce(State.plus, [*found[0], self._own, *found[1]])  # states that do not fit raise here, on every rank
            self._before, self._after = found
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move the sums; an update from an accelerator moves sums that are on the CPU by itself."""
        self._own = self._counted().to(device)
        return self

    def state_dict(self) -> dict[str, Any]:
        """What this rank has counted, on the CPU; ``torch.load(weights_only=True)`` reads it."""
        return self._counted().to("cpu")._asdict()

    def load_state_dict(self, state: Mapping[str, Any]) -> Self:
        """Go on from a ``state_dict``: it replaces what was counted so far.

        Raises:     TypeError; ValueError for a state of other figures, or what ``state_dict`` does not return.
        """
        what, *columns = fields(state, "what", "lists", "totals", "weights")
        shapes = tuple((tuple(each.shape), each.dtype) if isinstance(each, Tensor) else None for each in columns)
        figures = ((len(self.figures),), torch.float64)
        if not isinstance(what, str) or (what == self._own.what and shapes != (((), torch.int64), figures, figures)):
            raise ValueError('"state" has other than one count and float64 sums, expected what state_dict() returns')
        own = self._nothing().plus(State(what, *columns))
        self.reset()._own = own
        return self

    def _nothing(self) -> State:
        zero = torch.zeros(len(self.figures), dtype=torch.float64)
        options = f"gain={self.gain}, threshold={self.threshold:g}, ties={self.ties}, empty={self.empty}"
        return State(f"{', '.join(self.figures)} ({options})", torch.tensor(0), zero, zero)


def of_ranks(state: S, process_group: dist.ProcessGroup | None) -> tuple[list[S], list[S]] | None:
    """The states of the ranks before this one and after it; None without a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        return None
    found: list[S | None] = [None] * dist.get_world_size(process_group)
    dist.all_gather_object(found, state, group=process_group)
    ranks, mine = [each for each in found if each is not None], dist.get_rank(process_group)
    return ranks[:mine], ranks[mine + 1 :]


def _base(name: str) -> str:
    return name.partition("@")[0]


def _place(name: str) -> int | None:
    return int(name.partition("@")[2]) if "@" in name else None


def _checked_names(figures: Sequence[str]) -> tuple[str, ...]:
    names = (figures,) if isinstance(figures, str) else tuple(figures)
    if not names or len(set(names)) != len(names):
        raise ValueError(f'"figures" is {list(names)}, expected names of figures, each once')
    for name in names:
        base, sign, place = name.partition("@")
        if base not in _FIGURES or (sign and (base in _NO_CUT or not (place.isascii() and place.isdigit()) or place[0] == "0")):
            known = ", ".join(each if each in _NO_CUT else f"{each}[@k]" for each in _FIGURES)
            hint = ": BinaryRanking has the AUC of one list that comes in batches" if base == "auc" else ""
            raise ValueError(f'"figures" has {name!r}, expected some of {known}{hint}')
        cuts(_place(name))
    return names
