"""Welsch and Tukey: bounded, and an outlier is forgotten."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch

from losskit.losses.redescending import tukey_loss, welsch_loss
from losskit.losses.robust import general_robust_loss

BOUND = {welsch_loss: 1.0, tukey_loss: 1 / 6}


@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_welsch_is_the_general_loss_at_minus_infinity(scale: float) -> None:
    error = torch.linspace(-20, 20, 81, dtype=torch.float64)
    general = general_robust_loss(error, torch.zeros_like(error), alpha=-math.inf, scale=scale, reduction="none")
    ours = welsch_loss(error, torch.zeros_like(error), scale=scale, reduction="none")
    torch.testing.assert_close(ours, general, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-6), (torch.float64, 1e-14)])
def test_welsch_value_and_gradient_keep_their_digits(dtype: torch.dtype, tolerance: float) -> None:
    for size in (1e-12, 1e-4, 0.1, 1.0, 3.0, 6.0, 8.0):
        error = torch.tensor([size], dtype=dtype, requires_grad=True)
        value = welsch_loss(error, torch.zeros(1, dtype=dtype))
        (slope,) = torch.autograd.grad(value, error)
        with mp.workdps(60):
            x = mp.mpf(error.item())
            assert value.item() == pytest.approx(float(-mp.expm1(-(x**2) / 2)), rel=tolerance, abs=0)
            assert slope.item() == pytest.approx(float(x * mp.exp(-(x**2) / 2)), rel=tolerance, abs=0)


@pytest.mark.parametrize("size", [1e-10, 1e-4, 0.3, 1.0, 1.9999])
def test_tukey_is_the_biweight_inside_its_scale(size: float) -> None:
    error = torch.tensor([size], requires_grad=True)
    value = tukey_loss(error, torch.zeros(1), scale=2.0)
    (slope,) = torch.autograd.grad(value, error)
    with mp.workdps(60):
        x = mp.mpf(error.item()) / 2
        assert value.item() == pytest.approx(float((1 - (1 - x**2) ** 3) / 6), rel=1e-6, abs=0)
        assert slope.item() == pytest.approx(float(x / 2 * (1 - x**2) ** 2), rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("size", [2.0, 2.5, 1e4, 1e30])
def test_tukey_gives_an_element_beyond_its_scale_no_say(size: float) -> None:
    error = torch.tensor([-size], requires_grad=True)
    value = tukey_loss(error, torch.zeros(1), scale=2.0)
    assert value.item() == pytest.approx(1 / 6, rel=1e-6)
    assert torch.autograd.grad(value, error)[0].item() == 0


@pytest.mark.parametrize("loss", BOUND)
def test_all_are_half_the_square_near_the_target_and_bounded_far_away(loss: object) -> None:
    small, large = torch.tensor([1e-4]), torch.tensor([1e30], requires_grad=True)
    assert loss(small, torch.zeros(1), scale=2.0).item() == pytest.approx((1e-4 / 2) ** 2 / 2, rel=1e-6)
    value = loss(large, torch.zeros(1))
    assert value.item() == pytest.approx(BOUND[loss], rel=1e-6)
    assert torch.autograd.grad(value, large)[0].item() == 0


def test_a_gross_outlier_does_not_move_the_fit() -> None:
    good = torch.randn(200, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    fits = []
    for target in (good, torch.cat([good, torch.full((20,), 60.0, dtype=torch.float64)])):
        fit = torch.zeros((), dtype=torch.float64, requires_grad=True)
        search = torch.optim.SGD([fit], lr=5.0)
        for _ in range(100):
            search.zero_grad()
            tukey_loss(fit.expand_as(target), target, reduction="sum").div(len(good)).backward()
            search.step()
        fits.append(fit.item())
    assert fits[1] == pytest.approx(fits[0], abs=1e-9)


@pytest.mark.parametrize("loss", BOUND)
def test_scale_must_be_above_zero(loss: object) -> None:
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r'"scale" must be > 0'):
            loss(torch.ones(2), torch.zeros(2), scale=scale)
