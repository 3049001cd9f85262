"""Ranking metrics over batches and ranks: any split gives what the whole gives, and nothing is counted twice."""

from __future__ import annotations

import copy
import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from losskit.evaluate.ranked import groups
from losskit.evaluate.ranked.binary_stream import BinaryRanking
from losskit.evaluate.ranked.graded import arp, dcg, ndcg
from losskit.evaluate.ranked.pairs_in_order import concordance, kendall_tau
from losskit.evaluate.ranked.stream import RankingMetrics
from losskit.evaluate.ranked.yes_no import average_precision, hit_rate, mrr, precision, recall

DRAW = torch.Generator().manual_seed(0)
S, Y = torch.randint(0, 6, (60, 9), generator=DRAW).double(), torch.randint(0, 4, (60, 9), generator=DRAW)
Y[::7] = 0
MASK, WEIGHT = torch.rand(60, 9, generator=DRAW) < 0.8, torch.rand(60, generator=DRAW)
FUNCTIONS: dict[str, Callable[..., Tensor]] = {"ndcg": ndcg, "dcg": dcg, "arp": arp, "mrr": mrr, "precision": precision}
FUNCTIONS |= {"average_precision": average_precision, "recall": recall, "hit_rate": hit_rate}
FUNCTIONS |= {"concordance": concordance, "kendall_tau": kendall_tau}
EVERY = [*FUNCTIONS, *(f"{name}@{k}" for name in FUNCTIONS if name not in ("arp", "concordance", "kendall_tau") for k in (1, 4))]
FLAT, YES = S.flatten(), Y.flatten() > 2
PIECES = ((0, 25), (25, 25), (25, 60))  # the second rank has nothing, the others not as much as each other


def over(cuts: list[int], **options: object) -> RankingMetrics:
    metrics = RankingMetrics(EVERY, **options)
    for a, b in zip([0, *cuts], [*cuts, 60], strict=True):
        metrics.update(S[a:b], Y[a:b], mask=MASK[a:b], query_weight=WEIGHT[a:b])
    return metrics


def by_functions(**options: object) -> dict[str, Tensor]:
    found = {}
    for name in EVERY:
        base, _, k = name.partition("@")
        at = {"k": int(k)} if k else {}
        found[name] = FUNCTIONS[base](S, Y, mask=MASK, query_weight=WEIGHT, **at, **options)
    return found


def close(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.allclose(a[name], b[name], rtol=1e-12, atol=0) for name in a)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 60), max_size=6))
def test_any_split_gives_what_the_functions_say_of_the_whole(cuts: list[int]) -> None:
    assert close(over(sorted(cuts)).compute(), by_functions())


@pytest.mark.parametrize("empty", ["zero", "one"])
def test_lists_with_nothing_count_as_told(empty: str) -> None:
    assert close(over([20, 33], empty=empty).compute(), by_functions(empty=empty))


def test_options_reach_the_figures() -> None:
    metrics = RankingMetrics(["ndcg@3", "mrr", "concordance"], gain="linear", threshold=3.0, ties="stable")
    metrics.update(S, Y)
    expected = ndcg(S, Y, k=3, gain="linear", ties="stable"), mrr(S, Y, threshold=3.0, ties="stable"), concordance(S, Y)
    assert torch.allclose(torch.stack(list(metrics.compute().values())), torch.stack(expected), rtol=1e-12)


def test_ragged_batches_are_their_lists() -> None:
    metrics, offsets = RankingMetrics(EVERY), torch.arange(61) * 9
    metrics.update(S.flatten(), Y.flatten(), mask=MASK.flatten(), query_weight=WEIGHT, offsets=offsets)
    assert close(metrics.compute(), by_functions())


@pytest.mark.parametrize("at_once", [1, 40, 100])
def test_lists_in_groups_of_any_size_have_their_values(at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = torch.tensor([0, 0, 2, 30, 31, 31, 90, 540, 540])
    ragged = {name: each(FLAT, Y.flatten(), offsets=offsets, reduction="none") for name, each in FUNCTIONS.items()}
    whole, each = by_functions(), {name: of(S, Y, reduction="none") for name, of in FUNCTIONS.items()}
    monkeypatch.setattr(groups, "_AT_ONCE", at_once)
    assert close(by_functions(), whole)
    assert close(over([7, 8, 8, 30]).compute(), whole)
    for name, of in FUNCTIONS.items():
        assert torch.allclose(of(S, Y, reduction="none"), each[name], rtol=1e-12, equal_nan=True)
        found = of(FLAT, Y.flatten(), offsets=offsets, reduction="none")
        assert torch.allclose(found, ragged[name], rtol=1e-12, equal_nan=True)


def test_what_waits_is_a_copy_and_part_of_every_look_at_the_state() -> None:
    scores, relevance, mask, weight = S.clone(), Y.clone(), MASK.clone(), WEIGHT.clone()
    first, loaded, merged = RankingMetrics(EVERY), RankingMetrics(EVERY), RankingMetrics(EVERY)
    first.update(scores, relevance, mask=mask, query_weight=weight)
    for each in (scores, relevance, mask, weight):
        each.zero_()
    for metrics in (copy.deepcopy(first), loaded.load_state_dict(copy.deepcopy(first).state_dict()), merged.merge_state([first])):
        assert close(metrics.compute(), by_functions())
    assert int(first.state_dict()["lists"]) == 60
    with pytest.raises(ValueError, match="no list"):
        over([]).reset().compute()


def test_batches_of_several_makes_add_up() -> None:
    metrics = RankingMetrics(EVERY)
    for i, dtype in enumerate((torch.float32, torch.float64, torch.int64, torch.float64)):
        at = slice(15 * i, 15 * (i + 1))
        metrics.update(S[at].to(dtype), Y[at].to((torch.int64, torch.float32)[i % 2]), mask=MASK[at], query_weight=WEIGHT[at])
    assert close(metrics.compute(), by_functions())
    metrics, ones = RankingMetrics(EVERY), torch.ones(30)
    metrics.update(S[:30], Y[:30])
    metrics.update(S[30:], Y[30:], query_weight=2 * ones)
    again = RankingMetrics(EVERY)
    again.update(S, Y, query_weight=torch.cat([ones, 2 * ones]))
    assert close(metrics.compute(), again.compute())


def test_the_best_order_is_exactly_one() -> None:
    best = torch.sort(Y, descending=True).values
    assert bool((ndcg(best.double(), best, reduction="none", empty="one") == 1).all())
    places = -torch.arange(9.0).expand(60, 9)
    assert bool((ndcg(places, best, k=(2, 9), reduction="none", empty="one") == 1).all())


def test_nothing_is_an_error_and_lists_with_nothing_are_nan() -> None:
    metrics = RankingMetrics("mrr")
    metrics.update(S[:0], Y[:0])
    with pytest.raises(ValueError, match="no list to go by"):
        metrics.compute()
    metrics.update(S, torch.zeros_like(Y))
    assert bool(metrics.compute()["mrr"].isnan())


def test_a_batch_that_raises_adds_nothing_and_a_nan_is_not_hidden() -> None:
    metrics = over([])
    for bad in ((S, Y - 1), (S, Y[:3]), (S, Y.float() * 1j)):
        with pytest.raises((ValueError, TypeError)):
            metrics.update(*bad)
    assert close(metrics.compute(), by_functions())
    metrics.update(torch.full((1, 3), torch.nan), torch.ones(1, 3))
    assert all(bool(value.isnan()) for value in metrics.compute().values())


def test_merging_adds_and_leaves_the_others_alone() -> None:
    first, second = RankingMetrics(EVERY), RankingMetrics(EVERY)
    for metrics, (a, b) in zip((first, second), ((0, 25), (25, 60)), strict=True):
        metrics.update(S[a:b], Y[a:b], mask=MASK[a:b], query_weight=WEIGHT[a:b])
    before = second.compute()
    assert close(first.merge_state([second, RankingMetrics(EVERY)]).compute(), by_functions())
    assert close(second.compute(), before)
    with pytest.raises(ValueError, match='"figures" are'):
        first.merge_state([RankingMetrics("mrr")])
    with pytest.raises(ValueError, match="gain=linear"):
        first.merge_state([RankingMetrics(EVERY, gain="linear")])
    with pytest.raises(ValueError, match="this metric itself"):
        first.merge_state([first])


def test_a_saved_state_goes_on_where_it_was(tmp_path: Path) -> None:
    first = RankingMetrics(EVERY)
    first.update(S[:40], Y[:40], mask=MASK[:40], query_weight=WEIGHT[:40])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    again = RankingMetrics(EVERY).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for metrics in (again, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        metrics.update(S[40:], Y[40:], mask=MASK[40:], query_weight=WEIGHT[40:])
        assert close(metrics.compute(), by_functions())
    saved = again.state_dict()
    with pytest.raises(ValueError, match="no list"):
        again.reset().compute()
    with pytest.raises(ValueError, match='"figures" are'):
        RankingMetrics("mrr").load_state_dict(saved)
    for wrong in ({**saved, "totals": saved["totals"][:2]}, {**saved, "lists": 3}, {"what": saved["what"]}):
        with pytest.raises(ValueError, match='"state" has'):
            again.load_state_dict(wrong)


def test_figures_that_are_none_are_refused() -> None:
    for wrong in ([], ["mrr", "mrr"], "mmr", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@x", "arp@3", ["concordance@1"], "ndcg@²"):
        with pytest.raises(ValueError, match=r'"figures"|"k"'):
            RankingMetrics(wrong)
    for option in ("gain", "ties", "empty", "threshold"):
        with pytest.raises((ValueError, TypeError), match=f'"{option}" must be'):
            RankingMetrics(**{option: "none"})


def binary() -> BinaryRanking:
    metric = BinaryRanking()
    metric.update(FLAT, YES)
    return metric


def test_updates_in_and_out_of_inference_mode_add_up() -> None:
    lists, stream = RankingMetrics(EVERY), BinaryRanking()
    with torch.inference_mode():
        lists.update(S[:30], Y[:30], mask=MASK[:30], query_weight=WEIGHT[:30])
        stream.update(FLAT[:100], YES[:100])
        stream.compute()
    lists.update(S[30:].clone().requires_grad_(), Y[30:], mask=MASK[30:], query_weight=WEIGHT[30:])
    stream.update(FLAT[100:].clone().requires_grad_(), YES[100:])
    assert close(lists.compute(), by_functions())
    assert close(stream.compute(), binary().compute())


def test_without_a_process_group_sync_does_nothing() -> None:
    assert close(over([]).sync().compute(), by_functions())
    assert close(binary().sync().compute(), binary().compute())


def ranks_agree(rank: int) -> dict[str, Tensor]:
    a, b = PIECES[rank]
    lists, stream = RankingMetrics(EVERY), BinaryRanking()
    if a < b:
        lists.update(S[a:b], Y[a:b], mask=MASK[a:b], query_weight=WEIGHT[a:b])
        stream.update(FLAT[9 * a : 9 * b], YES[9 * a : 9 * b])
    found = {}
    for turn in ("once", "twice", "more"):
        if turn == "more" and rank == 1:
            lists.update(S[:5], Y[:5], query_weight=WEIGHT[:5])
            stream.update(FLAT[:45], YES[:45])
        found[turn] = torch.stack([*lists.sync().compute().values(), *stream.sync().compute().values()])
    try:
        RankingMetrics(f"ndcg@{rank + 1}").sync()
    except ValueError as problem:
        assert '"figures" are' in str(problem)  # noqa: PT017  # in a child process: the parent sees it fail
        found["refused"] = torch.ones(())
    return found


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(PIECES), timeout=timedelta(seconds=60)
    )
    torch.save(ranks_agree(rank), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_with_many_lists_and_with_none_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(str(tmp_path),), nprocs=len(PIECES))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(PIECES))]
    lists, stream = over([]), binary()
    once = torch.stack([*lists.compute().values(), *stream.compute().values()])
    lists.update(S[:5], Y[:5], query_weight=WEIGHT[:5])
    stream.update(FLAT[:45], YES[:45])
    more = torch.stack([*lists.compute().values(), *stream.compute().values()])
    for found in ranks:
        assert torch.equal(found["once"], ranks[0]["once"])
        assert torch.equal(found["more"], ranks[0]["more"])
        assert torch.equal(found["once"], found["twice"])
        assert torch.allclose(found["once"], once, rtol=1e-12)
        assert torch.allclose(found["more"], more, rtol=1e-12)
        assert found["refused"]
