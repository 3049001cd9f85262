"""What a batch of lists looks like to a ranking loss: numbers to watch a training by."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from typing_extensions import override

from ..core.call import verify
from ..core.check import wide
from ..ops.order_counts import pairs_short_of
from ..ops.pair_counts import pair_weight
from .lists import LISTS, Lists, groups

__all__ = ["RankingStats", "ranking_stats"]

_ARGUMENTS = {name: LISTS[name] for name in ("scores", "relevance", "mask", "offsets")}
_FLAT = math.log(99)  # pairs in order by more have less than 1 % of the slope that the logistic loss has at most


class RankingStats(NamedTuple):
    """What :func:`ranking_stats` finds; nan where there is nothing to average. ``print`` it."""

    lists: int
    """With at least one item."""
    items: float
    """In such a list, on average."""
    without_pair: float
    """Fraction of them in which no two items differ in relevance: a pairwise loss learns nothing there."""
    without_relevant: float
    """Fraction of them without an item of relevance > 0."""
    pairs: int
    """Of items of one list that differ in relevance."""
    equal_relevance: float
    """Fraction of all pairs of items of a list that do not."""
    in_order: float
    """Fraction of ``pairs`` whose more relevant item scores higher, equal scores half; 1/2 at chance."""
    equal_scores: float
    """Fraction of ``pairs`` with exactly equal scores."""
    saturated: float
    """Fraction of ``pairs`` in order by more than ln 99: they hardly learn under a logistic loss."""
    far_wrong: float
    """Fraction of ``pairs`` in reverse by more than ln 99: wrong labels, or a sign."""
    spread: float
    """Standard deviation of the scores of a list, mean over lists with two items or more."""
    largest: float
    """Difference of two scores of one list, at most."""
    nan: int
    """Scores or relevances of items that count and are NaN; such items are left out of everything else."""

    @override
    def __str__(self) -> str:
        return "\n".join(
            (
                f"lists      {self.lists}, {self.items:.1f} items each",
                f"no pair    {self.without_pair:.1%} of lists: nothing to learn there",
                f"no hit     {self.without_relevant:.1%} of lists have no relevant item",
                f"pairs      {self.pairs}; {self.equal_relevance:.1%} of all pairs are of equal relevance",
                f"in order   {self.in_order:.1%} of pairs, at chance 50.0%",
                f"ties       {self.equal_scores:.1%} of pairs have equal scores",
                f"saturated  {self.saturated:.1%} of pairs hardly learn, {self.far_wrong:.1%} are far in reverse",
                f"spread     {self.spread:.3g} within a list, {self.largest:.3g} at most",
                *([f"nan        {self.nan} items"] if self.nan else []),
            )
        )


@torch.no_grad()
def ranking_stats(
    scores: Tensor, relevance: Tensor, *, mask: Tensor | None = None, offsets: Tensor | None = None
) -> RankingStats:
    r"""Whether lists have something to learn, ties hide it, or scores have run away: a batch in thirteen numbers.

    Nothing of it has a gradient. O(n log n) in the length of a list; a GPU is waited for.

    Shape:      scores (*, L), relevance (*, L)
    Args:
        mask: (*, L) bool, True where an item counts; what is masked may be NaN.
        offsets: (B + 1,) where each list begins in a flat batch, and its end: scores, relevance and mask are then (T,).
    Returns:    :class:`RankingStats`, Python numbers with a text of one line each.
    Raises:     ShapeError; TypeError; ValueError for offsets that fall or do not end at T.
    Example:
        >>> print(losskit.ranking_stats(torch.tensor([[3.0, 1.0, 2.0], [0.0, 0.0, 9.0]]), torch.tensor([[2, 1, 0], [0, 0, 0]])))
        lists      2, 3.0 items each
        no pair    50.0% of lists: nothing to learn there
        no hit     50.0% of lists have no relevant item
        pairs      3; 50.0% of all pairs are of equal relevance
        in order   66.7% of pairs, at chance 50.0%
        ties       0.0% of pairs have equal scores
        saturated  0.0% of pairs hardly learn, 0.0% are far in reverse
        spread     2.53 within a list, 9 at most
    """
    verify(_ARGUMENTS, {"scores": scores, "relevance": relevance, "mask": mask, "offsets": offsets}, None, -1)
    valid = torch.ones_like(scores, dtype=torch.bool) if mask is None else mask
    flat = Lists(scores, relevance, valid, None)
    rows = [flat.mapped(lambda t: t.unsqueeze(0).flatten(0, -2))] if offsets is None else [r for _, r in groups(flat, offsets)]
    sums, largest = torch.zeros(len(_SUMS), dtype=torch.float64), 0.0
    for part in (each for each in rows if each.scores.numel()):  # what holds no item counts nothing
        found, apart = _sums(part)
        sums, largest = sums + found.double().cpu(), max(largest, float(apart))
    return _stats(dict(zip(_SUMS, sums.tolist(), strict=True)), largest)


_SUMS = (
    "lists",
    "items",
    "no_pair",
    "no_hit",
    "pairs",
    "all",
    "reverse",
    "equal",
    "unsaturated",
    "wrong",
    "spread",
    "spread_of",
    "nan",
)


def _sums(given: Lists) -> tuple[Tensor, Tensor]:
    """Sums over lists, by ``_SUMS``, and the largest difference of two scores."""
    scores, relevance = wide(given.scores), wide(given.relevance)
    nan = given.valid & ((scores != scores) | (relevance != relevance))
    valid = given.valid & ~nan
    scores, relevance = torch.where(valid, scores, 0), torch.where(valid, relevance, 0)
    count = valid.sum(-1)
    pairs = pair_weight(scores, relevance, valid, None, topk=None, half=False)
    counted = scores, relevance, valid
    reverse, upto_tie = pairs_short_of(0.0, *counted), pairs_short_of(0.0, *counted, touching=True)
    short, wrong = pairs_short_of(_FLAT, *counted, touching=True), pairs_short_of(-_FLAT, *counted)
    mean = scores.sum(-1, keepdim=True) / count.clamp(min=1).unsqueeze(-1)
    deviation = (torch.where(valid, scores - mean, 0).square().sum(-1) / count.clamp(min=1)).sqrt()
    apart = torch.where(valid, scores, -torch.inf).amax(-1) - torch.where(valid, scores, torch.inf).amin(-1)
    each = [
        count > 0,
        count,
        (count > 0) & (pairs == 0),
        (count > 0) & ~(relevance > 0).any(-1),
        pairs,
        count * (count - 1) / 2,
        reverse,
        upto_tie - reverse,
        short,
        wrong,
        torch.where(count > 1, deviation, 0),
        count > 1,
        nan.sum(-1),
    ]
    return torch.stack([number.sum().to(scores.dtype) for number in each]), apart.clamp(min=0).amax()


def _stats(sums: dict[str, float], largest: float) -> RankingStats:
    def share(number: float, of: str) -> float:
        return number / sums[of] if sums[of] else math.nan

    return RankingStats(
        lists=int(sums["lists"]),
        items=share(sums["items"], "lists"),
        without_pair=share(sums["no_pair"], "lists"),
        without_relevant=share(sums["no_hit"], "lists"),
        pairs=int(sums["pairs"]),
        equal_relevance=share(sums["all"] - sums["pairs"], "all"),
        in_order=share(sums["pairs"] - sums["reverse"] - sums["equal"] / 2, "pairs"),
        equal_scores=share(sums["equal"], "pairs"),
        saturated=share(sums["pairs"] - sums["unsaturated"], "pairs"),
        far_wrong=share(sums["wrong"], "pairs"),
        spread=share(sums["spread"], "spread_of"),
        largest=largest,
        nan=int(sums["nan"]),
    )
