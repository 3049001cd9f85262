"""Ranking metrics against scikit-learn's, where both mean the same."""

from __future__ import annotations

import pytest
import torch
from sklearn.metrics import average_precision_score, dcg_score, ndcg_score, roc_auc_score
from torch import Tensor

from losskit.evaluate.ranked.binary_stream import BinaryRanking
from losskit.evaluate.ranked.graded import dcg, ndcg
from losskit.evaluate.ranked.pairs_in_order import auc, concordance
from losskit.evaluate.ranked.yes_no import average_precision


def drawn(n: int, *, ties: bool) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(n)
    scores = torch.randint(0, n // 3 + 1, (n,), generator=draw).double() if ties else torch.randperm(n, generator=draw) / 7.0
    target = (torch.rand(n, generator=draw) < 0.3).long()
    target[0], target[1] = 0, 1
    return scores, target


@pytest.mark.parametrize("n", [2, 10, 500, 20_000])
@pytest.mark.parametrize("ties", [False, True])
def test_auc_is_scikit_learns(n: int, ties: bool) -> None:
    scores, target = drawn(n, ties=ties)
    expected = roc_auc_score(target, scores)
    assert float(auc(scores, target)) == pytest.approx(expected, rel=1e-12)
    assert float(concordance(scores, target)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("max_fpr", [0.01, 0.1, 1 / 3, 0.9, 1.0])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("n", [10, 500, 20_000])
def test_the_partial_auc_is_scikit_learns(n: int, ties: bool, max_fpr: float) -> None:
    scores, target = drawn(n, ties=ties)
    expected = roc_auc_score(target, scores, max_fpr=max_fpr)
    assert float(auc(scores, target, max_fpr=max_fpr)) == pytest.approx(expected, rel=1e-12)
    metric = BinaryRanking(max_fpr=max_fpr)
    metric.update(scores, target)
    assert float(metric.compute()["auc"]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [2, 10, 500, 20_000])
def test_average_precision_without_ties_is_scikit_learns(n: int) -> None:
    scores, target = drawn(n, ties=False)
    expected = average_precision_score(target, scores)
    for ties in ("average", "stable", "threshold"):
        assert float(average_precision(scores, target, ties=ties)) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("n", [10, 500, 20_000])
def test_average_precision_with_ties_is_scikit_learns_when_they_are_thresholds(n: int) -> None:
    scores, target = drawn(n, ties=True)
    expected = average_precision_score(target, scores)
    assert float(average_precision(scores, target, ties="threshold")) == pytest.approx(expected, rel=1e-12)
    assert float(average_precision(scores, target)) != pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("k", [None, 1, 5, 10])
@pytest.mark.parametrize("kind", [torch.int64, torch.float64])
def test_ndcg_and_dcg_of_linear_gain_are_scikit_learns_with_ties_averaged(k: int | None, kind: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(0, 9, (30, 40), generator=draw).double()
    ys = torch.randint(0, 5, (30, 40), generator=draw).to(kind) * (1 if kind == torch.int64 else 0.3)
    assert float(ndcg(scores, ys, k=k, gain="linear")) == pytest.approx(ndcg_score(ys, scores, k=k), rel=1e-12)
    assert float(dcg(scores, ys, k=k, gain="linear")) == pytest.approx(dcg_score(ys, scores, k=k), rel=1e-12)


def test_one_long_list_is_scikit_learns() -> None:
    draw = torch.Generator().manual_seed(1)
    scores, ys = torch.randn(60_000, generator=draw).round(decimals=3), torch.randint(0, 5, (60_000,), generator=draw)
    expected = ndcg_score(ys[None], scores.double()[None])
    assert float(ndcg(scores, ys, gain="linear")) == pytest.approx(expected, rel=1e-12)
