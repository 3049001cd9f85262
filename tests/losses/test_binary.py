"""Binary cross-entropy: both tails in value and gradient, weights of elements and of positives, soft targets."""

from __future__ import annotations

import math
import pickle

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk
from losskit import binary_cross_entropy_with_logits as bce

LN2 = math.log(2)
SCORES = [0.0, 1e-3, 0.5, 1.0, 5.0, 10.0, 12.0, 15.0, 16.0, 17.0, 20.0, 40.0, 60.0, 80.0, 86.0, 88.0, 95.0, 100.0]
NORMAL = 1.2e-38  # below this float32 is subnormal and has fewer digits


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def truth(z: float, target: float) -> tuple[float, float]:
    """Value and slope, in sixty digits."""
    with mpmath.workdps(60):
        x, t = mpmath.mpf(z), mpmath.mpf(target)
        value = t * mpmath.log1p(mpmath.exp(-x)) + (1 - t) * mpmath.log1p(mpmath.exp(x))
        return float(value), float(1 / (1 + mpmath.exp(-x)) - t)


def near(got: float, wanted: float) -> bool:
    """Within 1e-6, or, where float32 itself is subnormal, one step from the nearest float32."""
    if abs(wanted) >= NORMAL:
        return got == pytest.approx(wanted, rel=1e-6)
    step = 2.0**-149
    nearest = torch.tensor(wanted, dtype=torch.float64).float().item()
    return abs(got - nearest) <= step


@pytest.mark.claim("R3")
@pytest.mark.parametrize("target", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize("copies", [1, 300])  # few and many elements are computed in different ways
def test_both_tails_keep_their_digits_in_value_and_gradient(sign: float, target: float, copies: int) -> None:
    input = (sign * torch.tensor(SCORES).repeat(copies)).requires_grad_()
    value = bce(input, torch.full_like(input, target), reduction="none")
    last = slice(-len(SCORES), None)
    for z, got, steep in zip(input[last].tolist(), value[last].tolist(), slope(value, input)[last].tolist(), strict=True):
        wanted, tilt = truth(z, torch.tensor(target).item())
        assert near(got, wanted), (z, got, wanted)
        if abs(z) < 88.7 or 0 < target < 1:
            assert steep == pytest.approx(tilt, rel=1e-6, abs=1e-7 if 0 < target < 1 else NORMAL), (z, steep, tilt)


@pytest.mark.parametrize("size", [64, 8192, 300_000])
@pytest.mark.parametrize("z", [95.0, 100.0])
def test_the_gradient_is_the_nearest_float_where_floats_are_subnormal(z: float, size: int) -> None:
    input = torch.full((size,), -z, requires_grad=True)
    found = slope(bce(input, torch.zeros(size), reduction="none"), input)
    assert near(found.min().item(), truth(-z, 0)[1])
    assert near(found.max().item(), truth(-z, 0)[1])


def test_torch_says_zero_where_a_negative_at_minus_sixteen_costs_something() -> None:
    z = torch.tensor([-16.0])
    assert F.binary_cross_entropy_with_logits(z, torch.zeros(1)).item() == 0
    assert bce(z, torch.zeros(1)).item() == pytest.approx(math.log1p(math.exp(-16)), rel=1e-6)


def test_yes_and_no_are_mirror_images() -> None:
    grid = torch.linspace(-100, 100, 2001)
    assert torch.equal(bce(grid, torch.ones(2001), reduction="none"), bce(-grid, torch.zeros(2001), reduction="none"))


def test_two_classes_are_one_score() -> None:
    z, target = torch.linspace(-30, 30, 61), torch.arange(61) % 2
    pair = torch.stack([torch.zeros(61), z], -1)
    torch.testing.assert_close(bce(z, target), lk.cross_entropy(pair, target), atol=0, rtol=2e-6)


def test_a_soft_target_is_a_mixture_and_costs_its_entropy_at_best() -> None:
    t = 0.3
    best = torch.tensor([math.log(t / (1 - t))], requires_grad=True)
    value = bce(best, torch.tensor([t]))
    assert value.item() == pytest.approx(-t * math.log(t) - (1 - t) * math.log(1 - t), rel=1e-6)
    assert slope(value, best).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("target", [torch.tensor([0, 1]), torch.tensor([False, True]), torch.tensor([0, 1], dtype=torch.uint8)])
def test_integer_and_bool_targets_are_welcome(target: Tensor) -> None:
    assert bce(torch.zeros(2), target).item() == pytest.approx(LN2)
    assert bce(torch.tensor([-50.0, 50.0]), target).item() == pytest.approx(math.exp(-50), rel=1e-6)
    assert bce(torch.zeros(2), target, pos_weight=3.0).item() == pytest.approx((1 + 3) / 2 * LN2)


def test_the_mean_divides_by_the_sum_of_the_weights() -> None:
    value = bce(torch.tensor([0.0, 100.0]), torch.tensor([0.0, 0.0]), weight=torch.tensor([3.0, 1.0]))
    assert value.item() == pytest.approx((3 * LN2 + 100) / 4)


def test_pos_weight_multiplies_positives_and_is_no_weight_of_the_mean() -> None:
    value = bce(torch.zeros(4), torch.tensor([1.0, 0, 0, 0]), pos_weight=3.0)
    assert value.item() == pytest.approx((3 + 1 + 1 + 1) * LN2 / 4)


def test_a_pos_weight_for_each_class_is_that_of_torch() -> None:
    generator = torch.Generator().manual_seed(0)
    input, target = torch.randn(5, 3, generator=generator), torch.rand(5, 3, generator=generator)
    weight = torch.tensor([0.5, 2.0, 7.0])
    theirs = F.binary_cross_entropy_with_logits(input, target, pos_weight=weight)
    torch.testing.assert_close(bce(input, target, pos_weight=weight), theirs)
    torch.testing.assert_close(bce(input, target, pos_weight=2.0), bce(input, target, pos_weight=torch.full((3,), 2.0)))


@pytest.mark.parametrize("z", [-100.0, -40.0, -16.0, 16.0, 80.0])
def test_pos_weight_keeps_the_tails(z: float) -> None:
    input = torch.tensor([z, z])
    no, yes = bce(input, torch.tensor([0.0, 1.0]), pos_weight=7.0, reduction="none").tolist()
    assert near(no, truth(z, 0)[0])
    assert near(yes, 7 * truth(z, 1)[0])


def test_a_batch_of_one_positive_is_heard_as_loud_as_its_pos_weight() -> None:
    assert bce(torch.zeros(1), torch.ones(1), pos_weight=9.0).item() == pytest.approx(9 * LN2)


def test_a_mask_hides_nan_in_value_and_gradient() -> None:
    input = torch.tensor([0.0, math.nan, math.inf], requires_grad=True)
    value = bce(input, torch.tensor([1.0, math.nan, 5.0]), mask=torch.tensor([True, False, False]))
    assert value.item() == pytest.approx(LN2)
    assert slope(value, input).tolist() == [-0.5, 0, 0]


def test_half_precision_is_computed_in_float32() -> None:
    for dtype in (torch.float16, torch.bfloat16):
        value = bce(torch.tensor([-20.0], dtype=dtype), torch.zeros(1, dtype=dtype))
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(math.exp(-20), rel=1e-6)


def test_reference_levels() -> None:
    levels = lk.reference("binary_cross_entropy_with_logits", prior=0.2)
    assert levels.chance == pytest.approx(LN2)
    assert levels.constant == pytest.approx(-0.2 * math.log(0.2) - 0.8 * math.log(0.8))


def test_the_module_carries_pos_weight_as_a_buffer_and_parts_see_through_it() -> None:
    module = lk.CATALOGUE["binary_cross_entropy_with_logits"].module(pos_weight=torch.tensor([2.0, 3.0]))
    assert list(module.state_dict()) == ["pos_weight"]
    assert module.to(torch.float64).pos_weight.dtype == torch.float64
    found = lk.parts(pickle.loads(pickle.dumps(module)), torch.zeros(1, 2), torch.ones(1, 2))
    assert found.weight.item() == 2
    assert found.total.item() == pytest.approx((2 + 3) * LN2)


def test_inside_debug_a_nan_target_raises_unless_it_is_masked() -> None:
    target = torch.tensor([1.0, math.nan])
    with lk.debug(), pytest.raises(ValueError, match=r'"target" is nan at index 1'):
        bce(torch.zeros(2), target)
    with lk.debug():
        assert bce(torch.zeros(2), target, mask=torch.tensor([True, False])).item() == pytest.approx(LN2)
