"""Ranking metrics: masks, ragged lists, empty lists, weights, dtypes, NaN, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import losskit
from losskit.evaluate.ranked.graded import arp, dcg, ndcg
from losskit.evaluate.ranked.pairs_in_order import auc, concordance, kendall_tau
from losskit.evaluate.ranked.yes_no import average_precision, hit_rate, mrr, precision, recall

CUT = {"ndcg": ndcg, "dcg": dcg, "mrr": mrr, "average_precision": average_precision, "precision": precision, "recall": recall}
CUT["hit_rate"] = hit_rate
OTHERS = {"arp": arp, "concordance": concordance, "kendall_tau": kendall_tau, "auc": auc}
# of all places recall and hit rate are 1
ALL: dict[str, Callable[..., Tensor]] = {**CUT, **OTHERS, "recall": partial(recall, k=3), "hit_rate": partial(hit_rate, k=2)}
every_metric = pytest.mark.parametrize("name", ALL)
NAN = torch.nan


def lists(seed: int, shape: tuple[int, ...] = (6, 8), levels: int = 2) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randint(0, 5, shape, generator=draw).double(), torch.randint(0, levels, shape, generator=draw).double()


def same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-12, atol=1e-15, equal_nan=True)


@every_metric
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), pads=st.integers(0, 5), filler=st.sampled_from([NAN, torch.inf, -torch.inf, 1e9, -1.0]))
def test_padding_changes_nothing(name: str, seed: int, pads: int, filler: float) -> None:
    scores, ys = lists(seed)
    wide, far = (torch.cat([each, torch.full((6, pads), filler, dtype=torch.float64)], 1) for each in (scores, ys))
    mask = torch.arange(8 + pads).expand(6, -1) < 8
    at = torch.randperm(8 + pads, generator=torch.Generator().manual_seed(seed))
    padded = ALL[name](wide[:, at], far[:, at], mask=mask[:, at], reduction="none")
    assert same(padded, ALL[name](scores, ys, reduction="none"))


@every_metric
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_neither_the_order_of_items_nor_of_lists_matters(name: str, seed: int) -> None:
    scores, ys = lists(seed)
    draw = torch.Generator().manual_seed(seed)
    items, rows = torch.randperm(8, generator=draw), torch.randperm(6, generator=draw)
    found = ALL[name](scores, ys, reduction="none")
    assert same(ALL[name](scores[:, items], ys[:, items], reduction="none"), found)
    assert same(ALL[name](scores[rows], ys[rows], reduction="none"), found[rows])
    assert same(ALL[name](scores[rows], ys[rows]), ALL[name](scores, ys))


@every_metric
@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8), seed=st.integers(0, 10**6))
def test_ragged_lists_are_the_lists_one_by_one(name: str, sizes: list[int], seed: int) -> None:
    scores, ys = lists(seed, (sum(sizes),))
    mask = torch.rand(len(scores), generator=torch.Generator().manual_seed(seed)) < 0.8
    offsets = torch.tensor([0, *sizes]).cumsum(0)
    found = ALL[name](scores, ys, mask=mask, offsets=offsets, reduction="none")
    each = [ALL[name](s, y, mask=m) for s, y, m in zip(*(t.split(sizes) for t in (scores, ys, mask)), strict=True)]
    assert same(found, torch.stack(each))


@every_metric
def test_the_mean_is_over_the_lists_that_have_something_weighed_by_query(name: str) -> None:
    scores, ys = lists(3)
    ys[2] = 0
    weight = torch.tensor([1.0, 0.0, 5.0, 2.0, 0.5, 3.0])
    values = ALL[name](scores, ys, reduction="none")
    assert bool(values[2].isnan())
    counts = torch.where(values.isnan(), 0, weight.double())
    assert same(ALL[name](scores, ys, query_weight=weight), (counts * values.nan_to_num()).sum() / counts.sum())
    assert same(ALL[name](scores, ys, query_weight=torch.ones(6)), ALL[name](scores, ys))
    assert not same(ALL[name](scores, ys, query_weight=weight), ALL[name](scores, ys))


@every_metric
def test_a_list_with_nothing_is_what_empty_says(name: str) -> None:
    scores, ys = lists(4, (3, 5))
    ys[1] = 0
    skipped = ALL[name](scores, ys, reduction="none")
    kept = torch.tensor([0, 2])
    assert same(ALL[name](scores, ys), skipped[kept].mean())
    assert same(ALL[name](scores, ys, empty="zero"), skipped[kept].sum() / 3)
    assert same(ALL[name](scores, ys, empty="one"), (skipped[kept].sum() + 1) / 3)
    assert bool(ALL[name](scores, ys, empty="nan").isnan())
    assert ALL[name](scores, ys, empty="zero", reduction="none")[1] == 0
    assert ALL[name](scores, ys, empty="one", reduction="none")[1] == 1


@every_metric
def test_lists_of_length_nought_and_no_lists_at_all(name: str) -> None:
    metric = ALL[name]
    assert metric(torch.zeros(3, 0), torch.zeros(3, 0), reduction="none").isnan().tolist() == [True] * 3
    assert metric(torch.zeros(3, 0), torch.zeros(3, 0), empty="zero") == 0
    assert metric(torch.zeros(0, 4), torch.zeros(0, 4), reduction="none").shape == (0,)
    assert bool(metric(torch.zeros(0, 4), torch.zeros(0, 4)).isnan())
    masked = metric(torch.full((2, 3), NAN), torch.full((2, 3), NAN), mask=torch.zeros(2, 3, dtype=torch.bool), reduction="none")
    assert masked.isnan().tolist() == [True, True]


@every_metric
def test_a_nan_that_counts_is_shown_in_its_list_and_in_the_mean(name: str) -> None:
    scores, ys = lists(5)
    expected = ALL[name](scores, ys, reduction="none", empty="zero")
    scores[3, 2] = NAN
    found = ALL[name](scores, ys, reduction="none", empty="zero")
    assert found.isnan().nonzero().tolist() == [[3]]
    assert same(found[[0, 1, 2, 4, 5]], expected[[0, 1, 2, 4, 5]])
    assert bool(ALL[name](scores, ys).isnan())
    weight = torch.ones(6)
    weight[3] = 0
    assert not bool(ALL[name](scores, ys, query_weight=weight).isnan())


@every_metric
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.int32, torch.int64, torch.uint8])
def test_scores_of_every_dtype_are_compared_as_they_are(name: str, dtype: torch.dtype) -> None:
    scores, ys = lists(6)
    assert same(ALL[name](scores.to(dtype), ys.bool(), reduction="none"), ALL[name](scores, ys, reduction="none"))


@every_metric
def test_infinite_scores_have_their_places(name: str) -> None:
    scores = torch.tensor([torch.inf, 1e30, 0.0, -torch.inf])
    ys = torch.tensor([0, 1, 0, 1])
    assert same(ALL[name](scores, ys), ALL[name](torch.tensor([3.0, 2.0, 1.0, 0.0]), ys))


@every_metric
def test_leading_axes_are_lists_and_inputs_stay_as_they_are(name: str) -> None:
    scores, ys = lists(7, (2, 3, 8))
    before = scores.clone(), ys.clone()
    found = ALL[name](scores.requires_grad_(), ys, reduction="none")
    assert found.shape == (2, 3)
    assert not found.requires_grad
    assert same(found.flatten(), ALL[name](scores.detach().flatten(0, 1), ys.flatten(0, 1), reduction="none"))
    assert torch.equal(scores, before[0])
    assert torch.equal(ys, before[1])
    strided = ALL[name](scores.detach().mT.contiguous().mT, ys, reduction="none")
    assert same(strided, found)


@pytest.mark.parametrize("name", CUT)
def test_several_k_are_a_last_axis(name: str) -> None:
    scores, ys = lists(8)
    many = CUT[name](scores, ys, k=(1, 3, 20), reduction="none")
    assert many.shape == (6, 3)
    for i, k in enumerate((1, 3, 20)):
        assert same(many[:, i], CUT[name](scores, ys, k=k, reduction="none"))
    assert CUT[name](scores, ys, k=[2]).shape == (1,)
    assert CUT[name](scores, ys, k=2).shape == ()
    assert same(CUT[name](scores, ys, k=(1, 3)), torch.stack([CUT[name](scores, ys, k=k) for k in (1, 3)]))


@pytest.mark.parametrize("name", ["mrr", "average_precision", "precision", "recall", "hit_rate"])
def test_an_item_is_relevant_from_the_threshold_on(name: str) -> None:
    scores, ys = lists(9, levels=4)
    found = CUT[name](scores, ys, k=2, threshold=2.0, reduction="none")
    assert same(found, CUT[name](scores, (ys >= 2).long(), k=2, reduction="none"))
    assert not same(found, CUT[name](scores, ys, k=2, reduction="none"))


@pytest.mark.parametrize("top", [31.0, 1000.0, 3000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64])
def test_gains_of_labels_to_thousands_leave_ndcg_in_its_range(top: float, dtype: torch.dtype) -> None:
    ys = torch.tensor([[top, top - 1, 0.0], [1.0, 2.0, 0.0]]).to(dtype)  # the second list does not vanish beside the first
    second = 1 / math.log2(3)
    found = ndcg(torch.tensor([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), ys, reduction="none").tolist()
    half = 0.5 if top > 60 else (2 ** (top - 1) - 1) / (2**top - 1)
    assert found[0] == pytest.approx((half * second + 1 / 2) / (1 + half * second), rel=1e-12)
    assert found[1] == pytest.approx((3 * second + 1 / 2) / (3 + second), rel=1e-12)
    assert ndcg(-torch.arange(3.0), ys[0]) == 1
    assert bool(dcg(torch.zeros(1), torch.tensor([2000.0])).isinf())


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=8), st.integers(0, 10**6))
def test_ndcg_is_between_nought_and_one_for_any_relevance(ys: list[float], seed: int) -> None:
    scores = torch.randn(len(ys), generator=torch.Generator().manual_seed(seed))
    found = ndcg(scores, torch.tensor(ys, dtype=torch.float64), empty="one")
    assert 0 <= float(found) <= 1
    assert float(
        ndcg(torch.tensor(ys, dtype=torch.float64), torch.tensor(ys, dtype=torch.float64), empty="one")
    ) == pytest.approx(1)


def test_a_list_without_a_relevant_item_has_no_reciprocal_rank_whatever_other_lists_have() -> None:  # allRank's has 1
    scores, ys = torch.tensor([[3.0, 2.0, 1.0], [3.0, 2.0, 1.0]]), torch.tensor([[0, 0, 1], [0, 0, 0]])
    assert mrr(scores, ys, empty="zero", reduction="none").tolist() == [pytest.approx(1 / 3), 0]
    assert float(mrr(scores, ys)) == pytest.approx(1 / 3)
    # and the first relevant item counts, not the first of the largest grade
    assert float(mrr(torch.tensor([3.0, 2.0, 1.0]), torch.tensor([1, 0, 4]))) == 1


@pytest.mark.parametrize("size", [1.0, 33.0, 1e4, 1e30])
def test_what_is_masked_outranks_nothing_however_large_the_scores_are(size: float) -> None:  # TF-Ranking's pads tie beyond 32
    scores = torch.tensor([[-size, -2 * size, 0.0, 0.0]])
    mask = torch.tensor([[True, True, False, False]])
    for order in ([0, 1, 2, 3], [2, 3, 1, 0]):
        at = torch.tensor(order)
        found = ndcg(scores[:, at], torch.tensor([[0.0, 1.0, 0.0, 0.0]])[:, at], mask=mask[:, at])
        assert float(found) == pytest.approx(1 / float(torch.tensor(3.0).double().log2()), rel=1e-12)


def test_rows_in_another_order_have_the_same_ndcg_when_scores_are_tied() -> None:  # LightGBM's differs
    ys = torch.tensor([3.0, 0.0, 1.0, 2.0])
    values = {round(float(ndcg(torch.zeros(4), ys[torch.randperm(4)], k=2)), 13) for _ in range(20)}
    assert len(values) == 1


@every_metric
def test_shapes_and_types_that_do_not_fit_are_refused(name: str) -> None:
    metric, second = ALL[name], "target" if name == "auc" else "relevance"
    with pytest.raises(losskit.ShapeError, match=rf'"{second}" has shape \(3, 4\), expected \(2, 4\)'):
        metric(torch.zeros(2, 4), torch.zeros(3, 4))
    with pytest.raises(losskit.ShapeError, match='"scores" has shape'):
        metric(torch.tensor(1.0), torch.tensor(1.0))
    with pytest.raises(losskit.ShapeError, match='"query_weight" has shape'):
        metric(torch.zeros(2, 4), torch.zeros(2, 4), query_weight=torch.ones(2, 4))
    with pytest.raises(TypeError, match='"mask" has dtype'):
        metric(torch.zeros(2, 4), torch.zeros(2, 4), mask=torch.ones(2, 4))
    with pytest.raises(TypeError, match=f'"{second}" must be a Tensor'):
        metric(torch.zeros(2), [0, 1])
    with pytest.raises(ValueError, match='"query_weight" is -1'):
        metric(torch.zeros(2, 4), torch.zeros(2, 4), query_weight=torch.tensor([1.0, -1.0]))
    for option in ("empty", "reduction"):
        with pytest.raises(ValueError, match=f'"{option}" must be'):
            metric(torch.zeros(2), torch.zeros(2), **{option: "none at all"})


@every_metric
def test_offsets_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="goes from 0 to 3, expected from 0 to 4"):
        ALL[name](torch.zeros(4), torch.zeros(4), offsets=torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="falls from"):
        ALL[name](torch.zeros(4), torch.zeros(4), offsets=torch.tensor([0, 3, 2, 4]))
    with pytest.raises(losskit.ShapeError, match="expected a flat batch"):
        ALL[name](torch.zeros(2, 4), torch.zeros(2, 4), offsets=torch.tensor([0, 4]))


@pytest.mark.parametrize("name", CUT)
def test_places_that_are_none_are_refused(name: str) -> None:
    for wrong in (0, -1, (1, 0)):
        with pytest.raises(ValueError, match='"k" must be >= 1'):
            CUT[name](torch.zeros(2), torch.zeros(2), k=wrong)
    for strange in (1.5, True, "10"):
        with pytest.raises(TypeError, match='"k" must be an int'):
            CUT[name](torch.zeros(2), torch.zeros(2), k=strange)
    with pytest.raises(ValueError, match='"k" is empty'):
        CUT[name](torch.zeros(2), torch.zeros(2), k=())


def test_values_out_of_range_are_refused() -> None:
    for metric in (ndcg, dcg, arp):
        with pytest.raises(ValueError, match=r'"relevance" is -1 at index 1, expected \[0, inf\)'):
            metric(torch.zeros(2), torch.tensor([0.0, -1.0]))
    with pytest.raises(ValueError, match='"target" is 2 at index 0'):
        auc(torch.zeros(2), torch.tensor([2, 0]))
    for wrong in (0.0, 1.5, -1.0):
        with pytest.raises(ValueError, match='"max_fpr" must be'):
            auc(torch.zeros(2), torch.tensor([1, 0]), max_fpr=wrong)
    with pytest.raises(ValueError, match='"gain" must be'):
        ndcg(torch.zeros(2), torch.zeros(2), gain="quadratic")
    with pytest.raises(ValueError, match='"ties" must be'):
        ndcg(torch.zeros(2), torch.zeros(2), ties="threshold")
    with pytest.raises(ValueError, match="a threshold takes all items of a tie"):
        average_precision(torch.zeros(2), torch.zeros(2), ties="threshold", k=3)
    with pytest.raises(ValueError, match='"threshold" must be'):
        mrr(torch.zeros(2), torch.zeros(2), threshold=NAN)


def test_a_generator_that_would_not_be_used_or_is_none_is_refused() -> None:
    scores, relevance = torch.rand(2, 3), torch.ones(2, 3)
    other: Any = 3
    with pytest.raises(ValueError, match='expected ties="random"'):
        ndcg(scores, relevance, generator=torch.Generator())
    with pytest.raises(ValueError, match='expected ties="random"'):
        losskit.evaluate.RankingMetrics(generator=torch.Generator())
    with pytest.raises(TypeError, match=r"must be a torch\.Generator or None, got int"):
        mrr(scores, relevance, ties="random", generator=other)


def test_a_figure_has_one_name_and_the_auc_another_class() -> None:
    with pytest.raises(ValueError, match="has 'ndcg@05'"):
        losskit.evaluate.RankingMetrics(["ndcg@5", "ndcg@05"])
    with pytest.raises(ValueError, match="BinaryRanking has the AUC"):
        losskit.evaluate.RankingMetrics(["auc"])
