"""Sums of both classes in the order of their scores, against the table of all pairs and against counting."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from largest import Largest
from losskit.ops.area import Power, _hinge, _hinge_kernel, area_under_min, binary_hinge, standing

POWERS = pytest.mark.parametrize("power", [1, 2])


def drawn(size: int, share: float = 0.3, seed: int = 0, *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, generator=generator, dtype=torch.float64)
    weight = torch.rand(size, generator=generator, dtype=torch.float64)
    positive = torch.rand(size, generator=generator) < share
    return scores.round() if ties else scores, torch.where(positive, weight, 0), torch.where(positive, 0, weight)


def table(scores: Tensor, positive: Tensor, negative: Tensor, margin: float, power: int) -> Tensor:
    return (positive[:, None] * negative * F.relu(margin - (scores[:, None] - scores)) ** power).sum()


def slope(value: Tensor, scores: Tensor) -> Tensor:
    return torch.autograd.grad(value, scores, retain_graph=True)[0]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("margin", [1.0, 0.25])
@POWERS
def test_the_hinge_and_its_gradient_are_those_of_all_pairs(power: Power, margin: float, ties: bool) -> None:
    for seed in range(4):
        scores, positive, negative = drawn(40, seed=seed, ties=ties)
        scores.requires_grad_()
        wanted = table(scores, positive, negative, margin, power)
        for value in (
            binary_hinge(scores, positive, negative, margin=margin, power=power),
            _hinge(scores, positive, negative, margin=margin, power=power),
        ):
            torch.testing.assert_close(value, wanted, rtol=1e-13, atol=1e-13)
            assert slope(value, scores).any()
            torch.testing.assert_close(slope(value, scores), slope(wanted, scores), rtol=1e-12, atol=1e-12)


@POWERS
def test_nothing_cancels_where_scores_are_far_from_zero(power: Power) -> None:
    scores, positive, negative = drawn(500)
    scores = ((scores * 1024).round() / 1024).requires_grad_()  # whose differences are exact at any offset
    moved = (scores.detach() + 2**30).requires_grad_()
    near, far = (binary_hinge(s, positive, negative, margin=1.0, power=power) for s in (scores, moved))
    torch.testing.assert_close(far, near, rtol=1e-14, atol=0)
    assert slope(near, scores).any()
    torch.testing.assert_close(slope(far, moved), slope(near, scores), rtol=1e-12, atol=0)


@POWERS
def test_each_slope_keeps_its_digits_beside_much_larger_ones(power: Power) -> None:
    scores = torch.tensor([0.0, -1.0 + 2**-20, 1e6, -2.0], dtype=torch.float64, requires_grad=True)
    positive = torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64)
    value = binary_hinge(scores, positive, 1 - positive, margin=1.0, power=power)
    wanted = [1.0, 1.0] if power == 1 else [2.0 * 2**-20, 2.0 * (1e6 + 1)]
    assert slope(value, scores).tolist() == [-sum(wanted), *wanted, 0]


@POWERS
def test_second_derivatives_are_right(power: Power) -> None:
    scores, positive, negative = drawn(9)
    scores.requires_grad_()
    assert torch.autograd.gradgradcheck(lambda s: binary_hinge(s, positive, negative, margin=1.0, power=power), scores)


@POWERS
@pytest.mark.parametrize("size", [0, 1, 3])
def test_one_class_alone_has_no_pair(size: int, power: Power) -> None:
    scores, _, _ = drawn(size)
    scores.requires_grad_()
    none, all_ = torch.zeros_like(scores), torch.ones_like(scores)
    for positive, negative in ((none, all_), (all_.detach(), none), (none, none)):
        value = binary_hinge(scores, positive.detach(), negative.detach(), margin=1.0, power=power)
        assert value == 0
        assert not slope(value, scores).any()


def test_the_kernel_keeps_one_number_for_each_score() -> None:
    _, saved, pull = _hinge_kernel(*drawn(50), margin=1.0, power=2)
    assert [t.numel() for t in saved if t is not None] == [50]
    assert torch.equal(pull(torch.tensor(2.0, dtype=torch.float64), *saved), 2 * torch.as_tensor(saved[0]))


@pytest.mark.parametrize("ties", [False, True])
def test_standing_counts_the_weight_on_each_side(ties: bool) -> None:
    scores, positive, _ = drawn(30, ties=ties)
    found = standing(scores, positive)
    for got, counted in (
        (found.below, scores[:, None] > scores),
        (found.upto, scores[:, None] >= scores),
        (found.since, scores[:, None] <= scores),
        (found.above, scores[:, None] < scores),
    ):
        assert got.any()
        torch.testing.assert_close(got, torch.where(counted, positive, 0).sum(-1))


def test_standing_is_exact_for_whole_weights() -> None:
    scores = torch.tensor([2.0, -1.0, 2.0, 0.0, -0.0])
    found = standing(scores, torch.tensor([1.0, 2.0, 4.0, 8.0, 16.0]))
    assert found.below.tolist() == [26, 0, 26, 2, 2]
    assert found.upto.tolist() == [31, 2, 31, 26, 26]
    assert found.since.tolist() == [5, 31, 5, 29, 29]
    assert found.above.tolist() == [0, 29, 0, 5, 5]
    assert all(t.shape == (0,) for t in standing(torch.empty(0), torch.empty(0)))


def test_the_area_is_linear_between_two_scores_and_its_slope_is_the_derivative() -> None:
    scores, positive, negative = drawn(12)
    scores.requires_grad_()
    assert slope(area_under_min(scores, positive, negative), scores).any()
    assert torch.autograd.gradcheck(lambda s: area_under_min(s, positive, negative), scores)
    assert torch.autograd.gradgradcheck(lambda s: area_under_min(s, positive, negative), scores)


def test_the_area_of_one_class_alone_is_a_connected_zero() -> None:
    scores = torch.tensor([0.0, 1.0], dtype=torch.float64, requires_grad=True)
    one, none = torch.ones(2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for positive, negative in ((one, none), (none, one), (none, none)):
        value = area_under_min(scores, positive, negative)
        assert value == 0
        assert slope(value, scores).tolist() == [0, 0]


def test_nothing_is_larger_than_the_batch() -> None:
    scores, positive, negative = drawn(5000)
    scores.requires_grad_()
    for value in (
        lambda: binary_hinge(scores, positive, negative, margin=1.0, power=1),
        lambda: binary_hinge(scores, positive, negative, margin=1.0, power=2),
        lambda: _hinge(scores, positive, negative, margin=1.0, power=2),
        lambda: area_under_min(scores, positive, negative),
    ):
        with Largest() as largest:
            found = slope(value(), scores)
        assert found.any()
        assert largest.elements <= 5001
