"""Charbonnier, Cauchy and Geman-McClure: the general loss at their alpha, and their digits."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch

from losskit.losses.robust import general_robust_loss
from losskit.losses.robust_named import cauchy_loss, charbonnier_loss, geman_mcclure_loss

NAMED = {
    charbonnier_loss: (1.0, lambda x: mp.sqrt(x**2 + 1) - 1, lambda x: x / mp.sqrt(x**2 + 1)),
    cauchy_loss: (0.0, lambda x: mp.log(x**2 / 2 + 1), lambda x: x / (x**2 / 2 + 1)),
    geman_mcclure_loss: (-2.0, lambda x: 2 * x**2 / (x**2 + 4), lambda x: x / (x**2 / 4 + 1) ** 2),
}


@pytest.mark.parametrize("loss", NAMED)
@pytest.mark.parametrize("scale", [0.3, 1.0, 7.0])
def test_each_is_the_general_loss_at_its_alpha(loss: object, scale: float) -> None:
    error = torch.linspace(-20, 20, 81, dtype=torch.float64)
    general = general_robust_loss(error, torch.zeros_like(error), alpha=NAMED[loss][0], scale=scale, reduction="none")
    ours = loss(error, torch.zeros_like(error), scale=scale, reduction="none")
    torch.testing.assert_close(ours, general, rtol=1e-13, atol=1e-16)


@pytest.mark.parametrize("loss", NAMED)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.float64, 4e-15)])
def test_value_and_gradient_keep_their_digits_from_tiny_to_huge_errors(
    loss: object, dtype: torch.dtype, tolerance: float
) -> None:
    _, value_of, slope_of = NAMED[loss]
    for size in (1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0, 1e3, 1e5, 1e10):
        error = torch.tensor([size], dtype=dtype, requires_grad=True)
        value = loss(error, torch.zeros(1, dtype=dtype))
        (slope,) = torch.autograd.grad(value, error)
        with mp.workdps(60):
            x = mp.mpf(error.item())
            assert value.item() == pytest.approx(float(value_of(x)), rel=tolerance, abs=0)
            assert slope.item() == pytest.approx(float(slope_of(x)), rel=tolerance, abs=1e-37)


@pytest.mark.parametrize(
    ("loss", "wanted"), [(charbonnier_loss, 1e30), (cauchy_loss, math.log(0.5e60)), (geman_mcclure_loss, 2.0)]
)
def test_errors_whose_square_is_no_float_still_have_their_value(loss: object, wanted: float) -> None:
    error = torch.tensor([1e30], requires_grad=True)
    value = loss(error, torch.zeros(1))
    assert value.item() == pytest.approx(wanted, rel=1e-6)
    assert torch.autograd.grad(value, error)[0].isfinite().all()


@pytest.mark.parametrize("loss", NAMED)
def test_scale_must_be_above_zero(loss: object) -> None:
    for scale in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match=r'"scale" must be > 0'):
            loss(torch.ones(2), torch.zeros(2), scale=scale)


def test_the_cauchy_loss_pulls_hardest_at_the_square_root_of_two() -> None:
    error = torch.linspace(0, 5, 5001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(cauchy_loss(error, torch.zeros_like(error), reduction="sum"), error)
    assert error[slope.argmax()].item() == pytest.approx(math.sqrt(2), abs=1e-3)
