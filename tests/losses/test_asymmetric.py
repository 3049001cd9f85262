"""The asymmetric loss: positives left alone, easy negatives faded, very easy ones dropped; and its digits."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
from torch import Tensor

import losskit as lk
from losskit import asymmetric_loss, binary_cross_entropy_with_logits, binary_focal_loss

LN2 = math.log(2)


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def truth(z: float, gamma: float, clip: float) -> tuple[float, float]:
    """Value and slope of a negative, in fifty digits."""
    with mpmath.workdps(50):

        def value(x: mpmath.mpf) -> mpmath.mpf:
            m = 1 / (1 + mpmath.exp(-x)) - mpmath.mpf(clip)
            return -(m ** mpmath.mpf(gamma)) * mpmath.log(1 - m) if m > 0 else mpmath.mpf(0)

        return float(value(mpmath.mpf(z))), float(mpmath.diff(value, mpmath.mpf(z)))


def test_at_a_coin_toss_the_formula_can_be_done_by_hand() -> None:
    value = asymmetric_loss(torch.zeros(2), torch.tensor([0.0, 1.0]), reduction="none")
    assert value.tolist() == pytest.approx([-(0.45**4) * math.log(0.55), LN2], rel=1e-6)


def test_positives_are_left_alone_by_default_and_focused_on_demand() -> None:
    z = torch.linspace(-20, 20, 41)
    plain = binary_cross_entropy_with_logits(z, torch.ones(41), reduction="none")
    torch.testing.assert_close(asymmetric_loss(z, torch.ones(41), reduction="none"), plain)
    focused = asymmetric_loss(z, torch.ones(41), gamma_pos=2.0, reduction="none")
    torch.testing.assert_close(focused, binary_focal_loss(z, torch.ones(41), reduction="none"))


def test_without_focus_and_clip_it_is_binary_cross_entropy_and_with_equal_focus_the_focal_loss() -> None:
    z, target = torch.linspace(-80, 80, 161), torch.arange(161) % 2
    plain = asymmetric_loss(z, target, gamma_neg=0.0, clip=0.0, reduction="none")
    torch.testing.assert_close(plain, binary_cross_entropy_with_logits(z, target, reduction="none"), atol=0, rtol=2e-6)
    focal = asymmetric_loss(z, target, gamma_neg=2.0, gamma_pos=2.0, clip=0.0, reduction="none")
    torch.testing.assert_close(focal, binary_focal_loss(z, target, reduction="none"), atol=1e-37, rtol=2e-5)


@pytest.mark.parametrize("z", [-2.9, -2.0, 0.0, 1.0, 5.0, 15.0, 30.0])
@pytest.mark.parametrize(("gamma", "clip"), [(4.0, 0.05), (1.0, 0.05), (0.5, 0.05), (0.0, 0.05), (2.0, 0.01)])
def test_a_negative_above_the_clip_agrees_with_fifty_digits(z: float, gamma: float, clip: float) -> None:
    input = torch.tensor([z], dtype=torch.float64, requires_grad=True)
    value = asymmetric_loss(input, torch.zeros(1), gamma_neg=gamma, clip=clip)
    wanted, tilt = truth(z, gamma, clip)
    assert value.item() == pytest.approx(wanted, rel=1e-9)
    assert slope(value, input).item() == pytest.approx(tilt, rel=1e-7, abs=1e-13)
    single = asymmetric_loss(torch.tensor([z]), torch.zeros(1), gamma_neg=gamma, clip=clip).item()
    assert single == pytest.approx(wanted, rel=3e-4)  # p - clip itself has lost digits at -2.9


def test_a_negative_below_the_clip_costs_exactly_nothing_and_has_no_slope() -> None:
    input = torch.tensor([-3.0, -10.0, -1e4, math.log(0.05 / 0.95) - 1e-3], requires_grad=True)
    value = asymmetric_loss(input, torch.zeros(4), reduction="none")
    assert value.tolist() == [0] * 4
    assert slope(value, input).tolist() == [0] * 4


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.5, 1.0, 4.0])
@pytest.mark.parametrize("clip", [0.0, 0.05, 0.5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_values_and_gradients_are_finite_in_half_precision_and_at_saturation(
    gamma: float, clip: float, dtype: torch.dtype
) -> None:
    scores = [-300.0, -104.0, -20.0, -8.0, 0.0, 8.0, 20.0, 104.0, 300.0]
    for target in (0.0, 1.0, 0.5):
        input = torch.tensor(scores, dtype=dtype, requires_grad=True)
        value = asymmetric_loss(
            input, torch.full_like(input, target), gamma_pos=gamma, gamma_neg=gamma, clip=clip, reduction="none"
        )
        assert value.dtype == torch.float32
        assert bool(value.isfinite().all())
        assert bool(slope(value, input).isfinite().all())


def test_autograd_stays_off_where_the_caller_turned_it_off() -> None:
    input = torch.zeros(3, requires_grad=True)
    with torch.no_grad():
        assert not asymmetric_loss(input, torch.zeros(3)).requires_grad
        assert not torch.is_grad_enabled()
    assert asymmetric_loss(input, torch.zeros(3)).requires_grad


def test_the_gradient_is_that_of_the_whole_formula() -> None:
    input = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    value = asymmetric_loss(input, torch.zeros(1), gamma_neg=2.0, clip=0.0)
    p = 1 / (1 + math.exp(-1))
    whole = p * (1 - p) * (p**2 / (1 - p) - 2 * p * math.log(1 - p))
    assert slope(value, input).item() == pytest.approx(whole)


def test_the_mean_is_the_default_and_weights_and_masks_are_its_denominator() -> None:
    input, target = torch.tensor([0.0, 0.0, math.nan]), torch.tensor([1.0, 1.0, math.nan])
    mask = torch.tensor([True, True, False])
    assert asymmetric_loss(input, target, mask=mask).item() == pytest.approx(LN2)
    weight = torch.tensor([1.0, 3.0, 0.0])
    assert asymmetric_loss(input, target, weight=weight, reduction="sum").item() == pytest.approx(4 * LN2)
    assert lk.parts(asymmetric_loss, input, target, weight=weight).weight.item() == 4


def test_a_soft_target_mixes_both_sides() -> None:
    no, yes, half = (asymmetric_loss(torch.tensor([0.7]), torch.tensor([t])).item() for t in (0.0, 1.0, 0.25))
    assert half == pytest.approx(0.75 * no + 0.25 * yes, rel=1e-6)


def test_integer_and_bool_targets_are_welcome() -> None:
    for target in (torch.tensor([1, 1]), torch.tensor([True, True])):
        assert asymmetric_loss(torch.zeros(2), target).item() == pytest.approx(LN2)


def test_the_module_takes_its_options_later() -> None:
    module = lk.AsymmetricLoss()
    module.gamma_neg, module.clip = 0.0, 0.0
    assert module(torch.zeros(1), torch.zeros(1)).item() == pytest.approx(LN2)
    assert repr(module) == "AsymmetricLoss(gamma_neg=0.0, clip=0.0)"


@pytest.mark.parametrize("z", [-2.9, -1.0, 0.0, 2.0, 12.0, 16.0, 20.0, 25.0, 40.0, 80.0])
def test_a_confidently_wrong_negative_has_its_whole_slope(z: float) -> None:
    input = torch.tensor([z], requires_grad=True)
    value = asymmetric_loss(input, torch.zeros(1))
    assert [value.item(), slope(value, input).item()] == pytest.approx(truth(z, 4.0, 0.05), rel=1e-4, abs=0)
