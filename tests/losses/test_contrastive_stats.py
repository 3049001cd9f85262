"""The numbers of a batch of embeddings against plain dense float64, on batches of any shape, and across ranks."""

from __future__ import annotations

import doctest
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor

import losskit
from embedding_ranks import SHARES, Found, part, ranks
from harness import refused
from losskit.losses.contrastive_stats import ContrastiveStats, contrastive_stats
from losskit.ops.pair_tiles import Call

Pair = tuple[Tensor, Tensor]


def batch(n: int = 40, d: int = 6, *, seed: int = 0, dtype: torch.dtype = torch.float64) -> Pair:
    """Pairs that are somewhat alike; two keys and two queries are copies."""
    g = torch.Generator().manual_seed(seed)
    query = torch.randn(n, d, generator=g, dtype=torch.float64) + 0.5
    key = query + torch.randn(n, d, generator=g, dtype=torch.float64)
    if n > 9:
        key[3], query[7] = key[5], query[8]
    return query.to(dtype), key.to(dtype)


def entropy(p: Tensor) -> Tensor:
    return -torch.special.xlogy(p, p).sum()


def effective_rank(rows: Tensor) -> float:
    s = torch.linalg.svdvals(rows)
    return float(entropy(s / s.sum()).exp())


def uniformity(rows: Tensor) -> float:
    others = ~torch.eye(len(rows), dtype=torch.bool)
    return float(torch.exp(-2 * torch.cdist(rows, rows).square())[others].mean().log())


def mean(values: list[Any]) -> float:
    return sum(map(float, values)) / len(values) if values else math.nan


def dense(
    towers: list[Tensor], scores: Tensor, positive: Tensor, negative: Tensor, temperature: float, copies: int
) -> ContrastiveStats:
    """All of it row by row; ``positive`` and ``negative`` (N, N) bool say who is what to whom."""
    units, n = [F.normalize(t, dim=1) for t in towers], len(scores)
    loss, chance, first, luck, active, hard, valid = [], [], [], [], [], [], 0
    for s, p, m in zip(scores, positive, negative, strict=True):
        both = torch.cat([s[p], s[m]]) / temperature
        if p.any():
            loss.append(torch.logsumexp(both, 0) - s[p].mean() / temperature)
            chance.append(math.log(len(both)))
        if m.any():
            hard.append(entropy((s[m] / temperature).softmax(0)).exp())
        if p.any() and m.any():
            valid += 1
            nearest = both >= both.max() - 1e-9
            first.append(int(nearest[: int(p.sum())].sum()) / int(nearest.sum()))
            luck.append(int(p.sum()) / int((p | m).sum()))
            active.append(both.softmax(0)[int(p.sum()) :].sum() > 0.01)
    near = float(scores[positive].mean()) if positive.any() else math.nan
    return ContrastiveStats(
        rows=n, valid=valid / n, active=mean(active), loss=mean(loss), chance=mean(chance), top1=mean(first),
        top1_chance=mean(luck), positive=near, negative=float(scores[negative].mean()) if negative.any() else math.nan,
        negatives=float(negative.sum()) / n, effective_negatives=mean(hard), alignment=2 - 2 * near,
        uniformity=mean([uniformity(u) for u in units]), rank=min(map(effective_rank, units)), rank_limit=min(units[0].shape),
        spread=min(float(u.std(0, correction=0).mean()) * u.shape[1] ** 0.5 for u in units), duplicates=copies,
    )  # fmt: skip


def of_pairs(query: Tensor, key: Tensor, query_ids: Tensor, key_ids: Tensor, temperature: float, copies: int) -> ContrastiveStats:
    own = torch.eye(len(query), dtype=torch.bool)
    alike = own | (query_ids[:, None] == query_ids) | (key_ids[:, None] == key_ids)
    scores = F.normalize(query, dim=1) @ F.normalize(key, dim=1).T
    return dense([query, key], scores, own, ~alike, temperature, copies)


def of_labels(input: Tensor, labels: Tensor, temperature: float, copies: int) -> ContrastiveStats:
    same = labels[:, None] == labels
    unit = F.normalize(input, dim=1)
    others = ~torch.eye(len(input), dtype=torch.bool)
    return dense([input], unit @ unit.T, same & others, ~same, temperature, copies)


def agree(got: ContrastiveStats, wanted: ContrastiveStats, tolerance: float = 1e-11) -> None:
    for name, a, b in zip(got._fields, got, wanted, strict=True):
        assert type(a) is type(b), name
        assert math.isclose(a, b, rel_tol=tolerance, abs_tol=tolerance) or (math.isnan(a) and math.isnan(b)), (name, a, b)


@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_numbers_of_pairs_are_those_of_all_scores(temperature: float) -> None:
    query, key = batch()
    place = torch.arange(40)
    agree(contrastive_stats(query, key, temperature=temperature), of_pairs(query, key, place, place, temperature, 4))


def test_rows_that_share_an_id_are_no_negatives_and_their_copies_no_duplicates() -> None:
    query, key = batch()
    query_ids, key_ids = torch.arange(40) // 2, torch.arange(40) % 30
    query_ids[8] = query_ids[7]
    got = contrastive_stats(query, key, query_ids=query_ids, key_ids=key_ids)
    agree(got, of_pairs(query, key, query_ids, key_ids, 0.07, 2))
    key_ids[3] = key_ids[5]
    agree(contrastive_stats(query, key, query_ids=query_ids, key_ids=key_ids), of_pairs(query, key, query_ids, key_ids, 0.07, 0))


@pytest.mark.parametrize("kinds", [1, 3, 25, 40])
def test_numbers_of_labels_are_those_of_all_scores(kinds: int) -> None:
    input, _ = batch()
    labels = torch.arange(40) * 7 % kinds - 2
    copies = 0 if labels[7] == labels[8] else 2
    agree(contrastive_stats(input, labels=labels), of_labels(input, labels, 0.07, copies))


def test_the_loss_is_that_of_the_losses_and_chance_that_of_their_cards() -> None:
    query, key = batch()
    labels = torch.arange(40) % 5
    pairs, classes = contrastive_stats(query, key, temperature=0.1), contrastive_stats(query, labels=labels, temperature=0.1)
    assert math.isclose(pairs.loss, float(losskit.info_nce_loss(query, key, temperature=0.1)), rel_tol=1e-12)
    assert math.isclose(classes.loss, float(losskit.supervised_contrastive_loss(query, labels)), rel_tol=1e-12)
    assert pairs.chance == losskit.reference("info_nce_loss", batch_size=40).chance == math.log(40)
    assert math.isclose(classes.chance, math.log(39), rel_tol=1e-15)
    assert pairs.excess == pairs.loss - math.log(40) < 0


def test_other_scores_are_counted_fairly_where_they_tie() -> None:
    key = F.normalize(torch.randn(12, 5, generator=torch.Generator().manual_seed(0)), dim=1).repeat_interleave(3, 0)
    assert contrastive_stats(key, key).top1 == pytest.approx(1 / 3, abs=1e-12)
    collapsed = torch.full((8, 4), 0.1)
    assert contrastive_stats(collapsed, collapsed).top1 == pytest.approx(1 / 8, abs=1e-12)
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    assert contrastive_stats(collapsed, labels=labels).top1 == pytest.approx(3 / 7, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    query, key = batch(dtype=dtype)
    place = torch.arange(40)
    agree(contrastive_stats(query, key), of_pairs(query.double(), key.double(), place, place, 0.07, 4), 3e-6)


def test_masked_rows_may_be_nan_and_change_nothing() -> None:
    query, key = batch(12)
    seen = torch.arange(12) % 5 != 1
    bad_query, bad_key = (torch.where(seen[:, None], t, math.nan) for t in (query, key))
    agree(contrastive_stats(bad_query, bad_key, mask=seen), contrastive_stats(query[seen], key[seen]), 1e-12)
    labels = torch.arange(12) % 3
    got = contrastive_stats(bad_query, labels=labels, mask=seen)
    agree(got, contrastive_stats(query[seen], labels=labels[seen]), 1e-12)
    agree(contrastive_stats(query.reshape(3, 4, 6), key.reshape(3, 4, 6)), contrastive_stats(query, key), 1e-12)


def test_a_collapsed_batch_is_told_from_a_healthy_one() -> None:
    point = torch.ones(16, 8)
    found = contrastive_stats(point, point, temperature=0.5)
    assert found.loss == pytest.approx(math.log(16), rel=1e-6)
    assert (found.rank, found.rank_limit, found.duplicates) == (pytest.approx(1, abs=1e-6), 8, 16)
    assert abs(found.spread) + abs(found.uniformity) + abs(found.alignment) < 1e-5
    assert found.effective_negatives == pytest.approx(15)
    even = contrastive_stats(torch.cat([torch.eye(8), -torch.eye(8)]), torch.cat([torch.eye(8), -torch.eye(8)]))
    assert (even.rank, even.spread, even.duplicates) == (pytest.approx(8), pytest.approx(1), 0)


@pytest.mark.parametrize("n", [0, 1])
def test_nobody_and_one_alone_have_numbers_where_there_are_any(n: int) -> None:
    found = contrastive_stats(torch.ones(n, 4), torch.ones(n, 4))
    assert found.rows == n
    assert math.isnan(found.top1)
    assert math.isnan(found.negative)
    assert math.isnan(found.uniformity)
    assert found.loss == 0 if n else math.isnan(found.loss)
    alone = contrastive_stats(torch.ones(n, 4), labels=torch.zeros(n, dtype=torch.int64))
    assert math.isnan(alone.loss)
    assert len(str(found).splitlines()) == len(str(alone).splitlines()) == 10


def test_one_class_has_no_valid_row_and_zeros_no_direction() -> None:
    found = contrastive_stats(batch()[0], labels=torch.zeros(40, dtype=torch.int64))
    assert found.valid == found.negatives == 0
    zeros = contrastive_stats(torch.zeros(8, 4), torch.zeros(8, 4), temperature=0.01)
    assert zeros.loss == pytest.approx(math.log(8))
    assert zeros.rank == 0


def test_a_saturated_batch_is_not_active() -> None:
    rows = torch.cat([torch.eye(8), -torch.eye(8)])
    assert contrastive_stats(rows, rows, temperature=0.05).active == 0
    assert contrastive_stats(rows, rows, temperature=0.5).active == 1


def test_zeros_of_either_sign_are_copies_and_multiples_are_not() -> None:
    rows = torch.tensor([[0.0, 1.0, 2.0], [-0.0, 1.0, 2.0], [0.0, 2.0, 4.0], [1.0, 0.0, 2.0]])
    assert contrastive_stats(rows, rows).duplicates == 2


def test_it_has_no_gradient_and_changes_no_input() -> None:
    query, key = (t.requires_grad_() for t in batch(12))
    before = query.detach().clone()
    temperature = torch.tensor(0.1, requires_grad=True)
    found = contrastive_stats(query, key, temperature=temperature)
    agree(found, contrastive_stats(query.detach(), key.detach(), temperature=0.1), 1e-6)
    assert all(type(value) in (int, float) for value in found)
    assert torch.equal(query, before)


def test_memory_is_that_of_a_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key = batch()
    whole = contrastive_stats(query, key)
    monkeypatch.setattr("losskit.ops.pair_numbers.Call", lambda x, y, who, memory: Call(x, y, who, 1))
    agree(contrastive_stats(query, key), whole, 1e-12)
    labels = torch.arange(40) % 5
    agree(contrastive_stats(query, labels=labels), of_labels(query, labels, 0.07, 2))


WRONG: tuple[tuple[type[Exception], Callable[[], object], str], ...] = (
    (ValueError, lambda: contrastive_stats(torch.ones(2, 3)), "both or neither given"),
    (
        ValueError,
        lambda: contrastive_stats(torch.ones(2, 3), torch.ones(2, 3), labels=torch.ones(2).long()),
        "both or neither given",
    ),
    (
        ValueError,
        lambda: contrastive_stats(torch.ones(2, 3), labels=torch.ones(2).long(), query_ids=torch.ones(2).long()),
        'beside "labels"',
    ),
    (ValueError, lambda: contrastive_stats(torch.ones(2, 3), torch.ones(2, 3), temperature=0.0), '"temperature"'),
    (losskit.ShapeError, lambda: contrastive_stats(torch.ones(2, 3), torch.ones(3, 3)), '"key" has shape (3, 3)'),
    (TypeError, lambda: contrastive_stats(torch.ones(2, 3).long(), torch.ones(2, 3)), '"query" has dtype torch.int64'),
    (TypeError, lambda: contrastive_stats(torch.ones(2, 3), labels=torch.ones(2)), '"labels" has dtype torch.float32'),
)


@pytest.mark.parametrize(("error", "call", "said"), WRONG)
def test_errors_say_what_was_expected(error: type[Exception], call: Callable[[], object], said: str) -> None:
    assert said in refused(error, call)


def on_ranks(rank: int, world: int) -> Found:
    """Pairs and labels of a rank that has some of the rows."""
    group = dist.group.WORLD if dist.is_initialized() else None
    query, key = batch(12)
    found: Found = {}
    for share in SHARES[world]:
        total, here = sum(share), part(share, rank)
        q, k, ids = (t[:total][here] for t in (query, key, torch.arange(12) % 5))
        pairs = contrastive_stats(q, k, query_ids=ids, group=group)
        found[str(share)] = total, tuple(pairs), tuple(contrastive_stats(q, labels=ids, group=group))
    return found


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
@pytest.mark.parametrize("world", [2, 3])
def test_on_ranks_every_rank_has_the_numbers_of_all_rows(world: int, tmp_path: Path) -> None:
    query, key = batch(12)
    for each in ranks(on_ranks, world, tmp_path):
        for total, pairs, classes in each.values():
            q, k, ids = query[:total], key[:total], torch.arange(total) % 5
            agree(ContrastiveStats(*pairs), contrastive_stats(q, k, query_ids=ids), 1e-12)
            agree(ContrastiveStats(*classes), contrastive_stats(q, labels=ids), 1e-12)


def test_the_example_prints_what_it_says() -> None:
    class Face:
        contrastive_stats = staticmethod(contrastive_stats)

    (test,) = doctest.DocTestFinder(recurse=False).find(contrastive_stats, globs={"torch": torch, "losskit": Face})
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0
