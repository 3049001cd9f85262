"""Student's t and the negative binomial against 50-digit truth, where differences of log-gammas have no digits."""

from __future__ import annotations

import math

import mpmath as mp
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from losskit.core.check import ShapeError
from losskit.losses.likelihood import gaussian_nll_loss
from losskit.losses.likelihood_counts import negative_binomial_nll_loss, student_t_nll_loss

DTYPES = [(torch.float32, 1e-7), (torch.float64, 1e-9)]


def true_student(error: float, log_scale: float, df: float) -> float:
    with mp.workdps(50):
        nu, z = mp.mpf(df), mp.mpf(error) * mp.exp(-mp.mpf(log_scale))
        height = mp.loggamma(nu / 2) - mp.loggamma((nu + 1) / 2) + mp.log(nu * mp.pi) / 2 + mp.mpf(log_scale)
        return float((nu + 1) / 2 * mp.log(1 + z * z / nu) + height)


def true_binomial(eta: mp.mpf, target: float, log_alpha: mp.mpf) -> mp.mpf:
    y, r, odds = mp.mpf(target), mp.exp(-mp.mpf(log_alpha)), mp.mpf(eta) + mp.mpf(log_alpha)
    choose = mp.loggamma(y + 1) + mp.loggamma(r) - mp.loggamma(r + y)
    return (r + y) * mp.log(1 + mp.exp(odds)) - y * odds + choose


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-7), (torch.float64, 2e-13)])
@pytest.mark.parametrize("df", [1e-3, 0.5, 1.0, 4.0, 31.9, 32.1, 1e4, 1e6, 1e12])
def test_student_is_right_to_the_last_digit_for_any_df(df: float, dtype: torch.dtype, tolerance: float) -> None:
    for log_scale in (-3.0, 0.0, 2.0):
        for e in (0.0, 1e-3, 1.0, 30.0):
            error, degrees = torch.tensor([e], dtype=dtype), torch.tensor([df], dtype=dtype)
            zero = torch.zeros_like(error)
            by_number = student_t_nll_loss(error, zero, log_scale=log_scale, df=df)
            by_tensor = student_t_nll_loss(error, zero, log_scale=torch.full_like(error, log_scale), df=degrees)
            assert by_number.item() == pytest.approx(true_student(error.item(), log_scale, df), rel=tolerance, abs=0)
            assert by_tensor.item() == pytest.approx(true_student(error.item(), log_scale, degrees.item()), rel=tolerance, abs=0)


def test_the_density_of_student_as_written_is_far_off_in_float32_where_ours_is_not() -> None:
    df = torch.tensor([1e6])
    naive = torch.lgamma(df / 2) - torch.lgamma((df + 1) / 2) + 0.5 * (df * math.pi).log()
    exact = true_student(0, 0, 1e6)
    assert abs(naive.item() / exact - 1) > 0.01
    assert student_t_nll_loss(torch.zeros(1), torch.zeros(1), log_scale=0.0, df=df).item() == pytest.approx(exact, rel=1e-7)


def test_student_goes_to_gaussian() -> None:
    error = torch.linspace(-5, 5, 21, dtype=torch.float64)
    zero = torch.zeros_like(error)
    gaussian = gaussian_nll_loss(error, zero, log_var=2 * 0.4, reduction="none")
    for df in (1e3, 1e6, 1e9):
        student = student_t_nll_loss(error, zero, log_scale=0.4, df=df, reduction="none")
        assert (student - gaussian).abs().max() < 100 / df


def test_student_with_one_degree_of_freedom_is_cauchy() -> None:
    error = torch.linspace(-9, 9, 7, dtype=torch.float64)
    value = student_t_nll_loss(error, torch.zeros_like(error), log_scale=0.0, df=1.0, reduction="none")
    torch.testing.assert_close(value, math.log(math.pi) + torch.log1p(error**2))


@pytest.mark.parametrize("df", [1.5, 5.0, 100.0])
def test_the_density_of_student_integrates_to_one(df: float) -> None:
    def density(y: float) -> float:
        one = torch.tensor([y], dtype=torch.float64)
        return math.exp(-student_t_nll_loss(torch.full_like(one, 0.5), one, log_scale=0.3, df=df))

    assert sum(integrate.quad(density, *ends)[0] for ends in ((-math.inf, 0.5), (0.5, math.inf))) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("df", [0.7, 3.0, 31.0, 33.0, 1e4])
def test_df_can_be_learned(df: float) -> None:
    degrees = torch.tensor([df], dtype=torch.float64, requires_grad=True)
    value = student_t_nll_loss(torch.ones(1, dtype=torch.float64) * 2, torch.zeros(1), log_scale=0.0, df=degrees)
    (slope,) = torch.autograd.grad(value, degrees)
    with mp.workdps(50):

        def wanted(nu: mp.mpf) -> mp.mpf:
            height = mp.loggamma(nu / 2) - mp.loggamma((nu + 1) / 2) + mp.log(nu * mp.pi) / 2
            return (nu + 1) / 2 * mp.log(1 + 4 / nu) + height

        assert slope.item() == pytest.approx(float(mp.diff(wanted, df)), rel=1e-6)


@pytest.mark.parametrize("df", [0.0, -1.0, math.inf])
def test_degrees_of_freedom_that_are_not_positive_or_infinite_are_refused(df: float) -> None:
    for given in (df, torch.full((3,), df)):
        with pytest.raises(ValueError, match=r'"df" .*\(0, inf'):
            student_t_nll_loss(torch.zeros(3), torch.ones(3), log_scale=0.0, df=given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_width_and_no_outlier_makes_student_infinite(dtype: torch.dtype) -> None:
    width = torch.tensor([-1e4, -400.0, -60.0, -10.0, 0.0, 60.0, 1e4], dtype=dtype, requires_grad=True)
    mean = torch.full((7,), 1e4, dtype=dtype, requires_grad=True)
    value = student_t_nll_loss(mean, torch.zeros(7, dtype=dtype), log_scale=width, df=3.0, reduction="none")
    slopes = torch.autograd.grad(value.sum(), [mean, width])
    assert value.isfinite().all()
    assert all(s.isfinite().all() for s in slopes)
    for k, log_scale in enumerate((-1e4, -400.0, -60.0, -10.0)):
        assert value[k].item() == pytest.approx(true_student(1e4, log_scale, 3.0), rel=1e-6)
    torch.testing.assert_close(slopes[1][:4], torch.full((4,), -3.0, dtype=dtype))


@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES)
@pytest.mark.parametrize("log_alpha", [-45.0, -20.0, -5.0, -2.78, -2.77, 0.0, 3.0, 45.0])
def test_negative_binomial_is_right_to_the_last_digit_for_any_dispersion(
    log_alpha: float, dtype: torch.dtype, tolerance: float
) -> None:
    for y in (0.0, 1.0, 2.5, 1000.0, 1e6):
        for eta in (-20.0, 0.0, 2.0, 14.0):
            mean, target, dispersion = torch.tensor([[eta], [y], [log_alpha]], dtype=dtype)
            value = negative_binomial_nll_loss(mean, target, log_dispersion=dispersion)
            with mp.workdps(80):
                exact = float(true_binomial(mean.item(), target.item(), dispersion.item()))
            assert value.item() == pytest.approx(exact, rel=tolerance, abs=0)
            assert negative_binomial_nll_loss(mean, target, log_dispersion=dispersion.item()) == value


def test_it_is_scipys_negative_binomial_and_without_dispersion_scipys_poisson() -> None:
    counts, mean = torch.arange(40), torch.full((40,), math.log(7), dtype=torch.float64)
    for alpha in (0.2, 1.0, 5.0):
        value = negative_binomial_nll_loss(mean, counts, log_dispersion=math.log(alpha), reduction="none")
        wanted = -stats.nbinom.logpmf(counts.numpy(), 1 / alpha, 1 / (1 + alpha * 7))
        torch.testing.assert_close(value, torch.from_numpy(wanted), rtol=1e-10, atol=1e-10)
    poisson = torch.from_numpy(-stats.poisson.logpmf(counts.numpy(), 7))
    for log_alpha in (-40.0, -1e4):
        value = negative_binomial_nll_loss(mean, counts, log_dispersion=log_alpha, reduction="none")
        torch.testing.assert_close(value, poisson, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("log_alpha", [-3.0, -2.5, 0.5])
def test_probabilities_add_up_to_one_with_the_mean_and_the_variance_that_are_promised(log_alpha: float) -> None:
    counts, mu = torch.arange(4000, dtype=torch.float64), 3.0
    eta = torch.full_like(counts, math.log(mu))
    p = torch.exp(-negative_binomial_nll_loss(eta, counts, log_dispersion=log_alpha, reduction="none"))
    mean = (p * counts).sum()
    assert p.sum().item() == pytest.approx(1, abs=1e-10)
    assert mean.item() == pytest.approx(mu, abs=1e-8)
    assert (p * (counts - mean) ** 2).sum().item() == pytest.approx(mu + math.exp(log_alpha) * mu**2, rel=1e-8)


def test_the_gradient_is_that_of_the_docstring_and_of_the_dispersion_that_of_calculus() -> None:
    for log_alpha in (-30.0, -10.0, -2.0, 0.0, 3.0):
        for y, eta in ((0.0, 1.0), (5.0, 1.0), (300.0, 5.0)):
            mean, dispersion = (torch.tensor([v], dtype=torch.float64, requires_grad=True) for v in (eta, log_alpha))
            value = negative_binomial_nll_loss(mean, torch.tensor([y]), log_dispersion=dispersion)
            slopes = torch.autograd.grad(value, [mean, dispersion])
            wanted = (math.exp(eta) - y) / (1 + math.exp(log_alpha + eta))
            assert slopes[0].item() == pytest.approx(wanted, rel=1e-9)
            with mp.workdps(80):
                exact = float(mp.diff(lambda a, e=eta, t=y: true_binomial(e, t, a), log_alpha))
            assert slopes[1].item() == pytest.approx(exact, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_mean_and_no_dispersion_makes_the_negative_binomial_infinite(dtype: torch.dtype) -> None:
    sizes = torch.tensor([-1e4, -60.0, -1.0, 0.0, 1.0, 60.0, 1e4], dtype=dtype)
    eta, y, log_alpha = (t.flatten() for t in torch.meshgrid(sizes, sizes.abs(), sizes, indexing="ij"))
    eta.requires_grad_()
    log_alpha.requires_grad_()
    value = negative_binomial_nll_loss(eta, y, log_dispersion=log_alpha, reduction="none")
    slopes = torch.autograd.grad(value.sum(), [eta, log_alpha])
    assert value.isfinite().all()
    assert all(s.isfinite().all() for s in slopes)


def test_above_its_reach_each_step_of_dispersion_costs_one_unless_the_count_is_zero() -> None:
    log_alpha = torch.tensor([50.0, 60.0, 50.0, 60.0])
    counts = torch.tensor([3, 3, 0, 0])
    value = negative_binomial_nll_loss(torch.zeros(4), counts, log_dispersion=log_alpha, reduction="none")
    assert (value[1] - value[0]).item() == pytest.approx(10, rel=1e-5)
    assert value[2:].abs().max().item() < 1e-18


def drawn() -> tuple[Tensor, Tensor, Tensor]:
    return torch.zeros(3), torch.tensor([1.0, 0.0, 2.0]), torch.zeros(3)


def test_hostile_arguments_are_refused() -> None:
    eta, counts, log_alpha = drawn()
    with pytest.raises(ValueError, match=r'"target" is -1 at index 1'):
        negative_binomial_nll_loss(eta, torch.tensor([0, -1, 2]), log_dispersion=0.0)
    with pytest.raises(ShapeError, match='"log_dispersion"'):
        negative_binomial_nll_loss(eta, counts, log_dispersion=log_alpha[:2])
    with pytest.raises(ShapeError, match='"df"'):
        student_t_nll_loss(eta, counts, log_scale=0.0, df=torch.ones(2))
    with pytest.raises(TypeError, match='"df"'):
        student_t_nll_loss(eta, counts, log_scale=0.0, df=None)
    with pytest.raises(TypeError, match="real numbers"):
        student_t_nll_loss(eta, counts.to(torch.complex64), log_scale=0.0, df=1.0)
    assert student_t_nll_loss(eta * math.nan, counts, log_scale=0.0, df=1.0).isnan()
    assert negative_binomial_nll_loss(eta, counts * math.nan, log_dispersion=0.0).isnan()
