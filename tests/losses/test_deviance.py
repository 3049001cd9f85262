"""Deviances against scikit-learn and 60-digit truth."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import mean_gamma_deviance, mean_poisson_deviance, mean_tweedie_deviance
from torch import Tensor

from losskit.core.check import ShapeError, debug
from losskit.losses.deviance import gamma_deviance_loss, poisson_deviance_loss, tweedie_deviance_loss

POWERS = (-2.0, -0.5, 0.0, 1.0, 1.0001, 1.5, 1.9999, 2.0, 3.0)


def truth(eta: float, target: float, power: float) -> mp.mpf:
    """The deviance as it is printed in books, to 60 digits."""
    with mp.workdps(60):
        y, p, mu = mp.mpf(target), mp.mpf(power), mp.exp(mp.mpf(eta))
        if p == 0:
            return (y - mu) ** 2
        if p == 1:
            return 2 * ((y * mp.log(y / mu) if y else 0) - y + mu)
        if p == 2:
            return 2 * (y / mu - 1 - mp.log(y / mu))
        a, b = 1 - p, 2 - p
        return 2 * (max(y, mp.mpf(0)) ** b / (a * b) - y * mu**a / a + mu**b / b)


def true_slope(eta: float, target: float, power: float) -> mp.mpf:
    with mp.workdps(60):
        y, p, mu = mp.mpf(target), mp.mpf(power), mp.exp(mp.mpf(eta))
        return 2 * (mu ** (2 - p) - y * mu ** (1 - p))


def near_and_far(dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Predictions, and targets that are 1e-6 to e^10 times off, both ways."""
    generator = torch.Generator().manual_seed(0)
    eta = torch.empty(60, dtype=dtype).uniform_(-6, 6, generator=generator)
    off = torch.logspace(-6, 1, 30, dtype=torch.float64)
    return eta, (eta.double() + torch.cat([off, -off])).exp().to(dtype)


@pytest.mark.parametrize("power", POWERS)
def test_the_number_is_that_of_scikit_learn(power: float) -> None:
    generator = torch.Generator().manual_seed(1)
    eta = torch.randn(50, generator=generator, dtype=torch.float64)
    target = torch.rand(50, generator=generator, dtype=torch.float64) * 5 + 0.1
    weight = torch.rand(50, generator=generator, dtype=torch.float64)
    target[:10] = 0 if 1 <= power < 2 else -1.5 if power <= 0 else 0.3
    wanted = mean_tweedie_deviance(target.numpy(), eta.exp().numpy(), power=power, sample_weight=weight.numpy())
    got = tweedie_deviance_loss(eta, target, power=power, weight=weight)
    assert float(got) == pytest.approx(wanted, rel=1e-9)


def test_poisson_and_gamma_are_tweedie_with_power_1_and_2() -> None:
    eta, target = near_and_far(torch.float64)
    poisson, gamma = poisson_deviance_loss(eta, target), gamma_deviance_loss(eta, target)
    assert torch.equal(poisson, tweedie_deviance_loss(eta, target, power=1))
    assert torch.equal(gamma, tweedie_deviance_loss(eta, target, power=2))
    assert float(poisson) == pytest.approx(mean_poisson_deviance(target.numpy(), eta.exp().numpy()), rel=1e-9)
    assert float(gamma) == pytest.approx(mean_gamma_deviance(target.numpy(), eta.exp().numpy()), rel=1e-9)


@pytest.mark.parametrize("power", [*POWERS, 1 + 1e-12, 2 - 1e-12])
def test_float32_is_right_to_the_last_digit_near_and_far_from_the_fit(power: float) -> None:
    eta, target = near_and_far(torch.float32)
    eta.requires_grad_()
    value = tweedie_deviance_loss(eta, target, power=power, reduction="none")
    (slope,) = torch.autograd.grad(value.sum(), eta)
    for k in range(len(eta)):
        exact, exact_slope = truth(eta[k].item(), target[k].item(), power), true_slope(eta[k].item(), target[k].item(), power)
        assert value[k].item() == pytest.approx(float(exact), rel=1e-7, abs=0)
        # far below the fit two powers of mu cancel: what is left is small against y^b
        assert slope[k].item() == pytest.approx(float(exact_slope), rel=1e-7, abs=1e-12 * target[k].item() ** (2 - power))


@pytest.mark.parametrize("power", POWERS)
def test_float64_keeps_eleven_digits_on_either_side_of_the_series(power: float) -> None:
    off = torch.logspace(-9, -2, 40, dtype=torch.float64)
    eta = torch.cat([off, -off])
    value = tweedie_deviance_loss(eta, torch.ones_like(eta), power=power, reduction="none")
    for k in range(len(eta)):
        assert value[k].item() == pytest.approx(float(truth(eta[k].item(), 1.0, power)), rel=2e-11, abs=0)


def test_the_formula_as_written_is_far_off_in_float32_where_ours_is_not() -> None:
    eta, target, power = torch.tensor([0.3]), torch.tensor([2.0]), 1.0001
    a, b = 1 - power, 2 - power
    naive = 2 * (target**b / (a * b) - target * (a * eta).exp() / a + (b * eta).exp() / b)
    exact = float(truth(eta.item(), target.item(), power))
    assert abs(naive.item() / exact - 1) > 1e-3
    assert tweedie_deviance_loss(eta, target, power=power).item() == pytest.approx(exact, rel=1e-7)


@pytest.mark.parametrize("power", POWERS)
def test_a_perfect_fit_is_zero_with_no_gradient(power: float) -> None:
    eta = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    value = tweedie_deviance_loss(eta, torch.ones(3, dtype=torch.float64), power=power)
    value.backward()
    assert value.item() == 0
    assert eta.grad is not None
    assert not eta.grad.any()


@pytest.mark.parametrize("power", POWERS)
def test_it_is_positive_however_near_the_fit_is(power: float) -> None:
    off = torch.logspace(-14, -1, 200, dtype=torch.float64)
    target = torch.full((400,), 3.0, dtype=torch.float64)
    value = tweedie_deviance_loss(target.log() + torch.cat([off, -off]), target, power=power, reduction="none")
    assert (value >= 0).all()
    assert (value[torch.cat([off, off]) > 1e-13] > 0).all()


@pytest.mark.parametrize("power", [1.0, 1.0001, 1.5, 1.9])
def test_a_target_of_zero_is_exact_in_both_tails(power: float) -> None:
    b = 2 - power
    eta = torch.tensor([-40.0, -3.0, 0.0, 3.0, 40.0], requires_grad=True)
    value = tweedie_deviance_loss(eta, torch.zeros(5), power=power, reduction="none")
    (slope,) = torch.autograd.grad(value.sum(), eta)
    torch.testing.assert_close(value.double(), 2 * (b * eta.detach().double()).exp() / b, rtol=1e-6, atol=0)
    torch.testing.assert_close(slope.double(), 2 * (b * eta.detach().double()).exp(), rtol=1e-6, atol=0)


def test_half_of_it_differs_from_torchs_poisson_nll_by_what_depends_on_the_target_alone() -> None:
    eta, target = near_and_far(torch.float64)
    other = eta.roll(1)
    ours = poisson_deviance_loss(eta, target, reduction="none") - poisson_deviance_loss(other, target, reduction="none")
    torchs = F.poisson_nll_loss(eta, target, reduction="none") - F.poisson_nll_loss(other, target, reduction="none")
    torch.testing.assert_close(ours / 2, torchs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0, 3.0])
def test_beyond_its_reach_it_goes_on_as_a_tangent(power: float, dtype: torch.dtype) -> None:
    reach = (300.0 if dtype == torch.float64 else 50.0) / max(1, abs(1 - power), abs(2 - power))
    for sign in (-1, 1):
        eta = torch.tensor([sign * reach, sign * (reach + 10), sign * 1e4], dtype=dtype, requires_grad=True)
        value = tweedie_deviance_loss(eta, torch.ones(3, dtype=dtype), power=power, reduction="none")
        (slope,) = torch.autograd.grad(value.sum(), eta)
        assert value.isfinite().all()
        torch.testing.assert_close(slope, slope[:1].expand(3), rtol=1e-5, atol=1e-12)
        torch.testing.assert_close(value[1], value[0] + 10 * slope[0].abs(), rtol=1e-5, atol=0)


def test_what_is_inside_of_the_reach_does_not_feel_what_is_outside() -> None:
    eta, target = near_and_far(torch.float32)
    alone = poisson_deviance_loss(eta, target, reduction="none")
    beside = poisson_deviance_loss(torch.cat([eta, torch.tensor([1e4])]), torch.cat([target, torch.ones(1)]), reduction="none")
    assert torch.equal(beside[:-1], alone)
    assert torch.equal(torch.func.vmap(lambda e, t: poisson_deviance_loss(e, t))(eta, target), alone)


def test_it_never_goes_below_zero_on_the_way_to_a_target_beyond_its_reach() -> None:
    eta = torch.tensor([-1e4, -60.0, -50.0])
    assert (poisson_deviance_loss(eta, torch.zeros(3), reduction="none") >= 0).all()
    assert (poisson_deviance_loss(eta, torch.full((3,), 1e-30), reduction="none") >= 0).all()


def test_a_tiny_target_does_not_overflow() -> None:
    value = poisson_deviance_loss(torch.tensor([40.0]), torch.tensor([1e-30]))
    assert value.item() == pytest.approx(float(truth(40.0, torch.tensor(1e-30).item(), 1)), rel=1e-6)


def test_counts_may_be_integers_and_masked_ones_anything() -> None:
    eta, counts = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([1, -7, 0])
    mask = torch.tensor([True, False, True])
    wanted = (0 + 2 * math.exp(2)) / 2
    assert poisson_deviance_loss(eta, counts, mask=mask).item() == pytest.approx(wanted, rel=1e-6)
    assert tweedie_deviance_loss(eta, counts, power=1, mask=mask).item() == pytest.approx(wanted, rel=1e-6)


def test_targets_out_of_range_are_named() -> None:
    eta = torch.zeros(3)
    with pytest.raises(ValueError, match=r'"target" is -1 at index 1, expected .*\[0, inf\)'):
        poisson_deviance_loss(eta, torch.tensor([1, -1, 1]))
    with pytest.raises(ValueError, match=r'"target" is 0 at index 2, expected .*\(0, inf\)'):
        gamma_deviance_loss(eta, torch.tensor([1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match=r'"target" is -1 at index 0.*power=1.5'):
        tweedie_deviance_loss(eta, torch.tensor([-1.0, 2.0, 0.0]))
    with pytest.raises(ValueError, match=r'"target" is 0 at index 2.*power=3'):
        tweedie_deviance_loss(eta, torch.tensor([1.0, 2.0, 0.0]), power=3)
    assert tweedie_deviance_loss(eta, torch.tensor([-1.0, 2.0, 0.0]), power=0).item() == pytest.approx((4 + 1 + 1) / 3)


@pytest.mark.parametrize("power", [1.0, 1.5, 2.0, 2.5])
def test_a_target_below_zero_is_nan_where_nobody_can_look(power: float) -> None:
    value = torch.func.vmap(lambda e, t: tweedie_deviance_loss(e, t, power=power))(torch.zeros(2), torch.tensor([-1.0, 1.0]))
    assert value.isnan().tolist() == [True, False]


@pytest.mark.parametrize("power", [0.5, 1e-9, math.inf, -math.inf, math.nan])
def test_powers_without_a_distribution_are_refused(power: float) -> None:
    with pytest.raises(ValueError, match='"power"'):
        tweedie_deviance_loss(torch.zeros(1), torch.ones(1), power=power)


def test_hostile_arguments_are_refused() -> None:
    ones = torch.ones(3)
    with pytest.raises(TypeError, match='"power"'):
        tweedie_deviance_loss(ones, ones, power="1.5")
    with pytest.raises(ShapeError, match=r"\(3, 1\)"):
        poisson_deviance_loss(ones, ones.unsqueeze(-1))
    with pytest.raises(TypeError, match="real numbers"):
        gamma_deviance_loss(ones, ones.to(torch.complex64))
    with pytest.raises(TypeError, match=r"input\.float\(\)"):
        poisson_deviance_loss(ones.long(), ones)
    assert poisson_deviance_loss(ones, ones * math.nan).isnan()
    with debug(), pytest.raises(ValueError, match='"target" is nan'):
        tweedie_deviance_loss(ones, ones * math.nan)
