"""Huber, smooth L1 and log-cosh: the corner, the identity that links them, and all digits at both ends."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F

from losskit.losses.huber import HuberLoss, SmoothL1Loss, huber_loss, log_cosh_loss, smooth_l1_loss
from losskit.losses.regression import l1_loss, mse_loss

ERRORS = torch.tensor([-30.0, -1.5, -1.0, -0.3, 0.0, 1e-3, 0.7, 1.0, 2.5, 1e4])
ZEROS = torch.zeros(10)


def test_huber_is_half_the_square_up_to_delta_and_its_tangent_beyond() -> None:
    value = huber_loss(torch.tensor([0.5, 2.0, 10.0]), torch.zeros(3), delta=2.0, reduction="none")
    assert value.tolist() == [0.5**2 / 2, 2**2 / 2, 2 * (10 - 1)]


@pytest.mark.parametrize("delta", [0.01, 1.0, 1.345, 50.0])
def test_huber_is_delta_times_smooth_l1(delta: float) -> None:
    ours = huber_loss(ERRORS, ZEROS, delta=delta, reduction="none")
    torch.testing.assert_close(ours, delta * smooth_l1_loss(ERRORS, ZEROS, beta=delta, reduction="none"))


def test_without_limit_huber_becomes_half_the_square_and_smooth_l1_is_refused() -> None:
    assert torch.equal(huber_loss(ERRORS, ZEROS, delta=math.inf), mse_loss(ERRORS, ZEROS) / 2)
    with pytest.raises(ValueError, match='"beta" must be finite'):  # every error would cost nothing
        smooth_l1_loss(ERRORS, ZEROS, beta=math.inf)


def test_no_element_pulls_harder_than_delta() -> None:
    input = ERRORS.clone().requires_grad_()
    (slope,) = torch.autograd.grad(huber_loss(input, ZEROS, delta=0.5, reduction="sum"), input)
    assert slope.tolist() == pytest.approx(ERRORS.clamp(-0.5, 0.5).tolist())


def test_beta_zero_is_the_absolute_error_with_no_slope_at_the_target() -> None:
    input = ERRORS.clone().requires_grad_()
    value = smooth_l1_loss(input, ZEROS, beta=0.0, reduction="none")
    assert torch.equal(value, l1_loss(ERRORS, ZEROS, reduction="none"))
    assert torch.equal(torch.autograd.grad(value.sum(), input)[0], ERRORS.sign())


def test_the_weighted_mean_of_huber_divides_by_the_sum_of_the_weights_where_torch_divides_by_n() -> None:
    weight = torch.arange(10.0)
    ours, theirs = huber_loss(ERRORS, ZEROS, weight=weight), F.huber_loss(ERRORS, ZEROS, weight=weight)
    torch.testing.assert_close(ours * weight.sum(), theirs * 10)
    torch.testing.assert_close(mse_loss(ERRORS, ZEROS, weight=weight), F.mse_loss(ERRORS, ZEROS, weight=weight))


@pytest.mark.parametrize(("ours", "theirs"), [(huber_loss, F.huber_loss), (smooth_l1_loss, F.smooth_l1_loss)])
def test_unweighted_values_are_torch_s_own(ours: object, theirs: object) -> None:
    assert torch.equal(ours(ERRORS, ZEROS), theirs(ERRORS, ZEROS))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.float64, 1e-15)])
def test_log_cosh_keeps_all_digits_at_both_ends(dtype: torch.dtype, tolerance: float) -> None:
    for size in (1e-15, 1e-6, 1e-4, 0.01, 0.3, 0.99, 1.0, 1.01, 5.0, 88.0, 99.0, 100.0, 700.0, 1e4):
        error = torch.tensor([size], dtype=dtype, requires_grad=True)
        value = log_cosh_loss(error, torch.zeros(1, dtype=dtype))
        (slope,) = torch.autograd.grad(value, error)
        with mp.workdps(50):
            exact = mp.log(mp.cosh(mp.mpf(error.item())))
            assert value.item() == pytest.approx(float(exact), rel=tolerance, abs=0)
            assert slope.item() == pytest.approx(float(mp.tanh(mp.mpf(error.item()))), rel=tolerance, abs=0)


def test_log_cosh_of_a_small_error_is_not_zero_and_of_a_large_one_not_infinite() -> None:
    value = log_cosh_loss(torch.tensor([1e-4, 700.0]), torch.zeros(2), reduction="none")
    assert value[0].item() == pytest.approx(0.5e-8, rel=1e-6)
    assert value[1].item() == pytest.approx(700 - math.log(2), rel=1e-7)


def test_second_derivative_of_log_cosh_at_the_target_is_one() -> None:
    error = torch.zeros(1, requires_grad=True)
    (slope,) = torch.autograd.grad(log_cosh_loss(error, torch.zeros(1)), error, create_graph=True)
    assert torch.autograd.grad(slope, error)[0].item() == 1


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_delta_must_be_above_zero(delta: float) -> None:
    with pytest.raises(ValueError, match=r'"delta" must be > 0'):
        huber_loss(ERRORS, ZEROS, delta=delta)


@pytest.mark.parametrize("beta", [-1e-9, math.nan])
def test_beta_must_not_be_negative(beta: float) -> None:
    with pytest.raises(ValueError, match=r'"beta" must be >= 0'):
        smooth_l1_loss(ERRORS, ZEROS, beta=beta)


def test_a_tensor_as_delta_is_refused() -> None:
    with pytest.raises(TypeError, match=r'"delta" must be a number'):
        huber_loss(ERRORS, ZEROS, delta=torch.tensor(1.0))


def test_modules_show_and_use_their_option() -> None:
    assert repr(HuberLoss(delta=2.0)) == "HuberLoss(delta=2.0)"
    assert torch.equal(SmoothL1Loss(beta=0.2)(ERRORS, ZEROS), smooth_l1_loss(ERRORS, ZEROS, beta=0.2))
