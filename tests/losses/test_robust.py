"""The general robust loss against 90 digits: values, slopes in the error and in alpha, at and around every limit."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
from torch import Tensor, nn

from losskit.core.check import ShapeError
from losskit.losses.regression import mse_loss
from losskit.losses.robust import GeneralRobustLoss, general_robust_loss, robust

ALPHAS = [
    -1e12,
    -50,
    -2,
    -0.5,
    -0.01,
    -1e-5,
    0,
    1e-8,
    1e-6,
    1e-5,
    1e-3,
    0.1,
    0.99,
    1,
    1.01,
    1.9,
    1.99999,
    2,
    2.00001,
    2.5,
    3,
    3.01,
    4,
]
ERRORS = [1e-12, 1e-4, 0.01, 0.5, 1.0, 3.0, 30.0, 1e4]


def exact(x: float, alpha: mp.mpf | float) -> mp.mpf:
    x, alpha = mp.mpf(x), mp.mpf(alpha)
    if alpha in (0, 2):
        return mp.log1p(x**2 / 2) if alpha == 0 else x**2 / 2
    b = abs(alpha - 2)
    return b / alpha * mp.expm1(alpha / 2 * mp.log1p(x**2 / b))


def leaves(x: float, alpha: float, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    return torch.tensor(x, dtype=dtype, requires_grad=True), torch.tensor(alpha, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("alpha", ALPHAS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 4e-6), (torch.float64, 8e-15)])
def test_value_and_slopes_are_exact_for_every_alpha(alpha: float, dtype: torch.dtype, tolerance: float) -> None:
    for size in ERRORS:
        x, shape = leaves(size, alpha, dtype)
        value = robust(x, shape)
        slope, tilt = torch.autograd.grad(value, (x, shape))
        with mp.workdps(90):
            error, at = mp.mpf(x.item()), mp.mpf(shape.item())
            truth = exact(error, at)
            assert value.item() == pytest.approx(float(truth), rel=tolerance, abs=0)
            wanted = error if at == 2 else error * (1 + error**2 / abs(at - 2)) ** (at / 2 - 1)
            assert slope.item() == pytest.approx(float(wanted), rel=tolerance, abs=1e-20)
            if at != 2:
                step = mp.mpf(10) ** -20
                wanted = (exact(error, at + step) - exact(error, at - step)) / (2 * step)
                assert tilt.item() == pytest.approx(float(wanted), abs=tolerance * float(abs(wanted) + truth))
        same = robust(x.detach(), shape.item())
        assert same.item() == pytest.approx(value.item(), rel=tolerance, abs=0)


def test_a_tiny_alpha_gives_the_cauchy_value_and_not_zero() -> None:
    for alpha in (1e-6, -1e-6, 0.0, 1e-40, 1e-300):
        value = general_robust_loss(torch.tensor([0.5]), torch.zeros(1), alpha=alpha)
        assert value.item() == pytest.approx(math.log1p(0.5**2 / 2), rel=1e-6)


def test_a_small_error_does_not_cancel() -> None:
    for alpha in (-math.inf, -2.0, 0.0, 1e-6, 1.0, 1.9, 2.0):
        value = general_robust_loss(torch.tensor([1e-4]), torch.zeros(1), alpha=alpha)
        assert value.item() == pytest.approx(0.5e-8, rel=1e-6)


@pytest.mark.parametrize("kind", ["number", "tensor"])
def test_infinite_alphas_are_the_limits(kind: str) -> None:
    x = torch.linspace(-4, 4, 41, dtype=torch.float64)
    zeros = torch.zeros_like(x)
    for alpha, wanted in ((-math.inf, -torch.expm1(-(x**2) / 2)), (math.inf, torch.expm1(x**2 / 2))):
        shape = alpha if kind == "number" else torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
        value = general_robust_loss(x, zeros, alpha=shape, reduction="none")
        torch.testing.assert_close(value.detach(), wanted, rtol=1e-13, atol=1e-15)
        if isinstance(shape, Tensor):
            assert torch.autograd.grad(value.sum(), shape)[0].item() == 0


def test_alpha_two_is_half_the_squared_error_exactly() -> None:
    x = torch.linspace(-30, 30, 61)
    for alpha in (2.0, 2 - 1e-12, torch.tensor(2.0), torch.full((61,), 2.0)):  # in float32, 2 - 1e-12 is 2
        assert torch.equal(general_robust_loss(x, torch.zeros(61), alpha=alpha, reduction="none"), x**2 / 2)


def test_the_derivative_to_alpha_at_two_is_finite_and_positive() -> None:
    x, alpha = leaves(3.0, 2.0, torch.float32)
    assert 0 < torch.autograd.grad(robust(x, alpha), alpha)[0].item() < 100


def test_the_loss_grows_with_alpha() -> None:
    alphas = torch.linspace(-6, 4, 2001, dtype=torch.float64)
    for size in (0.1, 1.0, 5.0):
        assert (robust(torch.full_like(alphas, size), alphas).diff() > 0).all()


def test_one_alpha_each_is_the_same_as_one_at_a_time() -> None:
    alphas = torch.tensor(ALPHAS, dtype=torch.float64)
    error = torch.linspace(-5, 5, len(ALPHAS), dtype=torch.float64)
    value = general_robust_loss(error, torch.zeros_like(error), alpha=alphas, reduction="none")
    each = [general_robust_loss(e, torch.zeros_like(e), alpha=a.item()) for e, a in zip(error, alphas, strict=True)]
    torch.testing.assert_close(value, torch.stack(each), rtol=1e-14, atol=0)


@pytest.mark.parametrize("alpha", [-1.5, -1e-3, 1e-3, 0.0, 0.7, 1.4, 1.99, 2.3, 3.5])
def test_gradients_of_both_orders_are_derivatives_in_alpha_too(alpha: float) -> None:
    x = torch.tensor([-3.0, -0.4, 0.2, 6.0], dtype=torch.float64, requires_grad=True)
    shape = torch.tensor(alpha, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda e, a: robust(e, a), (x, shape))
    assert torch.autograd.gradgradcheck(lambda e, a: robust(e, a), (x, shape), atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e-8, 1.0, 1e8, 1e15, 1e18])
def test_everything_is_finite_for_every_error_and_every_alpha_up_to_two(size: float, dtype: torch.dtype) -> None:
    alphas = [a for a in ALPHAS if a <= 2]
    shape = torch.tensor(alphas, dtype=dtype, requires_grad=True)
    x = torch.full((len(alphas),), size, dtype=dtype, requires_grad=True)
    value = robust(x, shape)
    assert value.isfinite().all()
    for slope in torch.autograd.grad(value.sum(), (x, shape)):
        assert slope.isfinite().all()


def test_errors_whose_square_is_no_float_have_their_value_below_alpha_two() -> None:
    x = torch.tensor([1e30], requires_grad=True)
    for alpha, wanted in ((1.0, 1e30), (0.0, math.log(0.5e60)), (-2.0, 2.0), (-math.inf, 1.0)):
        value = general_robust_loss(x, torch.zeros(1), alpha=alpha)
        assert value.item() == pytest.approx(wanted, rel=2e-5)
        assert alpha > 0 or torch.autograd.grad(value, x)[0].isfinite().all()


def test_scale_divides_the_error() -> None:
    error = torch.tensor([3.0, -8.0])
    scaled = general_robust_loss(error, torch.zeros(2), alpha=0.5, scale=4.0)
    torch.testing.assert_close(scaled, general_robust_loss(error / 4, torch.zeros(2), alpha=0.5))
    torch.testing.assert_close(
        general_robust_loss(error, torch.zeros(2), alpha=2.0, scale=4.0), mse_loss(error, torch.zeros(2)) / 32
    )


def test_a_parameter_as_alpha_is_learned() -> None:
    module = GeneralRobustLoss(alpha=nn.Parameter(torch.tensor(1.5)))
    module(torch.tensor([5.0, 0.1]), torch.zeros(2)).backward()
    (alpha,) = module.parameters()
    assert alpha.grad is not None
    assert alpha.grad.item() > 0  # minimising it alone lowers alpha: what AdaptiveRobustLoss is for


def test_masked_alphas_do_not_matter() -> None:
    alpha = torch.tensor([1.5, math.nan], requires_grad=True)
    mask = torch.tensor([True, False])
    value = general_robust_loss(torch.tensor([2.0, math.nan]), torch.zeros(2), alpha=alpha, mask=mask)
    assert value.item() == pytest.approx(float(exact(2.0, 1.5)), rel=1e-6)
    assert torch.autograd.grad(value, alpha)[0][1].item() == 0


def test_a_nan_alpha_that_counts_is_shown() -> None:
    assert general_robust_loss(torch.ones(1), torch.zeros(1), alpha=torch.tensor(math.nan)).isnan()
    with pytest.raises(ValueError, match=r'"alpha"'):
        general_robust_loss(torch.ones(1), torch.zeros(1), alpha=math.nan)


def test_alphas_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match=r'"alpha" has shape \(3,\), expected \(2,\)'):
        general_robust_loss(torch.ones(2), torch.zeros(2), alpha=torch.ones(3))
    with pytest.raises(ShapeError, match=r'"alpha" has shape \(2,\), expected \(4, 2\)'):
        general_robust_loss(torch.ones(4, 2), torch.zeros(4, 2), alpha=torch.ones(2))
    with pytest.raises(TypeError, match=r"\.float\(\)"):
        general_robust_loss(torch.ones(2), torch.zeros(2), alpha=torch.tensor(1))
    with pytest.raises(TypeError, match=r'"alpha" must be'):
        general_robust_loss(torch.ones(2), torch.zeros(2), alpha="1")


@pytest.mark.parametrize("scale", [0.0, -1.0, math.nan])
def test_scale_must_be_above_zero(scale: float) -> None:
    with pytest.raises(ValueError, match=r'"scale" must be > 0'):
        general_robust_loss(torch.ones(2), torch.zeros(2), scale=scale)
