"""Every ranking metric against a plain loop over all orders that the ties allow."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from losskit.evaluate.ranked.graded import arp, dcg, ndcg
from losskit.evaluate.ranked.pairs_in_order import auc, concordance, kendall_tau
from losskit.evaluate.ranked.yes_no import average_precision, hit_rate, mrr, precision, recall

Graded = list[float]


def orders(scores: list[float], relevance: Graded) -> Iterator[Graded]:
    """The relevance from the top down, in every order that the scores allow."""
    levels = [[y for s, y in zip(scores, relevance, strict=True) if s == level] for level in sorted(set(scores), reverse=True)]
    for chosen in itertools.product(*(itertools.permutations(level) for level in levels)):
        yield [y for part in chosen for y in part]


def dcg_loop(ys: Graded, k: int, exponential: bool = True) -> float:
    return sum((2.0**y - 1 if exponential else y) / math.log2(rank + 1) for rank, y in enumerate(ys[:k], 1))


def ndcg_loop(ys: Graded, k: int, exponential: bool = True) -> float:
    return dcg_loop(ys, k, exponential) / dcg_loop(sorted(ys, reverse=True), k, exponential)


def mrr_loop(ys: Graded, k: int) -> float:
    return next((1 / rank for rank, y in enumerate(ys[:k], 1) if y >= 1), 0.0)


def hit_rate_loop(ys: Graded, k: int) -> float:
    return float(any(y >= 1 for y in ys[:k]))


def precision_loop(ys: Graded, k: int) -> float:
    return sum(y >= 1 for y in ys[:k]) / k


def recall_loop(ys: Graded, k: int) -> float:
    return sum(y >= 1 for y in ys[:k]) / sum(y >= 1 for y in ys)


def average_precision_loop(ys: Graded, k: int) -> float:
    return sum(precision_loop(ys, r) for r in range(1, min(k, len(ys)) + 1) if ys[r - 1] >= 1) / min(k, sum(y >= 1 for y in ys))


def arp_loop(ys: Graded, k: int) -> float:
    return sum(y * rank for rank, y in enumerate(ys, 1)) / sum(ys)


CASES: dict[str, tuple[Callable[..., Tensor], Callable[[Graded, int], float]]] = {
    "ndcg": (ndcg, ndcg_loop),
    "ndcg linear": (lambda *a, **o: ndcg(*a, gain="linear", **o), lambda ys, k: ndcg_loop(ys, k, False)),
    "dcg": (dcg, dcg_loop),
    "dcg linear": (lambda *a, **o: dcg(*a, gain="linear", **o), lambda ys, k: dcg_loop(ys, k, False)),
    "mrr": (mrr, mrr_loop),
    "hit_rate": (hit_rate, hit_rate_loop),
    "precision": (precision, precision_loop),
    "recall": (recall, recall_loop),
    "average_precision": (average_precision, average_precision_loop),
    "arp": (lambda *a, k=None, **o: arp(*a, **o), arp_loop),
}
# scores and relevance: no tie, ties of one and of several grades, all tied, longer with a few ties, one item, fractions
LISTS: dict[str, tuple[list[float], Graded]] = {
    "no ties": ([0.3, -1.0, 2.0, 5.0, 0.1, 0.2, -3.0], [0, 1, 3, 0, 2, 0, 1]),
    "ties": ([1.0, 1.0, 0.0, 2.0, 1.0, 0.0, 2.0], [0, 3, 1, 0, 1, 2, 0]),
    "all tied": ([0.5] * 6, [0, 2, 0, 0, 1, 0]),
    "two": ([1.0, 1.0], [0, 1]),
    "one": ([7.0], [2]),
    "fifty": ([float(i * 37 % 47) for i in range(50)], [float((i * i) % 11 == 3) * (1 + i % 3) for i in range(50)]),
    "fractions": ([3.0, 2.0, 2.0, 1.0], [0.5, 1.5, 0.25, 2.75]),
    "no grade above the other": ([3.0, 2.0, 2.0], [2, 2, 2]),
    "zeros of both signs": ([0.0, -0.0, 1.0], [1, 0, 0]),
}


@pytest.mark.parametrize("k", [None, 1, 2, 3, 60])
@pytest.mark.parametrize("given", LISTS)
@pytest.mark.parametrize("name", CASES)
def test_the_metric_is_the_mean_over_all_orders_of_the_ties(name: str, given: str, k: int | None) -> None:
    metric, loop = CASES[name]
    scores, ys = LISTS[given]
    every = [loop(order, k or len(ys)) for order in orders(scores, ys)]
    found = metric(torch.tensor(scores, dtype=torch.float64), torch.tensor(ys), k=k)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(math.fsum(every) / len(every), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("given", LISTS)
@pytest.mark.parametrize("name", CASES)
def test_a_tie_in_the_order_of_its_rows_is_the_first_of_these_orders(name: str, given: str) -> None:
    metric, loop = CASES[name]
    scores, ys = LISTS[given]
    found = metric(torch.tensor(scores), torch.tensor(ys), ties="stable", k=3)
    assert float(found) == pytest.approx(loop(next(orders(scores, ys)), 3), rel=1e-12, abs=1e-15)


def test_a_random_order_is_one_of_these_orders_and_each_comes() -> None:
    scores, ys = LISTS["ties"]
    every = {round(ndcg_loop(order, 4), 12) for order in orders(scores, ys)}
    generator = torch.Generator().manual_seed(0)
    drawn = {
        round(float(ndcg(torch.tensor(scores), torch.tensor(ys), k=4, ties="random", generator=generator)), 12)
        for _ in range(300)
    }
    assert drawn == every


def test_the_same_generator_draws_the_same_order() -> None:
    scores, ys = torch.zeros(30), torch.arange(30)
    first, again = (ndcg(scores, ys, ties="random", generator=torch.Generator().manual_seed(7)) for _ in range(2))
    assert float(first) == float(again) != float(ndcg(scores, ys, ties="random", generator=torch.Generator().manual_seed(8)))


def pairs(scores: list[float], ys: Graded) -> tuple[float, float, int, int]:
    """In order, in reverse, all of different relevance, all of different scores: by a loop over pairs."""
    right, wrong, graded, scored = 0.0, 0.0, 0, 0
    for (s, y), (t, z) in itertools.combinations(zip(scores, ys, strict=True), 2):
        graded += y != z
        scored += s != t
        right += y != z and (s - t) * (y - z) > 0
        wrong += y != z and (s - t) * (y - z) < 0
    return right, wrong, graded, scored


@pytest.mark.parametrize("levels", [2, 3, 4, 5, 9, 1000])
@pytest.mark.parametrize("length", [2, 7, 50, 120])
def test_concordance_and_kendall_tau_are_those_of_a_loop_over_pairs(length: int, levels: int) -> None:
    draw = torch.Generator().manual_seed(length * levels)
    scores = torch.randint(0, length, (length,), generator=draw).double()
    ys = torch.randint(0, levels, (length,), generator=draw).double() / 3 - 1
    ys[0], ys[1], scores[1] = -5, 7, scores[0] + 0.5
    right, wrong, graded, scored = pairs(scores.tolist(), ys.tolist())
    assert float(concordance(scores, ys)) == pytest.approx((right + (graded - right - wrong) / 2) / graded, rel=1e-12)
    assert float(kendall_tau(scores, ys)) == pytest.approx((right - wrong) / math.sqrt(graded * scored), rel=1e-12, abs=1e-15)


def test_concordance_of_many_lists_is_that_of_each() -> None:
    draw = torch.Generator().manual_seed(0)
    scores, ys = torch.randint(0, 5, (40, 12), generator=draw).float(), torch.randint(0, 7, (40, 12), generator=draw)
    for metric in (concordance, kendall_tau):
        each = torch.stack([metric(s, y) for s, y in zip(scores, ys, strict=True)])
        assert torch.allclose(metric(scores, ys, reduction="none"), each, rtol=1e-12, atol=1e-15)
        assert each.std() > 0.1


@pytest.mark.parametrize("length", [2, 7, 50])
def test_auc_is_the_concordance_of_yes_and_no(length: int) -> None:
    draw = torch.Generator().manual_seed(length)
    scores, target = torch.randint(0, length, (length,), generator=draw).double(), torch.rand(length, generator=draw) < 0.4
    target[0], target[1] = True, False
    right, wrong, graded, _ = pairs(scores.tolist(), target.double().tolist())
    expected = (right + (graded - right - wrong) / 2) / graded
    for kind in (torch.bool, torch.int64, torch.float32):
        assert float(auc(scores, target.to(kind))) == pytest.approx(expected, rel=1e-12)
    assert float(concordance(scores, target)) == pytest.approx(expected, rel=1e-12)


def test_a_tie_as_one_threshold_has_the_precision_of_its_last_place() -> None:
    found = average_precision(torch.tensor([2.0, 1.0, 1.0, 0.0]), torch.tensor([0, 1, 0, 1]), ties="threshold")
    assert float(found) == pytest.approx((1 / 3 + 2 / 4) / 2, rel=1e-12)


def test_many_small_ties_in_a_long_list_keep_the_digits_of_average_precision() -> None:
    n = 100_000  # pairs, of which one item is relevant: places 2j + 1 and 2j + 2, after j relevant ones
    scores, ys = torch.arange(n).repeat_interleave(2), torch.tensor([1, 0]).repeat(n)
    expected = math.fsum((j + 1) * (1 / (2 * j + 1) + 1 / (2 * j + 2)) / 2 for j in range(n)) / n
    assert float(average_precision(scores, ys)) == pytest.approx(expected, rel=1e-13)
