"""Quantiles and expectiles: what they cost on each side, what they fit, and the slope at the target itself."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losskit.core.check import ShapeError
from losskit.core.reduce import parts
from losskit.losses.quantile import expectile_loss, multi_quantile_loss, quantile_loss
from losskit.losses.regression import l1_loss, mse_loss

LEVELS = torch.tensor([0.1, 0.5, 0.9])


def draw(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def fitted(loss: object, target: Tensor, **options: object) -> float:
    """The constant that a smooth search settles on."""
    constant = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for step in (0.3, 0.03, 0.003):
        search = torch.optim.SGD([constant], lr=step)
        for _ in range(300):
            search.zero_grad()
            loss(constant.expand_as(target), target, **options).backward()
            search.step()
    return constant.item()


def test_too_low_costs_q_a_unit_and_too_high_one_minus_q() -> None:
    value = quantile_loss(torch.zeros(2), torch.tensor([3.0, -3.0]), quantile=0.9, reduction="none")
    assert value.tolist() == pytest.approx([0.9 * 3, 0.1 * 3])


def test_no_factor_two_is_hidden_in_the_median() -> None:
    torch.testing.assert_close(quantile_loss(draw(9), torch.zeros(9)), l1_loss(draw(9), torch.zeros(9)) / 2)


@pytest.mark.parametrize("quantile", [0.05, 0.5, 0.8])
def test_the_share_of_targets_below_the_fit_is_the_quantile(quantile: float) -> None:
    target = draw(2001)
    assert (target < fitted(quantile_loss, target, quantile=quantile)).double().mean().item() == pytest.approx(quantile, abs=0.01)


@pytest.mark.parametrize("quantile", [0.01, 0.5, 0.9, torch.tensor([0.2, 0.9])])
def test_a_perfect_prediction_has_no_slope(quantile: Tensor | float) -> None:
    input = torch.tensor([1.0, -2.0], requires_grad=True)
    value = quantile_loss(input, torch.tensor([1.0, -2.0]), quantile=quantile)
    assert value.item() == 0
    assert torch.autograd.grad(value, input)[0].tolist() == [0, 0]


def test_each_element_may_have_its_own_quantile() -> None:
    value = quantile_loss(
        torch.zeros(3), torch.tensor([1.0, 1.0, -1.0]), quantile=torch.tensor([0.2, 0.7, 0.7]), reduction="none"
    )
    assert value.tolist() == pytest.approx([0.2, 0.7, 0.3])


def test_a_number_keeps_its_digits_in_float64() -> None:
    value = quantile_loss(torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.float64), quantile=0.9)
    assert value.item() == 0.9
    assert expectile_loss(torch.zeros(1).double(), torch.ones(1).double(), expectile=0.9).item() == 0.9


@pytest.mark.parametrize("quantile", [0.0, 1.0, -0.1, 1.5, math.nan])
def test_quantiles_outside_of_zero_and_one_are_refused(quantile: float) -> None:
    with pytest.raises(ValueError, match=r'"quantile"'):
        quantile_loss(torch.zeros(2), torch.zeros(2), quantile=quantile)
    with pytest.raises(ValueError, match=r'"expectile"'):
        expectile_loss(torch.zeros(2), torch.zeros(2), expectile=quantile)


@pytest.mark.parametrize("bad", [0.0, 1.0, 7.0])
def test_a_bad_quantile_among_several_is_named_with_its_place(bad: float) -> None:
    with pytest.raises(ValueError, match=rf'"quantiles" is {bad:g} at index 1'):
        multi_quantile_loss(torch.zeros(4, 2), torch.zeros(4), quantiles=torch.tensor([0.5, bad]))


def test_several_quantiles_given_to_the_loss_of_one_name_the_loss_of_several() -> None:
    with pytest.raises(ShapeError, match="multi_quantile_loss"):
        quantile_loss(torch.zeros(8, 3), torch.zeros(8), quantile=LEVELS)


def test_none_is_no_quantile() -> None:
    with pytest.raises(TypeError, match=r'"quantile" must be a number'):
        quantile_loss(torch.zeros(2), torch.zeros(2), quantile=None)


def test_several_quantiles_are_averaged_one_value_a_target() -> None:
    input, target = draw(5, 3), torch.zeros(5, dtype=torch.float64)
    columns = [quantile_loss(input[:, k], target, quantile=q, reduction="none") for k, q in enumerate([0.1, 0.5, 0.9])]
    value = multi_quantile_loss(input, target, quantiles=LEVELS.double(), reduction="none")
    torch.testing.assert_close(value, sum(columns) / 3, atol=1e-7, rtol=1e-6)


def test_adding_a_quantile_does_not_grow_the_loss() -> None:
    target = torch.tensor([2.0, -1.0])
    one = multi_quantile_loss(torch.zeros(2, 1), target, quantiles=torch.tensor([0.5]))
    three = multi_quantile_loss(torch.zeros(2, 3), target, quantiles=torch.tensor([0.5, 0.5, 0.5]))
    torch.testing.assert_close(one, three)


def test_any_set_of_quantiles_in_any_order_is_welcome_without_a_median() -> None:
    value = multi_quantile_loss(torch.zeros(2, 2), torch.tensor([1.0, 1.0]), quantiles=torch.tensor([0.9, 0.2]))
    assert value.item() == pytest.approx((0.9 + 0.2) / 2)


def test_targets_weigh_and_not_their_quantiles() -> None:
    input, target, weight = torch.zeros(2, 3), torch.tensor([2.0, 6.0]), torch.tensor([1.0, 3.0])
    found = parts(multi_quantile_loss, input, target, quantiles=LEVELS, weight=weight)
    assert found.weight.item() == 4
    assert found.total.item() == pytest.approx(1 * 2 * 0.5 + 3 * 6 * 0.5)


def test_a_masked_target_hides_all_of_its_quantiles() -> None:
    input = torch.tensor([[0.0, 0.0, 0.0], [math.nan, math.inf, 0.0]], requires_grad=True)
    target, mask = torch.tensor([1.0, math.nan]), torch.tensor([True, False])
    value = multi_quantile_loss(input, target, quantiles=LEVELS, mask=mask)
    assert value.item() == pytest.approx(0.5)
    slope = torch.autograd.grad(value, input)[0]
    assert slope.tolist() == [pytest.approx([-0.1 / 3, -0.5 / 3, -0.9 / 3]), [0, 0, 0]]


@pytest.mark.parametrize(
    ("input", "target", "quantiles"), [((4, 3), (4, 3), 3), ((4, 3), (3,), 3), ((4, 3), (4,), 2), ((4,), (4,), 3)]
)
def test_outputs_targets_and_quantiles_must_fit(input: tuple[int, ...], target: tuple[int, ...], quantiles: int) -> None:
    with pytest.raises(ShapeError, match="expected"):
        multi_quantile_loss(torch.zeros(input), torch.zeros(target), quantiles=torch.full((quantiles,), 0.5))


def test_twice_the_mean_over_many_quantiles_is_the_crps() -> None:
    levels = (torch.arange(2000, dtype=torch.float64) + 0.5) / 2000
    forecast = torch.special.ndtri(levels).unsqueeze(0)
    value = 2 * multi_quantile_loss(forecast, torch.zeros(1, dtype=torch.float64), quantiles=levels)
    assert value.item() == pytest.approx((math.sqrt(2) - 1) / math.sqrt(math.pi), rel=1e-3)  # CRPS of N(0, 1) at 0


def test_the_expectile_at_one_half_is_half_the_squared_error() -> None:
    torch.testing.assert_close(expectile_loss(draw(9), torch.zeros(9)), mse_loss(draw(9), torch.zeros(9)) / 2)


def test_the_expectile_balances_the_weighted_distances_on_both_sides() -> None:
    target = draw(501)
    fit = fitted(expectile_loss, target, expectile=0.8)
    assert 0.8 * (target - fit).clamp(min=0).sum().item() == pytest.approx(
        0.2 * (fit - target).clamp(min=0).sum().item(), rel=1e-3
    )
