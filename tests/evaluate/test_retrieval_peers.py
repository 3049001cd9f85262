"""Beside scikit-learn and torchmetrics: the same where nothing ties, and what they do where something does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score
from torch import Tensor
from torchmetrics.functional import retrieval as theirs
from torchmetrics.retrieval import RetrievalMRR, RetrievalPrecision

from losskit.evaluate import Relevance, RetrievalReport, retrieval


def drawn(levels: int | None, n: int = 30, m: int = 25) -> tuple[Tensor, Tensor]:
    """Scores, with ties if they have few levels, and gains 0 to 3."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(n, m, generator=generator, dtype=torch.float64)
    if levels:
        scores = (scores * levels).floor()
    gains = torch.randint(0, 8, (n, m), generator=generator).sub(4).clamp(min=0)
    gains[:, 0] = 1
    return scores, gains


def ours(scores: Tensor, gains: Tensor, **options: Any) -> RetrievalReport:
    query, document = gains.nonzero(as_tuple=True)
    relevance = Relevance.pairs(query, document, gains[query, document], queries=len(scores))
    return retrieval(torch.eye(len(scores), dtype=torch.float64), scores.T, relevance, similarity="dot", **options)


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("k", [1, 5, 25])
def test_ndcg_is_scikit_learns_ties_included(levels: int | None, k: int) -> None:
    scores, gains = drawn(levels)
    assert ours(scores, gains, k=(k,))[f"ndcg@{k}"] == pytest.approx(ndcg_score(gains.numpy(), scores.numpy(), k=k), rel=1e-12)


def test_map_is_scikit_learns_where_nothing_ties() -> None:
    """With ties theirs gives every document of a tie its last rank: a collapsed model then has the share of relevant ones."""
    scores, gains = drawn(None)
    binary = (gains > 0).long()
    theirs_ = label_ranking_average_precision_score(binary.numpy(), scores.numpy())
    assert ours(scores, gains)["map"] == pytest.approx(theirs_, rel=1e-12)
    flat = torch.zeros_like(scores)
    wanted = float(binary.double().mean())
    assert label_ranking_average_precision_score(binary.numpy(), flat.numpy()) == pytest.approx(wanted)
    assert ours(flat, gains)["map"] > wanted


@pytest.mark.parametrize(
    ("name", "function", "option"),
    [
        ("mrr", theirs.retrieval_reciprocal_rank, None),
        ("mrr@3", theirs.retrieval_reciprocal_rank, 3),
        ("map", theirs.retrieval_average_precision, None),
        ("r_precision", theirs.retrieval_r_precision, None),
        ("recall@3", theirs.retrieval_recall, 3),
        ("precision@3", theirs.retrieval_precision, 3),
        ("hit_rate@3", theirs.retrieval_hit_rate, 3),
        ("ndcg@3", theirs.retrieval_normalized_dcg, 3),
    ],
)
def test_figures_are_those_of_torchmetrics_where_nothing_ties(name: str, function: Any, option: int | None) -> None:
    scores, gains = drawn(None)
    report = ours(scores, gains, k=(3,))
    for i in range(len(scores)):
        target = gains[i] if name.startswith("ndcg") else gains[i] > 0
        wanted = function(scores[i], target, **({"top_k": option} if option else {}))
        assert float(report.per_query[name][i]) == pytest.approx(float(wanted), rel=1e-6)


def test_torchmetrics_gives_tied_documents_an_order_of_its_own() -> None:
    """A model that says the same of all documents is worth what place the right one happens to have in the list."""
    scores = torch.ones(4)
    peers = [float(theirs.retrieval_reciprocal_rank(scores, torch.arange(4) == place)) for place in range(4)]
    assert sorted(peers) == pytest.approx([1 / 4, 1 / 3, 1 / 2, 1])
    for place in range(4):
        found = ours(scores.unsqueeze(0), (torch.arange(4) == place).long().unsqueeze(0))
        assert found["mrr"] == pytest.approx((1 + 1 / 2 + 1 / 3 + 1 / 4) / 4)
        assert found.tied.tolist() == [True]


def test_torchmetrics_loses_a_relevant_document_whose_score_is_not_above_zero() -> None:
    """Its scores are probabilities; a cosine of -0.1 that is the best of all is the first rank, not none."""
    scores, target = torch.tensor([-0.1, -0.5, -0.9]), torch.tensor([1, 0, 0])
    assert float(theirs.retrieval_reciprocal_rank(scores, target)) == 0.0
    assert ours(scores.unsqueeze(0), target.unsqueeze(0))["mrr"] == 1.0


def test_torchmetrics_counts_a_query_without_a_relevant_document_zero_by_default() -> None:
    scores, target = torch.tensor([0.9, 0.1, 0.9, 0.1]), torch.tensor([1, 0, 0, 0])
    index = torch.tensor([0, 0, 1, 1])
    gains = torch.tensor([[1, 0], [0, 0]])
    assert float(RetrievalMRR()(scores, target, indexes=index)) == 0.5
    assert ours(scores.view(2, 2), gains)["mrr"] == 1.0
    assert ours(scores.view(2, 2), gains, empty="zero")["mrr"] == 0.5


def test_torchmetrics_divides_precision_by_k_too() -> None:
    scores, target = torch.tensor([0.9, 0.1]), torch.tensor([1, 0])
    metric = RetrievalPrecision(top_k=10)
    wanted = float(metric(scores, target, indexes=torch.tensor([0, 0])))
    assert ours(scores.unsqueeze(0), target.unsqueeze(0), k=(10,))["precision@10"] == pytest.approx(wanted) == 1 / 10
