"""The CRPS against the integral that defines it and against the sum over all pairs."""

from __future__ import annotations

import itertools
import math
from statistics import NormalDist

import mpmath as mp
import pytest
import torch
from scipy import integrate
from torch import Tensor

from losskit.core.check import ShapeError
from losskit.losses.crps import crps_ensemble_loss, crps_gaussian_loss


def all_pairs(input: Tensor, target: Tensor, *, fair: bool = False) -> Tensor:
    members = input.shape[-1]
    spread = (input.unsqueeze(-1) - input.unsqueeze(-2)).abs().sum((-1, -2))
    divisor = members * (members - 1) if fair else members**2
    return (input - target.unsqueeze(-1)).abs().mean(-1) - spread / (2 * divisor)


def ensemble(members: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(members)
    return torch.randn(8, members, generator=generator, dtype=dtype), torch.randn(8, generator=generator, dtype=dtype)


@pytest.mark.parametrize("y", [-2.0, 0.0, 0.7, 6.0])
def test_gaussian_is_the_integral_of_the_squared_difference_of_the_distributions(y: float) -> None:
    forecast = NormalDist(0.3, 1.7)
    below = integrate.quad(lambda x: forecast.cdf(x) ** 2, -math.inf, y)[0]
    above = integrate.quad(lambda x: (1 - forecast.cdf(x)) ** 2, y, math.inf)[0]
    value = crps_gaussian_loss(torch.tensor([0.3]).double(), torch.tensor([y]).double(), log_scale=math.log(1.7))
    assert value.item() == pytest.approx(below + above, rel=1e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 3e-7), (torch.float64, 1e-14)])
def test_gaussian_keeps_its_digits_from_the_centre_to_the_far_tail(dtype: torch.dtype, tolerance: float) -> None:
    for e in (0.0, 1e-6, 0.1, 1.0, 3.0, 8.0, 100.0, 1e4):
        for log_scale in (-20.0, -2.0, 0.0, 3.0):
            error = torch.tensor([e], dtype=dtype)
            value = crps_gaussian_loss(error, torch.zeros_like(error), log_scale=log_scale)
            with mp.workdps(50):
                sigma = mp.exp(log_scale)
                z = mp.mpf(error.item()) / sigma
                exact = sigma * (z * mp.erf(z / mp.sqrt(2)) + 2 * mp.npdf(z) - 1 / mp.sqrt(mp.pi))
            assert value.item() == pytest.approx(float(exact), rel=tolerance, abs=0)


def test_gaussian_gradient_is_that_of_the_docstring() -> None:
    mean, target, log_scale = torch.randn(3, 50, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    mean.requires_grad_()
    log_scale.requires_grad_()
    crps_gaussian_loss(mean, target, log_scale=log_scale, reduction="sum").backward()
    sigma = log_scale.detach().exp()
    z = (target - mean.detach()) / sigma
    density = (-0.5 * z**2).exp() / math.sqrt(2 * math.pi)
    torch.testing.assert_close(mean.grad, -torch.erf(z / math.sqrt(2)))
    torch.testing.assert_close(log_scale.grad, sigma * (2 * density - 1 / math.sqrt(math.pi)))


def test_gaussian_without_width_is_the_absolute_error_and_with_any_width_finite() -> None:
    error = torch.tensor([-1e4, -1.0, 0.0, 1e-30, 1.0, 1e4], requires_grad=True)
    zero = torch.zeros(6)
    for log_scale in (-1e4, -90.0, -49.0, 0.0, 49.0, 90.0, 1e4):
        width = torch.full((6,), log_scale, requires_grad=True)
        value = crps_gaussian_loss(error, zero, log_scale=width, reduction="none")
        slopes = torch.autograd.grad(value.sum(), [error, width])
        assert value.isfinite().all()
        assert all(s.isfinite().all() for s in slopes)
        if log_scale < -80:
            torch.testing.assert_close(value, error.detach().abs(), atol=1e-30, rtol=1e-6)


def test_the_best_width_of_a_gaussian_is_the_true_one() -> None:
    grid = (torch.arange(20001, dtype=torch.float64) + 0.5) / 20001
    target = 2 * torch.special.ndtri(grid)
    log_scale = torch.tensor(math.log(2), dtype=torch.float64, requires_grad=True)
    crps_gaussian_loss(torch.zeros_like(target), target, log_scale=log_scale.expand_as(target)).backward()
    assert log_scale.grad is not None
    assert abs(log_scale.grad.item()) < 1e-4


@pytest.mark.parametrize("members", [1, 2, 3, 10, 51])
@pytest.mark.parametrize("fair", [False, True])
def test_the_sorted_form_is_the_sum_over_all_pairs_in_value_and_gradient(members: int, fair: bool) -> None:
    if fair and members == 1:
        return
    input, target = (t.requires_grad_() for t in ensemble(members))
    value, wanted = crps_ensemble_loss(input, target, fair=fair, reduction="none"), all_pairs(input, target, fair=fair)
    torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-13)
    found, slopes = (torch.autograd.grad(v.sum(), [input, target]) for v in (value, wanted))
    torch.testing.assert_close(found, slopes, rtol=1e-12, atol=1e-13)


def test_an_ensemble_is_scored_by_the_integral_over_its_steps() -> None:
    input, target = ensemble(7)
    values = crps_ensemble_loss(input, target, reduction="none")
    for row, y, value in zip(input.tolist(), target.tolist(), values.tolist(), strict=True):
        edges = sorted([*row, y])
        squares = [(sum(x <= low for x in row) / 7 - (y <= low)) ** 2 * (high - low) for low, high in itertools.pairwise(edges)]
        assert value == pytest.approx(sum(squares), rel=1e-12)


def test_one_member_is_the_absolute_error() -> None:
    input, target = ensemble(1)
    value = crps_ensemble_loss(input, target, reduction="none")
    torch.testing.assert_close(value, (input.squeeze(-1) - target).abs(), rtol=1e-14, atol=0)


def test_all_members_at_the_target_are_perfect_and_have_no_gradient() -> None:
    for fair in (False, True):
        input = torch.full((2, 4), 3.0, requires_grad=True)
        value = crps_ensemble_loss(input, torch.full((2,), 3.0), fair=fair)
        value.backward()
        assert value.item() == 0
        assert input.grad is not None
        assert not input.grad.any()


def test_the_order_of_the_members_does_not_matter() -> None:
    input, target = ensemble(9)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    assert torch.equal(crps_ensemble_loss(input[:, order], target), crps_ensemble_loss(input, target))


def test_fair_means_that_the_size_of_the_ensemble_does_not_matter_on_average() -> None:
    input, target = ensemble(6)
    whole = crps_ensemble_loss(input, target, fair=True, reduction="none")
    for size in (2, 3, 5):
        chosen = [input[:, list(c)] for c in itertools.combinations(range(6), size)]
        fair = torch.stack([crps_ensemble_loss(c, target, fair=True, reduction="none") for c in chosen])
        torch.testing.assert_close(fair.mean(0), whole, rtol=1e-12, atol=1e-13)
        unfair = torch.stack([crps_ensemble_loss(c, target, reduction="none") for c in chosen])
        assert (unfair.mean(0) > crps_ensemble_loss(input, target, reduction="none")).all()


def test_an_offset_costs_no_digits() -> None:
    exact, target = ensemble(50)
    offset = 2.0**14
    input, target = (exact + offset).float(), (target + offset).float()
    wanted = all_pairs(input.double(), target.double())
    ours = crps_ensemble_loss(input, target, reduction="none")
    torch.testing.assert_close(ours.double(), wanted, rtol=5e-7, atol=0)
    order = input.sort(-1).values
    by_moments = (input - target[:, None]).abs().mean(-1) - (order * (2 * torch.arange(50) - 49)).sum(-1) / 2500
    assert ((by_moments.double() - wanted).abs() / wanted).max() > 1e-4


def test_autocast_333_a_hundred_thousand_members_need_no_table_of_pairs() -> None:
    grid = ((torch.arange(100_000) + 0.5) / 100_000).requires_grad_()
    value = crps_ensemble_loss(grid.unsqueeze(0), torch.tensor([0.25]))
    value.backward()
    # uniform on (0, 1): integral of x^2 below y and of (1 - x)^2 above
    assert value.item() == pytest.approx((0.25**3 + 0.75**3) / 3, rel=1e-5)
    assert grid.grad is not None
    assert grid.grad.isfinite().all()


def test_masked_rows_may_be_nan_in_every_member() -> None:
    input, target = ensemble(4)
    mask = torch.arange(8) % 3 != 0
    wanted = crps_ensemble_loss(input[mask], target[mask])
    input[~mask], target[~mask] = math.nan, math.inf
    input.requires_grad_()
    value = crps_ensemble_loss(input, target, mask=mask)
    value.backward()
    torch.testing.assert_close(value, wanted)
    assert input.grad is not None
    assert not input.grad[~mask].any()
    assert crps_ensemble_loss(input, target).isnan()


def test_hostile_arguments_are_refused() -> None:
    input, target = ensemble(1)
    with pytest.raises(ValueError, match=r'"input" has 1 members .* 2 or more for fair=True'):
        crps_ensemble_loss(input, target, fair=True)
    with pytest.raises(ValueError, match=r'"input" has 0 members'):
        crps_ensemble_loss(input[:, :0], target)
    with pytest.raises(ShapeError, match='"target"'):
        crps_ensemble_loss(input, input)
    with pytest.raises(ShapeError, match='"weight"'):
        crps_ensemble_loss(input, target, weight=torch.ones(8, 1))
    with pytest.raises(TypeError, match=r"input\.float\(\)"):
        crps_ensemble_loss(input.long(), target)
    with pytest.raises(ShapeError, match='"log_scale"'):
        crps_gaussian_loss(target, target, log_scale=input)
    with pytest.raises(TypeError, match="real numbers"):
        crps_gaussian_loss(target, target.to(torch.complex64), log_scale=0.0)
