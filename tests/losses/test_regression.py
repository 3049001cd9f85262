"""Squared, absolute and root mean squared error: definitions, groups, weights, and calls that must be refused."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losskit.core.check import ShapeError
from losskit.core.reduce import parts
from losskit.losses.regression import l1_loss, lowest_mean, mse_loss, rmse_loss

OUTLIER = torch.tensor([1.0, 2.0, 3.0, 4.0, 100.0])


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value, leaf)[0]


def best_constant(loss: object, target: Tensor, candidates: Tensor) -> float:
    values = torch.stack([loss(c.expand_as(target), target) for c in candidates])
    return candidates[values.argmin()].item()


def test_the_mean_of_squares_and_of_absolute_values() -> None:
    input, target = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 2.0])
    assert mse_loss(input, target).item() == (1**2 + 3**2) / 2
    assert l1_loss(input, target).item() == (1 + 3) / 2
    assert rmse_loss(input, target).item() == pytest.approx(math.sqrt((1**2 + 3**2) / 2), rel=1e-6)


def test_the_squared_error_is_fitted_by_the_mean_the_absolute_one_by_the_median() -> None:
    candidates = torch.linspace(0, 30, 301)
    assert best_constant(mse_loss, OUTLIER, candidates) == pytest.approx(22)
    assert best_constant(rmse_loss, OUTLIER, candidates) == pytest.approx(22)
    assert best_constant(l1_loss, OUTLIER, candidates) == pytest.approx(3)


@pytest.mark.parametrize("loss", [mse_loss, l1_loss])
def test_weighted_means_divide_by_the_sum_of_the_weights_as_torch_does(loss: object) -> None:
    generator = torch.Generator().manual_seed(0)
    input, target = torch.randn(2, 9, generator=generator)
    weight = torch.rand(9, generator=generator)
    theirs = {mse_loss: F.mse_loss, l1_loss: F.l1_loss}[loss](input, target, weight=weight)
    torch.testing.assert_close(loss(input, target, weight=weight), theirs)


def test_the_absolute_error_has_no_slope_at_the_target() -> None:
    input = torch.tensor([1.0, 2.0, -3.0], requires_grad=True)
    assert slope(l1_loss(input, torch.tensor([1.0, 0.0, 0.0]), reduction="sum"), input).tolist() == [0, 1, -1]


def test_the_root_of_each_group_is_its_own_and_groups_count_the_same() -> None:
    error = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    each = [math.sqrt((9 + 16) / 2), math.sqrt(1 / 2)]
    zeros = torch.zeros(2, 2)
    assert rmse_loss(error, zeros, dim=-1, reduction="none").tolist() == pytest.approx(each)
    assert rmse_loss(error, zeros, dim=1).item() == pytest.approx(sum(each) / 2)
    assert rmse_loss(error, zeros, dim=0, reduction="sum").item() == pytest.approx(math.sqrt(9 / 2) + math.sqrt(17 / 2))


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_one_group_is_its_root_under_every_reduction(reduction: str) -> None:
    value = rmse_loss(torch.tensor([3.0, 4.0]), torch.zeros(2), reduction=reduction)
    assert value.shape == ()
    assert value.item() == pytest.approx(math.sqrt(25 / 2))


def test_weights_of_the_root_stay_inside_their_group() -> None:
    error, weight = torch.tensor([[3.0, 4.0], [1.0, 7.0]]), torch.tensor([[1.0, 3.0], [5.0, 0.0]])
    each = [math.sqrt((9 + 3 * 16) / 4), 1.0]
    assert rmse_loss(error, torch.zeros(2, 2), dim=-1, weight=weight).item() == pytest.approx(sum(each) / 2)


def test_a_group_with_nothing_in_it_does_not_lower_the_mean_of_the_others() -> None:
    error = torch.tensor([[2.0, 2.0], [math.nan, math.inf]], requires_grad=True)
    mask = torch.tensor([[True, True], [False, False]])
    value = rmse_loss(error, torch.zeros(2, 2), dim=-1, mask=mask)
    assert value.item() == 2.0
    assert slope(value, error).tolist() == [[0.5, 0.5], [0, 0]]


@pytest.mark.parametrize("size", [1e-30, 1e-20, 1.0, 1e20, 1e30])
def test_the_root_neither_overflows_nor_underflows_where_its_squares_would(size: float) -> None:
    error = torch.tensor([3 * size, -4 * size], requires_grad=True)
    value = rmse_loss(error, torch.zeros(2))
    assert value.item() == pytest.approx(math.sqrt(25 / 2) * size, rel=1e-6)
    assert slope(value, error).tolist() == pytest.approx([3 / math.sqrt(50), -4 / math.sqrt(50)], rel=1e-6)


def test_the_gradient_of_the_root_is_zero_and_not_nan_for_a_perfect_fit() -> None:
    input = torch.ones(2, 3, requires_grad=True)
    for dim in (None, -1):
        value = rmse_loss(input, torch.ones(2, 3), dim=dim)
        assert value.item() == 0
        assert slope(value, input).tolist() == [[0, 0, 0], [0, 0, 0]]


def test_one_perfect_group_does_not_spoil_the_gradient_of_another() -> None:
    input = torch.tensor([[1.0, 1.0], [3.0, -3.0]], requires_grad=True)
    value = rmse_loss(input, torch.tensor([[1.0, 1.0], [0.0, 0.0]]), dim=-1, reduction="sum")
    assert slope(value, input).tolist() == [[0, 0], pytest.approx([0.5, -0.5])]


def test_roots_do_not_average_but_the_parts_of_mse_join_to_the_root_of_all() -> None:
    halves = [torch.tensor([1.0, 1.0]), torch.tensor([7.0, 7.0])]
    assert sum(rmse_loss(h, torch.zeros(2)).item() for h in halves) / 2 == pytest.approx(4)
    found = [parts(mse_loss, h, torch.zeros(2)) for h in halves]
    joined = math.sqrt(sum(p.total.item() for p in found) / sum(p.weight.item() for p in found))
    assert joined == pytest.approx(5)
    assert rmse_loss(torch.cat(halves), torch.zeros(4)).item() == pytest.approx(5)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (3, 0)])
@pytest.mark.parametrize("dim", [None, 0, -1])
def test_the_root_of_nothing_is_a_connected_zero(shape: tuple[int, ...], dim: int | None) -> None:
    input = torch.zeros(shape, requires_grad=True)
    value = rmse_loss(input, torch.zeros(shape), dim=dim)
    assert value.item() == 0
    assert slope(value, input).shape == shape


def test_a_single_number_is_a_group() -> None:
    for dim in (None, 0, -1):
        assert rmse_loss(torch.tensor(5.0), torch.tensor(2.0), dim=dim).item() == 3.0


@pytest.mark.parametrize("dim", [2, -3, 1.5, True])
def test_an_axis_that_is_not_there_is_refused(dim: object) -> None:
    with pytest.raises((ValueError, TypeError), match=r"dim"):
        rmse_loss(torch.zeros(2, 2), torch.zeros(2, 2), dim=dim)


@pytest.mark.parametrize("loss", [mse_loss, l1_loss, rmse_loss])
def test_column_against_row_is_an_error_that_names_the_remedy(loss: object) -> None:
    with pytest.raises(ShapeError, match=r'"target" has shape \(4,\), expected \(4, 1\).*unsqueeze'):
        loss(torch.zeros(4, 1), torch.zeros(4))


@pytest.mark.parametrize("loss", [mse_loss, l1_loss, rmse_loss])
def test_integer_targets_are_welcome_integer_and_complex_inputs_are_not(loss: object) -> None:
    assert loss(torch.tensor([1.0, 2.0]), torch.tensor([1, 2])).item() == 0
    with pytest.raises(TypeError, match=r"\.float\(\)"):
        loss(torch.tensor([1, 2]), torch.tensor([1.0, 2.0]))
    with pytest.raises(TypeError, match="real"):
        loss(torch.zeros(2, dtype=torch.complex64), torch.zeros(2))


@pytest.mark.parametrize(("dtype", "count"), [(torch.bfloat16, 1001), (torch.float16, 70_000)])
def test_what_is_counted_is_not_counted_in_half_precision(dtype: torch.dtype, count: int) -> None:
    ones = torch.ones(count, dtype=dtype)
    assert l1_loss(ones, torch.zeros_like(ones), mask=torch.ones(count, dtype=torch.bool)).item() == 1


def test_the_lowest_mean_of_a_convex_loss_is_found() -> None:
    assert lowest_mean(lambda c: (c - OUTLIER) ** 2, OUTLIER) == pytest.approx(OUTLIER.double().var(correction=0).item())
    assert lowest_mean(lambda c: (c - OUTLIER).abs(), OUTLIER) == pytest.approx((2 + 1 + 0 + 1 + 97) / 5)
