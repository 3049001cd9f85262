"""Retrieval figures: against every order that ties allow, against sorted lists, and whatever the tiles are."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import evaluate_helpers_retrieval as lists
from losskit.evaluate import Relevance, RetrievalReport, retrieval
from losskit.evaluate.intervals import bootstrap, paired, ratio
from losskit.evaluate.retrieving import ranks

K = (1, 2, 3, 5, 10, 1000)


def rows(n: int, d: int = 16, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed)).to(dtype)


def by_score(scores: list[list[float]], gains: list[list[float]], **options: Any) -> RetrievalReport:
    """Any table of scores, as dot products with the rows of the identity."""
    documents = torch.tensor(scores, dtype=torch.float64).T
    named = [[d for d, gain in enumerate(row) if gain] for row in gains]
    relevance = Relevance.lists(named, [[gain for gain in row if gain] for row in gains])
    return retrieval(torch.eye(len(scores), dtype=torch.float64), documents, relevance, similarity="dot", **options)


def assert_figures(found: dict[str, float], wanted: dict[str, float], within: float = 1e-12) -> None:
    assert found.keys() == wanted.keys()
    assert found == pytest.approx(wanted, rel=within, abs=within)


@pytest.mark.parametrize("ties", ["mean", "pessimistic", "optimistic"])
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_ties_count_as_all_their_orders_do(ties: Any, data: st.DataObject) -> None:
    """The mean of every figure over every order, or the worst, or the best; graded gains too."""
    documents = data.draw(st.integers(1, 6))
    k = data.draw(st.lists(st.integers(1, 8), min_size=1, max_size=3, unique=True))
    levels = data.draw(st.integers(1, 4))
    exponential = data.draw(st.booleans())
    row = st.lists(st.integers(0, levels - 1).map(float), min_size=documents, max_size=documents)
    gain = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.0, 3.5]), min_size=documents, max_size=documents).filter(any)
    scores, gains = ([data.draw(each) for _ in range(2)] for each in (row, gain))
    report = by_score(scores, gains, k=tuple(k), ties=ties, gain="exponential" if exponential else "linear")
    for query in range(2):
        wanted = lists.over_orders(scores[query], gains[query], k, ties, exponential)
        assert_figures(lists.figures_of(report, query), wanted)
        relevant = {s for s, g in zip(scores[query], gains[query], strict=True) if g}
        assert bool(report.tied[query]) == any(s in relevant for s, g in zip(scores[query], gains[query], strict=True) if not g)


def test_a_collapsed_model_is_worth_chance() -> None:
    """All rows equal: expected values of a random order, to the last digits; the row's own document is not ahead of others."""
    n = 1001
    for similarity in ("cosine", "dot", "euclidean"):
        for scale in (0.1, 1.0, 1e-30, 37.7):
            x = (rows(1) * scale).expand(n, -1)
            report = retrieval(x, x, Relevance.one(torch.arange(n)), similarity=similarity, k=(1, 10))
            assert report["hit_rate@10"] == pytest.approx(10 / n, rel=1e-12)
            assert report["mrr"] == pytest.approx(math.fsum(1 / r for r in range(1, n + 1)) / n, rel=1e-12)
            assert report["map"] == pytest.approx(report["mrr"], rel=1e-12)
            assert torch.all(report.first_rank == (n + 1) / 2)
            assert bool(report.tied.all())


def test_counting_only_what_scores_higher_calls_a_collapsed_model_perfect() -> None:
    """What is often done, and the reason why ties are counted here."""
    x = torch.ones(50, 4)
    scores = x @ x.T
    rank = (scores > scores.diagonal().unsqueeze(1)).sum(1) + 1
    assert float((1 / rank).mean()) == 1.0
    relevance = Relevance.one(torch.arange(50))
    assert retrieval(x, x, relevance, ties="optimistic")["mrr"] == 1.0
    assert retrieval(x, x, relevance, ties="pessimistic")["mrr"] == 1 / 50
    assert retrieval(x, x, relevance)["hit_rate@1"] == pytest.approx(1 / 50)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_figures_are_those_of_sorted_lists(similarity: Any, dtype: torch.dtype) -> None:
    q, d = rows(23, seed=1, dtype=dtype), rows(211, seed=2, dtype=dtype)
    gains = torch.randint(0, 12, (23, 211), generator=torch.Generator().manual_seed(3)).sub(8).clamp(min=0)
    query, document = gains.nonzero(as_tuple=True)
    relevance = Relevance.pairs(query, document, gains[query, document], queries=23)
    report = retrieval(q, d, relevance, similarity=similarity, k=K)
    for i, wanted in enumerate(lists.sorted_lists(lists.truth(q, d, similarity), gains, K)):
        assert_figures(lists.figures_of(report, i), wanted)


@pytest.mark.parametrize(("classes", "bounds"), [(3, 0), (3, 512), (40, 32)])
def test_labels_and_a_query_that_is_a_document(classes: int, bounds: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores are looked up among many relevant documents', compared with few."""
    monkeypatch.setattr(ranks, "_COMPARED", bounds)
    x, y = rows(300), torch.randint(-1, classes - 1, (300,), generator=torch.Generator().manual_seed(1))
    gains = (y[:, None] == y).double()
    gains.fill_diagonal_(0)
    y[7] = 10**12  # alone: its only relevant document is itself
    gains[7] = gains[:, 7] = 0
    report = retrieval(x, x, Relevance.labels(y, y), exclude_self=True, k=K)
    assert report.without_relevant == 1
    assert report.relevant.tolist() == gains.sum(1).tolist()
    keep = [i for i in range(300) if i != 7]
    wanted = lists.sorted_lists(lists.truth(x, x, "cosine")[keep], gains[keep], K, own=keep)
    for i, each in zip(keep, wanted, strict=True):
        assert_figures(lists.figures_of(report, i), each)
    part = retrieval(x[100:200], x, Relevance.labels(y[100:200], y), exclude_self=torch.arange(100, 200), k=K)
    for name, column in part.per_query.items():
        assert torch.allclose(column, report.per_query[name][100:200], rtol=1e-13, atol=0)


@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
@pytest.mark.parametrize("many", [False, True])
def test_no_figure_depends_on_the_tiles(similarity: Any, many: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One tile, tiles of 64, two looks, comparing or looking up: the same ranks."""
    d = rows(300).to(torch.bfloat16)
    d[100:160], d[200:300] = d[:60].clone(), d[:100].clone()  # equal rows in other tiles, and at their edges
    y = torch.randint(0, 4 if many else 100, (300,), generator=torch.Generator().manual_seed(1))
    relevance = Relevance.labels(y[:90], y)
    whole = retrieval(d[:90], d, relevance, similarity=similarity)
    assert int(whole.tied.sum()) > 40
    for memory in (3_000, 100_000, 1_000_000):
        for bounds in (0, 10**6) if memory == 100_000 else (32,):
            monkeypatch.setattr(ranks, "_COMPARED", bounds)
            found = retrieval(d[:90], d, relevance, similarity=similarity, memory=memory)
            for name, column in found.per_query.items():
                assert torch.allclose(column, whole.per_query[name], rtol=1e-13, atol=0), name
            assert torch.equal(found.tied, whole.tied)
            assert torch.equal(found.first_rank, whole.first_rank)


def test_equal_documents_tie_wherever_they_stand_and_however_long_they_are() -> None:
    d = rows(64, 100).repeat(5, 1)[: 64 * 4 + 3] * torch.logspace(-3, 3, 64 * 4 + 3).unsqueeze(1)
    report = retrieval(rows(64, 100), d, Relevance.one(torch.arange(64)), k=(1,))
    assert report["hit_rate@1"] == pytest.approx((3 / 5 + 61 * 0.25 + 0) / 64, rel=1e-12)


def test_distances_far_from_the_origin_are_exact() -> None:
    """|q|^2 + |d|^2 - 2 q d in float32, which torch.cdist takes, knows nothing of them."""
    d = 10000 + rows(400, 8)
    q = d[:50] + 0.05 * rows(50, 8, seed=1)
    relevance = Relevance.one(torch.arange(50))
    assert retrieval(q, d, relevance, similarity="euclidean", k=(1,))["hit_rate@1"] == 1.0
    fast = torch.cdist(q, d, compute_mode="use_mm_for_euclid_dist").argmin(1)
    assert float((fast == torch.arange(50)).double().mean()) < 0.9


def test_no_tensor_is_larger_than_the_budget() -> None:
    class Largest(TorchDispatchMode):
        found = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            for each in out if isinstance(out, (tuple, list)) else (out,):
                if isinstance(each, Tensor):
                    self.found = max(self.found, each.untyped_storage().nbytes())
            return out

    n, memory = 1500, 1 << 19
    x, y = rows(n, 8), torch.arange(n) % 100
    with Largest() as mode:
        retrieval(x, x, Relevance.labels(y, y), exclude_self=True, memory=memory)
    assert mode.found <= memory < n * n * 4 / 16


def test_queries_without_a_relevant_document_are_counted_and_left_out_or_zero() -> None:
    scores = [[2.0, 1.0], [2.0, 1.0], [2.0, 1.0]]
    gains = [[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]]
    skip, zero = by_score(scores, gains, k=(1,)), by_score(scores, gains, k=(1,), empty="zero")
    assert skip.without_relevant == zero.without_relevant == 1
    assert skip["mrr"] == (1 + 1 / 2) / 2
    assert zero["mrr"] == (1 + 1 / 2) / 3
    assert torch.isnan(skip.per_query["mrr"]).tolist() == [False, True, False]
    assert len(skip.values("mrr")) == 2
    assert zero.values("mrr").tolist() == [1.0, 0.0, 0.5]
    assert torch.isnan(zero.first_rank[1])  # there is no rank to count 0
    with pytest.raises(ValueError, match='"relevance" names no document for query 1, one of 1'):
        by_score(scores, gains, empty="error")


def test_nothing_to_search_or_to_ask_has_no_figure() -> None:
    for n, m in ((0, 5), (5, 0), (0, 0)):
        report = retrieval(rows(n), rows(m), Relevance.lists([[]] * n))
        assert report.without_relevant == n
        assert math.isnan(report["mrr"])
        assert report.interval("mrr").low is None
        assert f"{n:,} queries" in str(report)
    assert retrieval(rows(0), rows(5), Relevance.one(torch.arange(0)), empty="error").relevant.shape == (0,)


def test_k_beyond_the_documents_finds_all_and_dilutes_precision() -> None:
    report = by_score([[3.0, 2.0, 1.0]], [[1.0, 0.0, 1.0]], k=(3, 10))
    assert report["recall@10"] == report["hit_rate@10"] == 1.0
    assert report["precision@10"] == 2 / 10
    assert report["ndcg@10"] == report["ndcg@3"] == pytest.approx(1.5 / (1 + 1 / math.log2(3)))


def test_reports_of_parts_make_the_report_of_all() -> None:
    q, d, right = rows(40), rows(90, seed=1), torch.arange(40)
    whole = retrieval(q, d, Relevance.one(right))
    first, second = (retrieval(q[at], d, Relevance.one(right[at])) for at in (slice(0, 13), slice(13, 40)))
    merged = first.merge(second)
    for name in whole.per_query:
        assert merged[name] == whole[name]
        assert torch.equal(merged.per_query[name], whole.per_query[name])
    assert str(merged) == str(whole)
    assert repr(merged).startswith("RetrievalReport(queries=40, documents=90, mrr=")
    with pytest.raises(ValueError, match="\"ties\" is 'mean' and 'pessimistic', expected the same"):
        first.merge(retrieval(q, d, Relevance.one(right), ties="pessimistic"))
    with pytest.raises(ValueError, match='"k" differs'):
        first.merge(retrieval(q, d, Relevance.one(right), k=(2,)))


def test_intervals_are_those_of_queries() -> None:
    q, d, relevance = rows(200), rows(300, seed=1), Relevance.one(torch.arange(200))
    report = retrieval(q, d, relevance)
    values, ones = report.values("ndcg@10"), torch.ones(200)
    assert report.interval("ndcg@10", level=0.9) == ratio(values, ones, level=0.9)
    assert report.interval("ndcg@10", method="bootstrap", seed=3) == bootstrap(values, ones, seed=3)
    other = retrieval(q + 0.1 * d[:200], d, relevance)
    found = paired(other.values("mrr"), ones, report.values("mrr"), ones)
    assert found.delta == pytest.approx(other["mrr"] - report["mrr"])
    assert found.p_value is not None
    assert found.p_value < 0.05
    with pytest.raises(KeyError, match="no figure 'recall', expected one of hit_rate@1"):
        report["recall"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("similarity", ["cosine", "dot", "euclidean"])
def test_arguments_are_left_as_they_are_and_need_no_gradient(dtype: torch.dtype, similarity: Any) -> None:
    q, d = rows(20, dtype=dtype).requires_grad_(), rows(30, dtype=dtype).t().contiguous().t()
    before = q.detach().clone(), d.clone()
    report = retrieval(q, d, Relevance.one(torch.arange(20)), similarity=similarity)
    assert torch.equal(q, before[0])
    assert torch.equal(d, before[1])
    assert not any(column.requires_grad for column in report.per_query.values())
