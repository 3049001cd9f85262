"""MSLE, MAPE and SMAPE: their values, their traps, and what may not come in."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch

from losskit.losses.relative import mape_loss, msle_loss, smape_loss


def test_msle_is_the_squared_difference_of_the_logarithms() -> None:
    value = msle_loss(torch.tensor([math.e**3 - 1]), torch.tensor([math.e - 1]))
    assert value.item() == pytest.approx((3 - 1) ** 2, rel=1e-6)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1e6 + 1, 1e6), (1e-9, 2e-9), (0.0, 1e8), (1e8, 0.0), (-0.999, 5.0), (5.0, -0.999), (3.0, 1.0), (1.5, 1.0), (1.0, 3e37)],
)
def test_msle_keeps_its_digits_for_close_pairs_and_for_far_ones(one: float, other: float) -> None:
    input, target = torch.tensor([one], requires_grad=True), torch.tensor([other])
    value = msle_loss(input, target)
    (slope,) = torch.autograd.grad(value, input)
    with mp.workdps(50):
        difference = mp.log1p(mp.mpf(input.item())) - mp.log1p(mp.mpf(target.item()))
        assert value.item() == pytest.approx(float(difference**2), rel=2e-6, abs=0)
        assert slope.item() == pytest.approx(float(2 * difference / (1 + mp.mpf(input.item()))), rel=2e-6, abs=0)


@pytest.mark.parametrize("bad", [-1.0, -1.5, -math.inf])
def test_msle_refuses_amounts_at_or_below_minus_one_and_says_what_to_do(bad: float) -> None:
    with pytest.raises(ValueError, match=r'"target" is -(1|1.5|inf) at index 1, expected \(-1, inf\).*mask'):
        msle_loss(torch.ones(2), torch.tensor([1.0, bad]))
    with pytest.raises(ValueError, match=r'"input" is -(1|1.5|inf) at index 1, expected \(-1, inf\).*softplus'):
        msle_loss(torch.tensor([1.0, bad]), torch.ones(2))


def test_msle_does_not_mind_bad_amounts_that_are_masked() -> None:
    input, target = torch.tensor([1.0, -5.0], requires_grad=True), torch.tensor([3.0, -1.0])
    value = msle_loss(input, target, mask=torch.tensor([True, False]))
    assert value.item() == pytest.approx(math.log(2) ** 2)
    assert torch.autograd.grad(value, input)[0].tolist() == [pytest.approx(-math.log(2)), 0]


def test_msle_weighs_ten_per_cent_alike_at_every_size() -> None:
    value = msle_loss(torch.tensor([1.1e3, 1.1e6]), torch.tensor([1e3, 1e6]), reduction="none")
    assert value.tolist() == pytest.approx([math.log(1.1) ** 2] * 2, rel=0.01)


def test_mape_is_a_fraction_and_not_a_percentage() -> None:
    value = mape_loss(torch.tensor([110.0, 1.0, -3.0]), torch.tensor([100.0, 2.0, -2.0]), reduction="none")
    assert value.tolist() == pytest.approx([0.1, 0.5, 0.5])


def test_mape_refuses_a_target_of_zero_and_says_to_mask_it() -> None:
    with pytest.raises(ValueError, match=r'"target" is 0 at index 1, expected a number other than 0.*mask'):
        mape_loss(torch.ones(2), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="other than 0"):
        mape_loss(torch.ones(2), torch.tensor([1, 0]))


def test_a_masked_target_of_zero_leaves_value_and_gradient_of_mape_right() -> None:
    input, target = torch.tensor([3.0, 1.0], requires_grad=True), torch.tensor([2.0, 0.0])
    for hide in ({"mask": target != 0}, {"weight": torch.tensor([4.0, 0.0])}):
        value = mape_loss(input, target, **hide)
        assert value.item() == 0.5
        assert torch.autograd.grad(value, input)[0].tolist() == [0.5, 0]


def test_where_nobody_can_look_a_target_of_zero_spoils_its_own_gradient_only() -> None:
    input, target = torch.tensor([[3.0, 1.0]]), torch.tensor([[2.0, 0.0]])
    slope = torch.func.vmap(torch.func.grad(lambda i, t: mape_loss(i, t, reduction="sum")))(input, target)
    assert slope[0, 0].item() == 0.5
    assert not slope[0, 1].isfinite()


def test_mape_is_fitted_too_low() -> None:
    target = torch.randn(20_000, generator=torch.Generator().manual_seed(0)).exp()
    candidates = torch.linspace(0.05, 2, 196)
    best = {}
    for loss in (mape_loss, smape_loss):
        values = torch.stack([loss(c.expand_as(target), target) for c in candidates])
        best[loss] = candidates[values.argmin()].item()
    assert best[mape_loss] == pytest.approx(math.exp(-1), abs=0.02)  # the median is 1, the mean sqrt(e)
    assert best[smape_loss] == pytest.approx(1, abs=0.03)


def test_mape_weighted_by_the_size_is_the_error_in_all_over_the_size_in_all() -> None:
    input, target = torch.tensor([3.0, 10.0]), torch.tensor([1.0, 15.0])
    assert mape_loss(input, target, weight=target.abs()).item() == pytest.approx((2 + 5) / (1 + 15))


def test_smape_is_the_error_over_the_mean_size() -> None:
    value = smape_loss(torch.tensor([3.0, 50.0, 150.0]), torch.tensor([1.0, 100.0, 100.0]), reduction="none")
    assert value.tolist() == pytest.approx([2 / 2, 50 / 75, 50 / 125])


def test_smape_of_zero_against_zero_is_zero_with_no_gradient() -> None:
    input = torch.tensor([0.0, 3.0], requires_grad=True)
    value = smape_loss(input, torch.tensor([0.0, 1.0]), reduction="sum")
    assert value.item() == 1
    assert torch.autograd.grad(value, input)[0].tolist() == [0, 4 * 1 / (3 + 1) ** 2]


def test_smape_gives_up_on_a_wrong_sign_as_its_docs_warn() -> None:
    input = torch.tensor([-3.0, -300.0], requires_grad=True)
    value = smape_loss(input, torch.ones(2), reduction="none")
    assert value.tolist() == [2, 2]
    assert torch.autograd.grad(value.sum(), input)[0].tolist() == pytest.approx([0, 0], abs=1e-9)


@pytest.mark.parametrize("size", [1e-30, 1.0, 1e20, 3e38])
def test_smape_never_leaves_its_range(size: float) -> None:
    input = torch.tensor([size, -size, 0.0, size / 2], requires_grad=True)
    value = smape_loss(input, torch.full((4,), size), reduction="none")
    finite = (input.detach() - size).isfinite()  # the difference of two floats need not be one
    assert value[finite].tolist() == pytest.approx(torch.tensor([0, 2, 2, 2 / 3])[finite].tolist())
    assert torch.autograd.grad(value[finite].sum(), input)[0][finite].isfinite().all()


def test_smape_of_the_largest_floats_is_two() -> None:
    assert smape_loss(torch.tensor([3e38]), torch.tensor([-3e38])).item() == 2


def test_the_gradient_of_smape_grows_towards_the_target_for_negative_pairs_too() -> None:
    input = torch.tensor([-3.0], requires_grad=True)
    smape_loss(input, torch.tensor([-1.0])).backward()
    assert input.grad is not None
    assert input.grad.item() == pytest.approx(4 * 1 * -1 / (-3 - 1) ** 2)
