"""Figures of a ranked list as their definitions say them, and their mean over every order that ties leave open."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby, permutations, product

import torch
from torch import Tensor

from losskit.evaluate import RetrievalReport


def of_a_list(gains: Sequence[float], k: Sequence[int], exponential: bool = False) -> dict[str, float]:
    """Every figure of one query; gains in the order of the ranked list, 0 for what is not relevant."""
    hits = [gain > 0 for gain in gains]
    total = sum(hits)
    worth = [2.0**gain - 1 if exponential else gain for gain in gains]
    ranks = [rank for rank, hit in enumerate(hits, 1) if hit]
    found = {"mrr": 1 / ranks[0], "first_rank": float(ranks[0])}
    found["map"] = math.fsum(sum(hits[:rank]) / rank for rank in ranks) / total
    found["map@r"] = math.fsum(sum(hits[:rank]) / rank for rank in ranks if rank <= total) / total
    found["r_precision"] = sum(hits[:total]) / total
    for each in k:
        top = sum(hits[:each])
        found[f"hit_rate@{each}"] = float(top > 0)
        found[f"recall@{each}"] = top / total
        found[f"precision@{each}"] = top / each
        found[f"mrr@{each}"] = 1 / ranks[0] if ranks[0] <= each else 0.0
        best = dcg(sorted(worth, reverse=True)[:each])
        found[f"ndcg@{each}"] = dcg(worth[:each]) / best
    return found


def dcg(worth: Sequence[float]) -> float:
    return math.fsum(each / math.log2(1 + rank) for rank, each in enumerate(worth, 1))


def orders(scores: Sequence[float]) -> Iterator[list[int]]:
    """Every ranked list of the documents that the scores allow."""
    places = sorted(range(len(scores)), key=lambda d: -scores[d])
    groups = [list(group) for _, group in groupby(places, key=lambda d: scores[d])]
    for parts in product(*(permutations(group) for group in groups)):
        yield [d for part in parts for d in part]


def over_orders(
    scores: Sequence[float], gains: Sequence[float], k: Sequence[int], ties: str, exponential: bool
) -> dict[str, float]:
    """Mean, worst or best of every figure over all orders."""
    each = [of_a_list([gains[d] for d in order], k, exponential) for order in orders(scores)]
    if ties == "mean":
        return {name: math.fsum(found[name] for found in each) / len(each) for name in each[0]}
    worst, best = (min, max) if ties == "pessimistic" else (max, min)
    return {name: (best if name == "first_rank" else worst)(found[name] for found in each) for name in each[0]}


def figures_of(report: RetrievalReport, query: int) -> dict[str, float]:
    found = {name: float(column[query]) for name, column in report.per_query.items()}
    return found | {"first_rank": float(report.first_rank[query])}


def sorted_lists(scores: Tensor, gains: Tensor, k: Sequence[int], own: Sequence[int] | None = None) -> list[dict[str, float]]:
    """The figures of queries whose float64 scores have no ties that matter."""
    found: list[dict[str, float]] = []
    for i, row in enumerate(scores.tolist()):
        ordered = torch.tensor(row, dtype=torch.float64).argsort(descending=True).tolist()
        others = [d for d in ordered if own is None or d != own[i]]
        found.append(of_a_list([float(gains[i, d]) for d in others], k))
    return found


def truth(queries: Tensor, documents: Tensor, similarity: str) -> Tensor:
    q, d = queries.double(), documents.double()
    if similarity == "euclidean":
        return -torch.stack([(row - d).norm(dim=1) for row in q])
    if similarity == "cosine":
        q, d = (torch.nn.functional.normalize(x, dim=1) for x in (q, d))
    return q @ d.T
