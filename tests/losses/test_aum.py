"""AUM against the integral over thresholds, and its derivative against both one-sided ones."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.aum import AUMLoss, aum_loss


def drawn(size: int, seed: int = 0, *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, targets and weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = 1.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    target = (torch.rand(size, generator=generator) < 0.4).long()
    return scores.round() if ties else scores, target, 0.1 + torch.rand(size, generator=generator, dtype=torch.float64)


def integral(scores: list[float], target: list[int], weight: list[float]) -> float:
    """min(FNR, FPR) in the middle of each piece between two neighbouring scores, times its length."""
    total = {c: sum(w for t, w in zip(target, weight, strict=True) if t == c) for c in (0, 1)}
    if not total[0] or not total[1]:
        return 0.0
    found, edges = 0.0, sorted(set(scores))
    for low, high in pairwise(edges):
        samples = list(zip(scores, target, weight, strict=True))
        missed = sum(w for s, t, w in samples if t == 1 and s < (low + high) / 2)
        alarms = sum(w for s, t, w in samples if t == 0 and s > (low + high) / 2)
        found += (high - low) * min(missed / total[1], alarms / total[0])
    return found


def one_sided(scores: list[float], target: list[int], weight: list[float], at: int, *, up: bool) -> float:
    """The derivative by one score as it rises, or falls: how min(FNR, FPR) changes between where it was and where it is."""
    total = {c: sum(w for t, w in zip(target, weight, strict=True) if t == c) for c in (0, 1)}
    if not total[0] or not total[1]:
        return 0.0
    here, share = scores[at], weight[at] / total[target[at]]
    samples = list(zip(scores, target, weight, strict=True))
    # a threshold just above the score, which it passes as it rises, or just below
    missed = sum(w for s, t, w in samples if t == 1 and (s <= here if up else s < here)) / total[1]
    alarms = sum(w for s, t, w in samples if t == 0 and (s > here if up else s >= here)) / total[0]
    sign = 1 if up else -1
    passed = (missed - sign * share, alarms) if target[at] == 1 else (missed, alarms + sign * share)
    return sign * (min(passed) - min(missed, alarms))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_integral(size: int, ties: bool) -> None:
    learned = False
    for seed in range(3):
        scores, target, weight = drawn(size, seed, ties=ties)
        for given in (torch.ones_like(weight), weight):
            leaf = scores.clone().requires_grad_()
            value = aum_loss(leaf, target, weight=given)
            (slope,) = torch.autograd.grad(value, leaf)
            plain = scores.tolist(), target.tolist(), given.tolist()
            assert float(value.detach()) == pytest.approx(integral(*plain), rel=1e-12, abs=1e-12)
            sides = [[one_sided(*plain, i, up=up) for i in range(size)] for up in (True, False)]
            wanted = [(up + down) / 2 for up, down in zip(*sides, strict=True)]
            assert slope.tolist() == pytest.approx(wanted, rel=1e-12, abs=1e-12)
            learned |= bool(slope.any())
    assert learned or size < 7


def test_the_gradient_of_distinct_scores_is_what_the_smaller_error_loses_there() -> None:
    scores = torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    value = aum_loss(scores, torch.tensor([1, 0, 1, 0]))
    # min(FNR, FPR) is 1/2 from 0 to 1, 1/2 from 1 to 2 and 1/2 from 2 to 3
    assert float(value.detach()) == 3 * 0.5
    assert torch.autograd.grad(value, scores)[0].tolist() == [-0.5, 0, 0, 0.5]


def test_scores_in_order_have_no_area_and_no_gradient() -> None:
    scores = torch.tensor([-1.0, 0.0, 0.5, 4.0], requires_grad=True)
    value = aum_loss(scores, torch.tensor([0, 0, 1, 1]))
    assert value == 0
    assert torch.autograd.grad(value, scores)[0].tolist() == [0] * 4


def test_equal_scores_have_no_area_but_are_moved_apart() -> None:
    scores = torch.zeros(5, requires_grad=True)
    value = aum_loss(scores, torch.tensor([1, 0, 1, 0, 0]))
    assert value == 0
    # whoever moves alone to the wrong side errs with its share of its class; to the right side there is nothing to gain
    assert torch.autograd.grad(value, scores)[0].tolist() == pytest.approx([-1 / 4, 1 / 6, -1 / 4, 1 / 6, 1 / 6])


def test_neither_the_size_of_the_batch_nor_its_order_matters() -> None:
    scores, target, weight = drawn(20, ties=True)
    scores.requires_grad_()
    value = aum_loss(scores, target, weight=weight)
    (slope,) = torch.autograd.grad(value, scores)
    assert slope.any()
    order = torch.randperm(20, generator=torch.Generator().manual_seed(1))
    other = aum_loss(scores[order], target[order], weight=weight[order])
    torch.testing.assert_close(other, value, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(torch.autograd.grad(other, scores)[0], slope, rtol=1e-13, atol=1e-13)
    torch.testing.assert_close(aum_loss(scores.repeat(3), target.repeat(3), weight=weight.repeat(3)), value)


def test_one_positive_pulls_as_much_as_a_thousand_negatives() -> None:
    scores = torch.cat([torch.tensor([0.0]), torch.linspace(1, 2, 1000)]).requires_grad_()
    value = aum_loss(scores, (torch.arange(1001) == 0).long())
    (slope,) = torch.autograd.grad(value, scores)
    assert slope[0] == pytest.approx(-1)
    assert slope[1:].sum() == pytest.approx(1)
    assert (slope[1:] > 0).all()


@pytest.mark.parametrize("target", [[1, 1], [0, 0], []])
def test_without_both_classes_there_is_nothing_to_learn(target: list[int]) -> None:
    scores = drawn(len(target))[0].requires_grad_()
    total, weight = losskit.parts(aum_loss, scores, torch.tensor(target))
    assert (total, weight) == (0, 0)
    assert torch.autograd.grad(total, scores)[0].tolist() == [0.0] * len(target)


def test_gaps_of_ten_thousand_are_finite_and_right() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        scores = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
        apart = float((scores[1].double() - scores[0].double()).detach())
        value = aum_loss(scores, torch.tensor([1, 0]))
        assert float(value.detach()) == apart
        assert torch.autograd.grad(value, scores)[0].tolist() == [-1, 1]


def test_a_score_that_is_not_finite_is_shown() -> None:
    for bad in (math.nan, -math.inf):
        assert aum_loss(torch.tensor([0.0, bad, 1.0]), torch.tensor([0, 1, 1])).isnan()


def test_gradients_in_float32_keep_their_digits() -> None:
    scores, target, _ = drawn(10_000)
    single, double = scores.float().requires_grad_(), scores.float().double().requires_grad_()
    got, exact = (torch.autograd.grad(aum_loss(s, target), s)[0].double() for s in (single, double))
    assert exact.any()
    assert (got - exact).abs().max() <= 1e-6 * exact.abs().max()


def test_the_module_is_the_function() -> None:
    scores, target, weight = drawn(9)
    assert torch.equal(AUMLoss()(scores, target, weight=weight), aum_loss(scores, target, weight=weight))
