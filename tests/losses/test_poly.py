"""Poly-1 and generalised cross-entropy: their formulas, limits, bounds, digits and what wrong labels can do."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch import Tensor

import losskit as lk
from losskit import cross_entropy, generalized_cross_entropy, poly_loss

LN2 = math.log(2)
MARGINS = [-80.0, -20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 15.0, 30.0, 60.0]


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def rows(margins: list[float] = MARGINS) -> Tensor:
    """Two classes, the first ahead by the margin."""
    return torch.stack([torch.tensor(margins), torch.zeros(len(margins))], -1)


def zeros(margins: list[float] = MARGINS) -> Tensor:
    return torch.zeros(len(margins)).long()


def exact(u: float) -> tuple[mpmath.mpf, mpmath.mpf, mpmath.mpf]:
    """p, 1 - p and -log p."""
    u = mpmath.mpf(u)
    return 1 / (1 + mpmath.exp(-u)), 1 / (1 + mpmath.exp(u)), mpmath.log1p(mpmath.exp(-u))


def test_at_a_coin_toss_half_of_epsilon_is_added() -> None:
    for epsilon in (-1.0, 0.0, 2.0):
        value = poly_loss(torch.zeros(1, 2), torch.tensor([0]), epsilon=epsilon)
        assert value.item() == pytest.approx(LN2 + epsilon / 2, rel=1e-6)


@pytest.mark.parametrize("epsilon", [-1.0, -0.5, 0.0, 1.0, 3.0])
def test_poly_agrees_with_fifty_digits(epsilon: float) -> None:
    input = rows().requires_grad_()
    value = poly_loss(input, zeros(), epsilon=epsilon, reduction="none")
    with mpmath.workdps(60):
        found = [exact(u) for u in MARGINS]
        wanted = [float(nll + epsilon * q) for _, q, nll in found]
        tilt = [float(-q * (1 + epsilon * p)) for p, q, _ in found]
    if epsilon == -1:  # the first terms cancel: q + q^2 / 2 - q
        assert value.tolist() == pytest.approx(wanted, rel=1e-6, abs=1e-20)
    else:
        assert value.tolist() == pytest.approx(wanted, rel=1e-6)
    assert slope(value, input)[:, 0].tolist() == pytest.approx(tilt, rel=1e-5, abs=1e-20 if epsilon == -1 else 0)


def test_epsilon_zero_and_q_zero_are_cross_entropy() -> None:
    plain = cross_entropy(rows(), zeros(), reduction="none")
    torch.testing.assert_close(poly_loss(rows(), zeros(), epsilon=0.0, reduction="none"), plain)
    torch.testing.assert_close(generalized_cross_entropy(rows(), zeros(), q=0.0, reduction="none"), plain)


def test_epsilon_minus_one_never_rewards_a_worse_answer() -> None:
    u = torch.linspace(-50, 50, 1001)
    values = poly_loss(torch.stack([u, torch.zeros(1001)], -1), torch.zeros(1001).long(), epsilon=-1.0, reduction="none")
    rounding = 1e-15 * torch.exp(-u.abs())  # of 1 - p, the size of what cancels
    assert bool((values.diff() <= rounding[1:]).all())
    assert bool((values >= -rounding).all())


@pytest.mark.parametrize("q", [1e-6, 0.01, 0.5, 0.7, 1.0])
def test_generalised_cross_entropy_agrees_with_fifty_digits(q: float) -> None:
    input = rows().requires_grad_()
    value = generalized_cross_entropy(input, zeros(), q=q, reduction="none")
    with mpmath.workdps(60):
        found, power = [exact(u) for u in MARGINS], mpmath.mpf(q)
        wanted = [float((1 - p**power) / power) for p, _, _ in found]
        tilt = [float(-(p**power) * r) for p, r, _ in found]
    assert value.tolist() == pytest.approx(wanted, rel=1e-6)
    assert slope(value, input)[:, 0].tolist() == pytest.approx(tilt, rel=1e-5)


def test_q_one_is_the_probability_that_went_to_the_others() -> None:
    input = torch.tensor([[0.7, 0.2, 0.1]]).log()
    assert generalized_cross_entropy(input, torch.tensor([0]), q=1.0).item() == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize("q", [0.1, 0.7, 1.0])
def test_no_row_costs_more_than_one_over_q_however_absurd_its_label(q: float) -> None:
    input = torch.tensor([[-1e4, 0.0]], requires_grad=True)
    value = generalized_cross_entropy(input, torch.tensor([0]), q=q)
    assert value.item() == pytest.approx(1 / q)
    assert slope(value, input).tolist() == [[0, 0]]
    assert cross_entropy(input, torch.tensor([0])).item() == 1e4


def test_the_limit_of_a_small_q_is_continuous() -> None:
    near, limit = (generalized_cross_entropy(rows(), zeros(), q=q, reduction="none") for q in (1e-9, 0.0))
    torch.testing.assert_close(near, limit)


@pytest.mark.parametrize("loss", [poly_loss, generalized_cross_entropy])
def test_weights_ignored_rows_and_layout_are_those_of_cross_entropy(loss: object) -> None:
    input = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    target, weight = torch.tensor([[0, 1, -100, 2], [2, 2, 0, -100]]), torch.tensor([1.0, 2.0, 5.0])
    each = loss(input.movedim(1, -1), target, reduction="none")
    count = torch.where(target >= 0, weight[target.clamp(min=0)], 0)
    value = loss(input, target, weight=weight, class_dim=1)
    torch.testing.assert_close(value, (count * each).sum() / count.sum())
    assert lk.parts(loss, input, target, weight=weight, class_dim=1).weight.item() == count.sum().item()


@pytest.mark.parametrize("loss", [poly_loss, generalized_cross_entropy])
def test_rows_that_are_all_ignored_are_a_connected_zero_and_one_class_is_certain(loss: object) -> None:
    input = torch.full((2, 3), math.nan, requires_grad=True)
    value = loss(input, torch.full((2,), -100))
    assert value.item() == 0
    assert slope(value, input).tolist() == [[0.0] * 3] * 2
    assert loss(torch.tensor([[5.0]]), torch.tensor([0])).item() == 0


@pytest.mark.parametrize("loss", [poly_loss, generalized_cross_entropy])
def test_a_class_at_minus_infinity_is_absent(loss: object) -> None:
    input = torch.tensor([[0.0, -math.inf, 1.0]], requires_grad=True)
    value = loss(input, torch.tensor([0]))
    torch.testing.assert_close(value, loss(torch.tensor([[0.0, 1.0]]), torch.tensor([0])))
    found = slope(value, input)
    assert bool(found.isfinite().all())
    assert found[0, 1].item() == 0


def test_reference_levels() -> None:
    assert lk.reference("poly_loss", num_classes=4).chance == pytest.approx(math.log(4) + 3 / 4)
    assert lk.reference("generalized_cross_entropy", num_classes=4, q=0.5).chance == pytest.approx((1 - 0.25**0.5) / 0.5)
    assert lk.reference("generalized_cross_entropy", num_classes=4, q=0.0).chance == pytest.approx(math.log(4))


def test_modules_take_their_option_later() -> None:
    poly, generalised = lk.PolyLoss(), lk.GeneralizedCrossEntropy()
    poly.epsilon, generalised.q = 0.0, 0.0
    plain = cross_entropy(rows(), zeros())
    torch.testing.assert_close(poly(rows(), zeros()), plain)
    torch.testing.assert_close(generalised(rows(), zeros()), plain)
