"""Weights that balance classes, and draws that all ranks together make as one."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, WeightedRandomSampler

from losskit import ShapeError
from losskit.losses.sampling import DistributedWeightedSampler, class_balanced_sample_weights


def sampler(weights: Any, replicas: int = 1, rank: int = 0, **options: Any) -> DistributedWeightedSampler:
    return DistributedWeightedSampler(weights, num_replicas=replicas, rank=rank, **options)


def together(weights: Any, replicas: int, epoch: int = 0, **options: Any) -> list[int]:
    """The draws of all ranks in the order in which they were made."""
    ranks = [sampler(weights, replicas, rank, **options) for rank in range(replicas)]
    for one in ranks:
        one.set_epoch(epoch)
    return [i for step in zip(*ranks, strict=True) for i in step]


def chi_squared(counts: Tensor, probability: Tensor) -> float:
    """How far counts are from what is expected, in standard deviations of the statistic: 5 is beyond all chance."""
    there = probability > 0
    assert not counts[~there].any()
    expected = probability[there] * counts.sum()
    statistic, freedom = float(((counts[there] - expected) ** 2 / expected).sum()), int(there.sum()) - 1
    return (statistic - freedom) / math.sqrt(2 * freedom)


# weights


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_classes_are_drawn_with_a_power_of_their_share(balance: float) -> None:
    counts = {7: 900, -1: 90, 3: 10}
    labels = torch.cat([torch.full((n,), c) for c, n in counts.items()])
    weight = class_balanced_sample_weights(labels, balance=balance)
    assert weight.dtype == torch.float64
    assert float(weight.mean()) == pytest.approx(1)
    total = sum(n ** (1 - balance) for n in counts.values())
    for c, n in counts.items():
        assert float(weight[labels == c].sum() / weight.sum()) == pytest.approx(n ** (1 - balance) / total)


def test_a_sample_of_several_classes_is_as_rare_as_its_rarest() -> None:
    labels = torch.tensor([[1, 0, 0]] * 6 + [[1, 1, 0]] * 2 + [[0, 0, 0]] * 4)
    weight = class_balanced_sample_weights(labels)
    assert (weight[0] / weight[6]).item() == pytest.approx((1 / 8) / (1 / 2))
    assert (weight[8] / weight[6]).item() == pytest.approx((1 / 4) / (1 / 2))  # the background is a class like the others
    assert float(weight.mean()) == pytest.approx(1)
    assert torch.equal(class_balanced_sample_weights(labels.bool()), weight)
    assert torch.equal(class_balanced_sample_weights(labels.float()), weight)


def test_one_class_a_sample_is_the_same_written_either_way() -> None:
    labels = torch.randint(4, (50,), generator=torch.Generator().manual_seed(0))
    for balance in (0.3, 1.0):
        either = torch.nn.functional.one_hot(labels, 4)
        torch.testing.assert_close(
            class_balanced_sample_weights(either, balance=balance), class_balanced_sample_weights(labels, balance=balance)
        )


def test_lists_and_bools_are_labels_and_none_are_none() -> None:
    assert class_balanced_sample_weights([True, False, False]).tolist() == pytest.approx([1.5, 0.75, 0.75])
    assert class_balanced_sample_weights([]).shape == (0,)
    assert class_balanced_sample_weights(torch.empty(0, 3)).shape == (0,)
    assert class_balanced_sample_weights(torch.empty(3, 0)).tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("labels", "options", "error", "says"),
    [
        ([0.5, 1.0], {}, TypeError, "use labels.long()"),
        (["cat"], {}, TypeError, '"labels" must be a Tensor or a sequence of integers, got list'),
        (torch.zeros(2, 2, 2), {}, ShapeError, r"has shape \(2, 2, 2\), expected \(N,\)"),
        (torch.tensor([[0, 2]]), {}, ValueError, r'"labels" is 2 at index \(0, 1\), expected 0 or 1'),
        ([0, 1], {"balance": 1.5}, ValueError, '"balance" must be in'),
    ],
)
def test_labels_that_are_none_are_refused(labels: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        class_balanced_sample_weights(labels, **options)


def test_torchs_own_sampler_takes_the_weights() -> None:
    weight = class_balanced_sample_weights([0, 0, 0, 1])
    assert len(list(WeightedRandomSampler(weight.tolist(), 8))) == 8


# draws


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_all_ranks_together_draw_in_proportion_to_the_weights(replicas: int) -> None:
    weights = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 0.5, 0.0], dtype=torch.float64)
    drawn = torch.tensor(together(weights, replicas, num_samples=30_000))
    assert abs(chi_squared(drawn.bincount(minlength=7).double(), weights / weights.sum())) < 5


@pytest.mark.parametrize("replicas", [1, 2, 5])
@pytest.mark.parametrize("replacement", [True, False])
def test_the_ranks_share_one_sequence_equally(replicas: int, replacement: bool) -> None:
    weights = [1.0 + i for i in range(20)]
    whole = together(weights, 1, replacement=replacement, num_samples=20)
    assert together(weights, replicas, replacement=replacement, num_samples=20) == whole
    lengths = {len(sampler(weights, 3, r, replacement=replacement, num_samples=20)) for r in range(3)}
    assert lengths == ({7} if replacement else {6})  # up with replacement, down without
    assert all(len(list(sampler(weights, 3, r, replacement=replacement))) in lengths for r in range(3))


def test_draws_without_replacement_come_in_the_order_of_successive_draws() -> None:
    weights = torch.tensor([1.0, 2.0, 0.0, 4.0], dtype=torch.float64)
    orders = list(itertools.permutations([0, 1, 3], 2))
    found: dict[tuple[int, ...], int] = dict.fromkeys(orders, 0)
    for seed in range(6000):
        first, second = sampler(weights, replacement=False, num_samples=2, seed=seed)
        found[first, second] += 1
    probability = [float(weights[a] / 7 * weights[b] / (7 - weights[a])) for a, b in orders]
    counts = torch.tensor([found[o] for o in orders], dtype=torch.float64)
    assert abs(chi_squared(counts, torch.tensor(probability, dtype=torch.float64))) < 5


def test_without_replacement_no_sample_comes_twice() -> None:
    weights = [0.0, *[1.0] * 9, 1e-12, 1e6]
    assert sorted(together(weights, 1, replacement=False)) == list(range(1, 12))
    drawn = together(weights, 2, replacement=False)
    assert len(drawn) == len(set(drawn)) == 10


def test_each_epoch_and_seed_has_its_own_draws() -> None:
    weights = [1.0] * 50
    draws = {(s, e): tuple(together(weights, 1, e, seed=s)) for s in range(3) for e in range(3)}
    assert len(set(draws.values())) == 9  # seed 1, epoch 0 is not seed 0, epoch 1 either
    assert tuple(together(weights, 1, 2, seed=1)) == draws[1, 2]
    one = sampler(weights)
    assert list(one) == list(one)


def test_the_draws_are_their_own() -> None:
    torch.manual_seed(0)
    before = torch.rand(3)
    torch.manual_seed(0)
    list(sampler([1.0, 2.0]))
    assert torch.equal(torch.rand(3), before)


def test_a_run_goes_on_where_it_stopped() -> None:
    one = sampler([1.0 + i for i in range(12)], 2, 1)
    one.set_epoch(4)
    whole = list(one)
    one.set_epoch(4, start=2)
    assert (list(one), len(one)) == (whole[2:], 4)
    one.set_epoch(5)
    assert len(one) == 6
    with pytest.raises(ValueError, match='"start" must be in'):
        one.set_epoch(5, start=7)


def test_more_weights_than_multinomial_takes() -> None:
    weights = torch.zeros(2**24 + 7)
    weights[[5, 2**24 + 3]] = torch.tensor([1.0, 3.0])
    drawn = torch.tensor(list(sampler(weights, num_samples=4000)))
    assert drawn.unique().tolist() == [5, 2**24 + 3]
    assert float((drawn > 5).double().mean()) == pytest.approx(3 / 4, abs=5 * math.sqrt(3 / 16 / 4000))


def test_huge_and_tiny_weights_are_drawn_as_their_ratios_say() -> None:
    for scale in (1e308, 1e-300):
        drawn = torch.tensor(together([scale, scale / 2, scale / 2], 1, num_samples=20_000))
        assert abs(chi_squared(drawn.bincount(minlength=3).double(), torch.tensor([0.5, 0.25, 0.25]).double())) < 5


@pytest.mark.parametrize("point", [0.0, 0.25, 1.0])
def test_a_point_on_an_edge_is_of_a_weight_above_zero(point: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "rand", lambda size, **options: torch.full((size,), point, dtype=torch.float64))
    assert set(sampler([0.0, 1.0, 0.0, 3.0, 0.0])) == {1 if point == 0 else 3}


def test_a_loader_takes_the_sampler() -> None:
    data: Any = torch.arange(6)
    loader: DataLoader[Tensor] = DataLoader(data, batch_size=2, sampler=sampler([0, 0, 1, 1, 0, 0], 2, 0))
    seen = torch.cat(list(loader))
    assert len(loader) == 2
    assert set(seen.tolist()) <= {2, 3}


@pytest.mark.parametrize(
    ("weights", "options", "error", "says"),
    [
        ([1.0, -1.0], {}, ValueError, '"weights" is -1 at index 1, expected a finite number'),
        ([1.0, math.nan], {}, ValueError, '"weights" is nan at index 1'),
        ([math.inf], {}, ValueError, '"weights" is inf at index 0'),
        ([0.0, 0.0], {}, ValueError, "must not be all zero"),
        ([], {}, ShapeError, r"has shape \(0,\), expected \(N,\)"),
        (torch.ones(2, 1), {}, ShapeError, r"has shape \(2, 1\)"),
        (["a"], {}, TypeError, '"weights" must be real numbers'),
        (torch.ones(2, dtype=torch.complex64), {}, TypeError, "got a Tensor of torch.complex64"),
        ([1.0], {"num_samples": 0}, ValueError, '"num_samples" must be >= 1'),
        ([1.0], {"num_samples": 1.5}, TypeError, '"num_samples" must be an int'),
        ([1.0, 0.0, 1.0], {"num_samples": 3, "replacement": False}, ValueError, "is 3, expected at most 2"),
        ([1.0], {"replacement": "yes"}, ValueError, '"replacement" must be True or False'),
        ([1.0], {"seed": 1.0}, TypeError, '"seed" must be an int'),
        ([1.0], {"num_replicas": 0}, ValueError, '"num_replicas" must be >= 1'),
        ([1.0], {"rank": 1}, ValueError, '"rank" is 1, expected one of the 1 ranks'),
        ([1.0], {"rank": -1}, ValueError, '"rank" is -1'),
        ([1.0], {"num_replicas": 2, "replacement": False}, ValueError, "at least one for each of 2 ranks"),
        ([1.0], {"num_replicas": None}, ValueError, "torch.distributed is not initialised"),
        ([1.0], {"rank": None}, ValueError, '"rank" is not given'),
    ],
)
def test_what_cannot_be_drawn_from_is_refused(weights: Any, options: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        DistributedWeightedSampler(weights, **{"num_replicas": 1, "rank": 0, **options})
