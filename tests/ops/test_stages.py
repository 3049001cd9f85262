"""Costs of choosing items one after the other, against the same sums item by item."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from losskit.ops.stages import Stages, _formula, _kernel, run_sum, stage_costs, stages

KEYS = {
    "all different": [3, 1, 4, 0, 5, 9, 2],
    "ties": [1, 0, 1, 2, 0, 2, 1],
    "two grades": [1, 0, 0, 0, 1, 0, 0],
    "all equal": [2] * 7,
}
Costs = Callable[..., Tensor]


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def put(key: list[int], valid: list[bool] | None = None) -> Stages:
    there = torch.tensor([[True] * len(key) if valid is None else valid], dtype=torch.bool)
    return stages(torch.tensor([key], dtype=torch.float64), there)


def one_by_one(s: Tensor, at: Stages, weight: Tensor, own: Tensor | None, share: Tensor | None) -> Tensor:
    """The sum over the ranks of one list, from the definition."""
    place, first, after = (t[0].tolist() for t in (at.place, at.first, at.after))
    total = s.sum() * 0
    for k in range(int(at.length)):
        lower = [s[i] for i in place[after[k] : int(at.length)]]
        run = [s[i] for i in place[first[k] : after[k]]]
        base = s[place[k]] if own is None else torch.stack(run).logsumexp(0)
        left = base if share is None else base + share[0, k]
        total = total + weight[0, k] * (torch.stack([left, *lower]).logsumexp(0) - base)
        if own is not None:
            total = total + own[0, k] * (base - s[place[k]])
    return total


def eager(scores: Tensor, at: Stages, *given: Tensor | None) -> Tensor:
    return stage_costs(scores, at, *given)


def formula(scores: Tensor, at: Stages, *given: Tensor | None) -> Tensor:
    weight, own, share = (*given, None, None)[:3]
    assert weight is not None
    return _formula(scores, *at, weight, own, share)


def found(way: Costs, scores: Tensor, *given: object) -> tuple[Tensor, Tensor]:
    leaf = scores.clone().requires_grad_()
    value = way(leaf, *given).sum()
    return value.detach(), torch.autograd.grad(value, leaf)[0]


@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_the_order_falls_and_ties_are_runs(key: list[int]) -> None:
    at = put(key)
    order = sorted(range(7), key=lambda i: (-key[i], i))
    assert at.place[0].tolist() == order
    ranked = [key[i] for i in order]
    assert at.first[0].tolist() == [ranked.index(k) for k in ranked]
    assert at.after[0].tolist() == [7 - ranked[::-1].index(k) for k in ranked]
    values = torch.arange(7.0)[None]
    assert run_sum(values, at)[0].tolist() == [sum(j for j in range(7) if ranked[j] == k) for k in ranked]


def test_items_that_are_not_valid_come_last_whatever_they_hold() -> None:
    key = torch.tensor([[math.nan, 1.0, math.inf, 5.0, -math.inf, 1.0]])
    at = stages(key, torch.tensor([[False, True, False, True, False, True]]))
    assert at.place[0, :3].tolist() == [3, 1, 5]
    assert at.length.tolist() == [[3]]
    assert at.first[0, :3].tolist() == [0, 1, 1]
    assert at.after[0, :3].tolist() == [1, 3, 3]


def test_shuffling_changes_the_order_of_equals_only() -> None:
    key, seen = torch.tensor([[0.0, 1.0, 0.0, 1.0, 0.0]]), set()
    for seed in range(60):
        at = stages(key, torch.ones(1, 5, dtype=torch.bool), shuffle=randn(1, 5, seed=seed))
        assert sorted(at.place[0, :2].tolist()) == [1, 3]
        seen.add(tuple(at.place[0].tolist()))
    assert len(seen) == math.factorial(2) * math.factorial(3)


@pytest.mark.parametrize("hidden", [None, 0, 3])
@pytest.mark.parametrize("kind", ["alone", "with its run", "shared"])
@pytest.mark.parametrize("key", KEYS.values(), ids=KEYS)
def test_costs_and_gradients_are_those_of_the_definition(key: list[int], kind: str, hidden: int | None) -> None:
    at = put(key, [i != hidden for i in range(7)])
    rank = torch.arange(7)
    there = (rank < at.length).double()
    for seed in range(3):
        scores, weight = 3 * randn(7, seed=seed), there * randn(1, 7, seed=seed + 10).abs()
        weight[0, 1] = 0.0
        own = None if kind == "alone" else there * randn(1, 7, seed=seed + 20).abs()
        share = torch.log1p((at.first - rank) / (at.after - at.first)) if kind == "shared" else None
        wanted, slope = found(one_by_one, scores, at, weight, own, share)
        for way in (eager, formula):
            spoiled = scores if hidden is None else scores.index_fill(0, torch.tensor(hidden), math.nan)
            value, gradient = found(lambda s, *rest, way=way: way(s[None], *rest), spoiled, at, weight, own, share)
            assert float(value) == pytest.approx(float(wanted), rel=1e-13, abs=1e-13)
            assert gradient.tolist() == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-13)
            assert gradient.any() == (kind != "alone" or key != KEYS["all equal"])
            assert hidden is None or gradient[hidden] == 0


def test_a_choice_that_is_nearly_sure_keeps_its_digits() -> None:
    """log(1 + e^-60) and its derivative e^-60 / (1 + e^-60), which a difference of log-sum-exps rounds to 0."""
    scores, one = torch.tensor([60.0, 0.0], dtype=torch.float64), torch.ones(1, 2, dtype=torch.float64)
    for given in ((one,), (one, one)):
        for way in (eager, formula):
            value, gradient = found(lambda s, *rest, way=way: way(s[None], *rest), scores, put([1, 0]), *given)
            assert float(value) == pytest.approx(math.exp(-60), rel=1e-12, abs=0)
            assert gradient.tolist() == pytest.approx([-math.exp(-60), math.exp(-60)], rel=1e-12, abs=0)


def test_float32_scores_get_the_gradient_of_float64_at_any_spread() -> None:
    for spread in (1.0, 30.0, 200.0, 1e4):
        scores, at = spread * randn(1, 300), stages(randn(1, 300, seed=1), torch.ones(1, 300, dtype=torch.bool))
        scores, one = scores.float(), torch.ones(1, 300, dtype=torch.float64)
        value, gradient = found(eager, scores, at, one)
        wanted, slope = found(eager, scores.double(), at, one)
        assert float(value) == pytest.approx(float(wanted), rel=1e-7)
        assert (gradient - slope).abs().max() <= 1e-6 * slope.abs().max()
        assert gradient.isfinite().all()
        assert gradient.any()


@pytest.mark.parametrize("size", [0, 1])
def test_without_a_choice_there_is_nothing_to_learn(size: int) -> None:
    at = put([3] * size)
    one = torch.ones(1, size, dtype=torch.float64)
    for given in ((one,), (one, one), (one, one, 0 * one)):
        value, gradient = found(lambda s, *rest: eager(s[None], *rest), randn(size), at, *given)
        assert value == 0
        assert gradient.tolist() == [0.0] * size


@pytest.mark.parametrize("kind", ["alone", "shared"])
def test_second_derivatives_are_numbers_and_right(kind: str) -> None:
    at = put([1, 0, 1, 2, 0, 2, 1])
    one = torch.ones(1, 7, dtype=torch.float64)
    share = torch.log1p((at.first - torch.arange(7)) / (at.after - at.first))
    given = (one,) if kind == "alone" else (one, one, share)
    assert torch.autograd.gradgradcheck(lambda s: eager(s, at, *given), [randn(1, 7).requires_grad_()])
    for scores in (torch.zeros(1, 7, dtype=torch.float64), 1e3 * randn(1, 7)):
        hessian = torch.func.hessian(lambda s: eager(s, at, *given).sum())(scores)
        assert hessian.isfinite().all()


def test_lists_of_a_batch_do_not_know_each_other() -> None:
    key, scores, valid = randn(5, 9, seed=1).round(), 5 * randn(5, 9), randn(5, 9, seed=2) > -1
    at = stages(key, valid)
    weight = (torch.arange(9) < at.length).double()
    each = eager(scores, at, weight)
    for row in range(5):
        alone = stages(key[row : row + 1], valid[row : row + 1])
        assert eager(scores[row : row + 1], alone, weight[row : row + 1]).item() == pytest.approx(each[row].item(), rel=1e-14)


def test_the_kernel_and_not_the_formula_runs_in_eager_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    @functools.wraps(_kernel)
    def noted(*given: object) -> object:
        called.append("kernel")
        return _kernel(*given)

    monkeypatch.setattr("losskit.ops.stages._kernel", noted)
    found(eager, randn(1, 3), put([2, 1, 0]), torch.ones(1, 3, dtype=torch.float64))
    assert called == ["kernel"]
