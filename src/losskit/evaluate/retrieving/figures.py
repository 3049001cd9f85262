"""The figures of each query from the ranks of its relevant documents; ties count as the mean over all their orders."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from .ranks import Ranks

__all__ = ["Tables", "figures", "names", "precision_sums"]

_NOTHING = 1e-20  # of a probability: what is left adds no digit


class Tables(NamedTuple):
    """Sums over the first n ranks, n = 0, 1, ...: of 1/rank for all documents, of 1/log2(1 + rank) as far as a k reaches."""

    harmonic: Tensor
    discount: Tensor
    room: int
    """Numbers at a time, of a sum over the places of a tie."""

    @classmethod
    def of(cls, documents: int, k: Sequence[int], memory: int, device: torch.device) -> Tables:
        """For so many documents, and bytes to work in."""
        rank = torch.arange(1, documents + 1, dtype=torch.float64, device=device)
        seen = rank[: max(k, default=0)]
        zero = rank.new_zeros(1)
        harmonic = torch.cat([zero, rank.reciprocal().cumsum(0)])
        return cls(harmonic, torch.cat([zero, (1 + seen).log2().reciprocal().cumsum(0)]), max(1, memory // 256))


def names(k: Sequence[int]) -> tuple[str, ...]:
    """Of all figures, in the order in which they are printed."""
    at = [f"{name}@{each}" for name in ("hit_rate", "recall", "precision", "mrr", "ndcg") for each in k]
    return (*at, "mrr", "map", "map@r", "r_precision")


def figures(ranks: Ranks, k: Sequence[int], tables: Tables, *, exponential: bool = False) -> dict[str, Tensor]:
    """Every figure of each query, (B,) float64, and "first_rank"; of a query that has a relevant document."""
    relevant = ranks.relevant.double().clamp(min=1)
    found = first_relevant(ranks, k, tables.room)
    gain = torch.expm1(ranks.gain * torch.log(ranks.gain.new_tensor(2.0))) if exponential else ranks.gain
    for each in k:
        share = _share_before(ranks, each).sum(1)
        found[f"recall@{each}"] = share / relevant
        found[f"precision@{each}"] = share / each
        found[f"ndcg@{each}"] = _dcg(ranks, gain, each, tables.discount) / _best_dcg(gain, each, tables.discount)
    found["map"] = precision_sums(ranks, None, tables.harmonic) / relevant
    found["map@r"] = precision_sums(ranks, relevant.unsqueeze(1), tables.harmonic) / relevant
    found["r_precision"] = _share_before(ranks, relevant.unsqueeze(1)).sum(1) / relevant
    return found


def _places_before(ranks: Ranks, cut: Tensor | int | None) -> Tensor:
    """How many of the places that a tie takes are among the first ``cut``."""
    return ranks.tied if cut is None else torch.minimum((cut - ranks.above).clamp(min=0), ranks.tied)


def _share_before(ranks: Ranks, cut: Tensor | int) -> Tensor:
    """The probability that each relevant document is among the first ``cut``."""
    return torch.where(ranks.holds, _places_before(ranks, cut) / ranks.tied, 0)


def precision_sums(ranks: Ranks, cut: Tensor | None, harmonic: Tensor) -> Tensor:
    r"""The sum over relevant documents among the first ``cut`` of the precision at their rank.

    Of a tie of t documents, n of them relevant, after a others with A relevant ones, place i holds a relevant one with
    probability n/t, after (i - 1)(n - 1)/(t - 1) others of the tie's: \sum_i n/t (A + 1 + (i-1)(n-1)/(t-1)) / (a + i).
    """
    places = _places_before(ranks, cut)
    start = ranks.above.long()
    reciprocals = harmonic[start + places.long()] - harmonic[start]
    reciprocals = torch.where(places == 1, 1 / (ranks.above + 1), reciprocals)  # sums of many lose digits
    rise = (ranks.relevant_tied - 1) / (ranks.tied - 1).clamp(min=1)
    each = (ranks.relevant_above + 1) * reciprocals + rise * (places - (ranks.above + 1) * reciprocals)
    return torch.where(ranks.holds, each / ranks.tied, 0).sum(1)


def _dcg(ranks: Ranks, gain: Tensor, cut: int, discount: Tensor) -> Tensor:
    """Each document of a tie gets the mean discount of its places (McSherry and Najork 2008)."""
    cut = min(cut, len(discount) - 1)
    start = ranks.above.clamp(max=cut).long()
    stop = (ranks.above + ranks.tied).clamp(max=cut).long()
    return torch.where(ranks.holds, gain * (discount[stop] - discount[start]) / ranks.tied, 0).sum(1)


def _best_dcg(gain: Tensor, cut: int, discount: Tensor) -> Tensor:
    best = gain.sort(1, descending=True).values[:, : min(cut, len(discount) - 1)]
    return (best * discount.diff()[: best.shape[1]]).sum(1)


def first_relevant(ranks: Ranks, k: Sequence[int], room: int) -> dict[str, Tensor]:
    r"""Figures of the first relevant document, which is in the first tie that holds any.

    Of t documents in that tie n are relevant: none is at the first x places with probability \prod_{i<x} (t-n-i)/(t-i).
    """
    best = torch.where(ranks.holds, ranks.above, torch.inf).argmin(1, keepdim=True)
    above, tied, hits = (column.gather(1, best) for column in (ranks.above, ranks.tied, ranks.relevant_tied))
    found = {name: torch.zeros_like(above[:, 0]) for name in ("mrr", *(f"{n}@{each}" for n in ("hit_rate", "mrr") for each in k))}
    found["first_rank"] = (above + (tied + 1) / (hits + 1)).squeeze(1)
    none_yet, reach = torch.ones_like(above), int((tied - hits).max()) + 1
    chunk = max(1, room // len(above))
    for start in range(0, reach, chunk):
        x = torch.arange(start, min(start + chunk, reach), dtype=above.dtype, device=above.device)
        left = tied - x
        still = none_yet * ((left - hits).clamp(min=0) / left.clamp(min=1)).cumprod(1)  # (B, X): none up to here
        before = torch.cat([none_yet, still[:, :-1]], 1)
        here = before * (hits / left.clamp(min=1)).clamp(max=1)
        rank = above + 1 + x
        found["mrr"] += (here / rank).sum(1)
        for each in k if start < max(k, default=0) else ():
            within = torch.where(rank <= each, here, 0)
            found[f"hit_rate@{each}"] += within.sum(1)
            found[f"mrr@{each}"] += (within / rank).sum(1)
        none_yet = still[:, -1:]
        if not bool((none_yet > _NOTHING).any()):
            break
    return found
