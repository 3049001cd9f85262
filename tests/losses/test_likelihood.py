"""Likelihoods against torch's densities and against the calculus that defines them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from scipy import integrate
from torch import Tensor
from torch.distributions import Laplace, Normal

from losskit.core.check import ShapeError
from losskit.losses.likelihood import beta_nll_loss, gaussian_nll_loss, laplace_nll_loss

LOG_2PI = math.log(2 * math.pi)


def drawn(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """mean, target, log of a width."""
    mean, target, width = torch.randn(3, 40, generator=torch.Generator().manual_seed(0), dtype=dtype)
    return mean, target, width


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_gaussian_is_torchs_with_its_full_constant(reduction: Any) -> None:
    mean, target, log_var = (t.requires_grad_() for t in drawn())
    var = log_var.exp()
    torchs = F.gaussian_nll_loss(mean, target, var, full=True, reduction=reduction)
    wanted = torch.autograd.grad(torchs.sum(), [mean, target, log_var], retain_graph=True)
    for ours in (
        gaussian_nll_loss(mean, target, var=var, reduction=reduction),
        gaussian_nll_loss(mean, target, log_var=log_var, reduction=reduction),
    ):
        torch.testing.assert_close(ours, torchs, rtol=1e-12, atol=1e-12)
        found = torch.autograd.grad(ours.sum(), [mean, target, log_var], retain_graph=True)
        torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)


def test_values_are_the_logs_of_torchs_densities() -> None:
    mean, target, width = drawn()
    gaussian = gaussian_nll_loss(mean, target, log_var=2 * width, reduction="none")
    torch.testing.assert_close(gaussian, -Normal(mean, width.exp()).log_prob(target), rtol=1e-12, atol=1e-12)
    laplace = laplace_nll_loss(mean, target, log_scale=width, reduction="none")
    torch.testing.assert_close(laplace, -Laplace(mean, width.exp()).log_prob(target), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("width", [-2.0, 0.0, 1.5])
def test_the_density_integrates_to_one(width: float) -> None:
    def total(loss: Any, **options: float) -> float:
        def density(y: float) -> float:
            return math.exp(-loss(torch.zeros(1, dtype=torch.float64), torch.tensor([y], dtype=torch.float64), **options))

        far = 40 * math.exp(width)
        return float(integrate.quad(density, -far, far, points=[-far / 40, 0, far / 40], limit=200)[0])

    assert total(gaussian_nll_loss, log_var=2 * width) == pytest.approx(1, abs=1e-8)
    assert total(laplace_nll_loss, log_scale=width) == pytest.approx(1, abs=1e-8)


def test_a_small_variance_is_not_clamped_and_its_gradient_is_the_true_one() -> None:
    var = torch.full((1,), 1e-9, dtype=torch.float64, requires_grad=True)
    error = torch.full((1,), 1e-3, dtype=torch.float64)
    value = gaussian_nll_loss(error, torch.zeros_like(error), var=var)
    (slope,) = torch.autograd.grad(value, var)
    assert value.item() == pytest.approx(0.5 * (math.log(1e-9) + 1e-6 / 1e-9 + LOG_2PI), rel=1e-12)
    assert slope.item() == pytest.approx(0.5 * (1 / 1e-9 - 1e-6 / 1e-18), rel=1e-12)
    torchs = F.gaussian_nll_loss(error, torch.zeros_like(error), var, full=True)
    assert abs(torchs.item() / value.item() - 1) > 0.5


def test_variance_and_its_logarithm_and_a_number_and_a_tensor_agree() -> None:
    mean, target, _ = drawn()
    wanted = gaussian_nll_loss(mean, target, var=torch.full_like(mean, 0.3))
    for options in ({"var": 0.3}, {"log_var": math.log(0.3)}, {"log_var": torch.full_like(mean, math.log(0.3))}):
        torch.testing.assert_close(gaussian_nll_loss(mean, target, **options), wanted, rtol=1e-12, atol=0)


def test_one_learned_number_for_all_is_expanded_and_gets_the_sum_of_the_gradients() -> None:
    mean, target, log_var = drawn()
    one, each = torch.zeros((), dtype=torch.float64, requires_grad=True), torch.zeros_like(log_var, requires_grad=True)
    gaussian_nll_loss(mean, target, log_var=one.expand_as(mean)).backward()
    gaussian_nll_loss(mean, target, log_var=each).backward()
    assert one.grad is not None
    assert each.grad is not None
    torch.testing.assert_close(one.grad, each.grad.sum())


def test_exactly_one_of_variance_and_logarithm_is_given() -> None:
    mean, target, log_var = drawn()
    with pytest.raises(ValueError, match=r'"log_var" or "var" must be given, got neither'):
        gaussian_nll_loss(mean, target)
    with pytest.raises(ValueError, match=r'"log_var" or "var" must be given, got both'):
        gaussian_nll_loss(mean, target, log_var=log_var, var=log_var.exp())


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_a_variance_that_is_not_positive_is_refused_unless_it_is_masked(bad: float) -> None:
    mean, target, _ = drawn()
    var = torch.ones_like(mean)
    var[3] = bad
    with pytest.raises(ValueError, match=r'"var" is .* at index 3, expected .*\(0, inf\)'):
        gaussian_nll_loss(mean, target, var=var)
    with pytest.raises(ValueError, match='"var"'):
        gaussian_nll_loss(mean, target, var=bad)
    mask = torch.arange(40) != 3
    kept = gaussian_nll_loss(mean[mask], target[mask], var=1.0)
    torch.testing.assert_close(gaussian_nll_loss(mean, target, var=var, mask=mask), kept)


def test_shapes_are_never_broadcast() -> None:
    # https://github.com/pytorch/pytorch/issues/16045
    mean, target, log_var = drawn()
    with pytest.raises(ShapeError, match=r"squeeze"):
        gaussian_nll_loss(mean, target.unsqueeze(-1), log_var=log_var)
    with pytest.raises(ShapeError, match='"log_var"'):
        gaussian_nll_loss(mean, target, log_var=log_var[:1])
    with pytest.raises(ShapeError, match='"log_scale"'):
        laplace_nll_loss(mean, target, log_scale=log_var.unsqueeze(-1))


def test_hostile_arguments_are_refused() -> None:
    mean, target, log_var = drawn()
    with pytest.raises(TypeError, match='"log_var"'):
        gaussian_nll_loss(mean, target, log_var="0")
    with pytest.raises(TypeError, match=r"log_scale\.float\(\)"):
        laplace_nll_loss(mean, target, log_scale=log_var.long())
    with pytest.raises(TypeError, match="real numbers"):
        laplace_nll_loss(mean, target.to(torch.complex128), log_scale=log_var)
    with pytest.raises(TypeError, match="log_var"):
        beta_nll_loss(mean, target)
    for beta in (-0.1, 1.1, math.nan):
        with pytest.raises(ValueError, match='"beta"'):
            beta_nll_loss(mean, target, log_var=log_var, beta=beta)


def test_targets_may_be_integers() -> None:
    mean = torch.tensor([1.0, 2.0])
    value = gaussian_nll_loss(mean, torch.tensor([1, 4]), log_var=0.0, reduction="none")
    torch.testing.assert_close(value, torch.tensor([0.5 * LOG_2PI, 0.5 * LOG_2PI + 2]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_width_gives_finite_values_and_gradients_that_point_the_right_way(dtype: torch.dtype) -> None:
    width = torch.tensor([-1e4, -400.0, -60.0, 0.0, 60.0, 400.0, 1e4], dtype=dtype)
    for far in (1.0, 1e4):
        mean, target = torch.full_like(width, far).requires_grad_(), torch.zeros_like(width)
        for loss, name in ((gaussian_nll_loss, "log_var"), (beta_nll_loss, "log_var"), (laplace_nll_loss, "log_scale")):
            leaf = width.clone().requires_grad_()
            value = loss(mean, target, **{name: leaf}, reduction="none")
            slopes = torch.autograd.grad(value.sum(), [mean, leaf])
            assert value.isfinite().all()
            assert all(s.isfinite().all() for s in slopes)
            assert (slopes[1][:3] < 0).all(), "too narrow: wider is better"
            assert (slopes[1][-3:] > 0).all() or far == 1e4, "too wide: narrower is better"


def test_below_its_reach_the_inverse_variance_goes_on_as_a_tangent() -> None:
    log_var = torch.tensor([-50.0, -60.0], requires_grad=True)
    value = gaussian_nll_loss(torch.ones(2), torch.zeros(2), log_var=log_var, reduction="none")
    (slope,) = torch.autograd.grad(value.sum(), log_var)
    torch.testing.assert_close(slope, torch.full((2,), -0.5 * math.exp(50)), rtol=1e-5, atol=0)
    torch.testing.assert_close(value[1] - value[0], torch.tensor(0.5 * 10 * math.exp(50)), rtol=1e-5, atol=0)


def test_an_element_does_not_feel_that_another_is_beyond_the_reach() -> None:
    mean, target, log_var = drawn(torch.float32)
    alone = gaussian_nll_loss(mean, target, log_var=log_var, reduction="none")
    log_var = torch.cat([log_var, torch.tensor([-1e4])])
    zero = torch.zeros(1)
    beside = gaussian_nll_loss(torch.cat([mean, zero]), torch.cat([target, zero]), log_var=log_var, reduction="none")
    assert torch.equal(beside[:-1], alone)


def test_beta_0_is_the_likelihood_and_beta_1_gives_the_mean_the_gradient_of_squared_error() -> None:
    mean, target, log_var = drawn()
    likelihood = gaussian_nll_loss(mean, target, log_var=log_var)
    torch.testing.assert_close(beta_nll_loss(mean, target, log_var=log_var, beta=0.0), likelihood)
    mean.requires_grad_()
    beta_nll_loss(mean, target, log_var=log_var, beta=1.0, reduction="sum").backward()
    torch.testing.assert_close(mean.grad, (mean - target).detach())


def test_nothing_flows_through_the_factor_of_beta() -> None:
    mean, target, log_var = drawn()
    log_var.requires_grad_()
    beta_nll_loss(mean, target, log_var=log_var, beta=0.3, reduction="sum").backward()
    var = log_var.detach().exp()
    torch.testing.assert_close(log_var.grad, var**0.3 * 0.5 * (1 - (mean - target) ** 2 / var))


def test_laplace_at_a_perfect_fit_has_no_gradient_for_the_mean() -> None:
    mean = torch.ones(2, requires_grad=True)
    laplace_nll_loss(mean, torch.ones(2), log_scale=-3.0).backward()
    assert mean.grad is not None
    assert not mean.grad.any()


def test_the_best_width_is_the_root_mean_square_or_the_mean_absolute_error() -> None:
    mean, target, _ = drawn()
    error = mean - target
    for loss, name, best in (
        (gaussian_nll_loss, "log_var", error.square().mean().log()),
        (laplace_nll_loss, "log_scale", error.abs().mean().log()),
    ):
        width = best.clone().requires_grad_()
        loss(mean, target, **{name: width.expand_as(mean)}).backward()
        assert width.grad is not None
        assert abs(width.grad.item()) < 1e-12
