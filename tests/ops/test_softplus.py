"""One score against a target: blocks agree with the formula, and no derivative is lost far out."""

from __future__ import annotations

from collections.abc import Callable

import mpmath
import pytest
import torch
from torch import Tensor

import losskit
from losskit.ops import softplus
from losskit.ops.softplus import binary_nll, elementwise, log_missed

FAR = [s * z for z in (0.0, 1e-30, 1e-4, 1.0, 10.0, 20.0, 40.0, 87.0, 89.0, 104.0, 120.0, 745.0, 1e4) for s in (1.0, -1.0)]
TARGETS = [0.0, 1.0, 0.3, 0.5, 1e-6, 1 - 1e-6, 1e-30]


def derivatives(formula: Callable[[Tensor], Tensor], leaf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Value, first and second derivative, element by element."""
    value = formula(leaf)
    (first,) = torch.autograd.grad(value.sum(), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), leaf)
    return value.detach(), first.detach(), second


def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(softplus, "_BLOCK", 1000)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("t", [0.0, 1.0, 0.3])
def test_blocks_agree_with_the_formula(monkeypatch: pytest.MonkeyPatch, t: float, threads: int) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    small_blocks(monkeypatch)
    z = torch.linspace(-60, 60, 10001, dtype=torch.float64, requires_grad=True)
    target = torch.full_like(z, t)
    for formula in (softplus._formula, lambda z, t: torch.exp(0.5 * log_missed(z, t))):
        wanted = formula(z, target)
        for found in (elementwise(formula, z, target), *((binary_nll(z, target),) if formula is softplus._formula else ())):
            torch.testing.assert_close(found, wanted, rtol=1e-14, atol=1e-300)
            slopes = [torch.autograd.grad(v.sum(), z, retain_graph=True)[0] for v in (found, wanted)]
            torch.testing.assert_close(slopes[0], slopes[1], rtol=1e-12, atol=1e-15)


def test_blocks_take_any_layout_and_any_upstream_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    z = torch.randn(90, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).t().requires_grad_()
    target, upstream = torch.sigmoid(z.detach() + 1), torch.randn(70, 90, dtype=torch.float64)
    value = binary_nll(z, target)
    torch.testing.assert_close(torch.autograd.grad(value, z, upstream)[0], upstream * (torch.sigmoid(z.detach()) - target))
    few, soft = z[0, :3].detach().requires_grad_(), target[0, :3].repeat(2000)
    assert torch.autograd.gradcheck(lambda x: binary_nll(x.repeat(2000), soft), few)


def test_blocks_have_a_second_derivative(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    z = torch.linspace(-20, 20, 5001, dtype=torch.float64, requires_grad=True)
    second = derivatives(lambda x: binary_nll(x, torch.full_like(x, 0.3)), z)[2]
    p = torch.sigmoid(z.detach())
    torch.testing.assert_close(second, p * (1 - p))


def test_only_the_slope_is_kept_of_a_long_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    small_blocks(monkeypatch)
    z, kept = torch.randn(5000, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        value = elementwise(lambda z, t: (z.exp().log1p().exp() * t).sin(), z, torch.ones(5000))
    assert max(kept) <= 5000
    assert len([n for n in kept if n == 5000]) == 3  # input and target, which exist anyway, and the slope
    assert value.grad_fn is not None


@pytest.mark.parametrize("company", [0.5, 0.0])  # with a soft target among them, hard ones are computed in another way
@pytest.mark.parametrize("t", TARGETS)
def test_what_was_missed_and_its_slope_agree_with_sixty_digits(t: float, company: float) -> None:
    z = torch.tensor([*FAR, 1.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([t] * len(FAR) + [company], dtype=torch.float64)
    value, slope, _ = derivatives(lambda x: log_missed(x, target), z)
    with mpmath.workdps(60):
        share = mpmath.mpf(t)
        for x, got, steep in zip(map(mpmath.mpf, FAR), value.tolist(), slope.tolist(), strict=False):
            right, wrong = (1 / (1 + mpmath.exp(-s * abs(x))) for s in (1, -1))
            right, wrong = (right, wrong) if x >= 0 else (wrong, right)
            missed = share * wrong + (1 - share) * right
            assert got == pytest.approx(float(mpmath.log(missed)), rel=1e-13, abs=1e-15), x
            assert steep == pytest.approx(float((1 - 2 * share) * right * wrong / missed), rel=1e-12, abs=1e-15), x


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("t", TARGETS)
def test_every_derivative_is_finite_however_far_out(t: float, dtype: torch.dtype) -> None:
    z = torch.tensor(FAR, dtype=dtype, requires_grad=True)
    mixed = torch.cat([torch.full_like(z, t), z.new_tensor([0.5])]).detach()  # one soft target among hard ones
    for target in (mixed, mixed.round()):
        padded = torch.cat([z.detach(), z.detach()[:1]]).requires_grad_()
        for formula in (binary_nll, log_missed):
            for found in derivatives(lambda x, f=formula, t=target: f(x, t), padded):
                assert found.isfinite().all()


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 1.5, 2.0, 1e3])
@pytest.mark.parametrize("t", TARGETS)
def test_the_second_gradient_of_focal_loss_is_finite_for_hard_and_soft_targets(t: float, gamma: float) -> None:
    z = torch.tensor(FAR, requires_grad=True)
    for found in derivatives(lambda x: losskit.binary_focal_loss(x, torch.full_like(x, t), gamma=gamma, reduction="none"), z):
        assert found.isfinite().all()


@pytest.mark.parametrize("clip", [0.0, 1e-6, 0.05, 0.99])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 4.0])
@pytest.mark.parametrize("t", [0.0, 1.0, 0.3])
def test_the_second_gradient_of_the_asymmetric_loss_is_finite(t: float, gamma: float, clip: float) -> None:
    z = torch.tensor(FAR, requires_grad=True)
    options = {"gamma_pos": gamma, "gamma_neg": gamma, "clip": clip}
    for found in derivatives(lambda x: losskit.asymmetric_loss(x, torch.full_like(x, t), reduction="none", **options), z):
        assert found.isfinite().all()
