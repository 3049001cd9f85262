"""Focal loss, of classes and of elements: what it fades out, its gradient everywhere, weights, soft targets."""

from __future__ import annotations

import math

import mpmath
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit as lk
from losskit import binary_focal_loss, focal_loss

LN2 = math.log(2)
GAMMAS = [0.0, 0.3, 0.5, 0.99, 1.0, 2.0, 5.0]
FAR = [-1e4, -300.0, -104.0, -40.0, -20.0, -1.0, 0.0, 1.0, 20.0, 40.0, 104.0, 300.0, 1e4]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def slope(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


def focal_of(p: float, gamma: float) -> float:
    return -((1 - p) ** gamma) * math.log(p)


def truth(u: float, gamma: float) -> tuple[float, float]:
    """Value and slope at a margin u, in fifty digits: -(1 - p)^g log p, -(1 - p)^g (1 - p - g p log p)."""
    with mpmath.workdps(50):
        u = mpmath.mpf(u)
        p, q, g = 1 / (1 + mpmath.exp(-u)), 1 / (1 + mpmath.exp(u)), mpmath.mpf(gamma)
        log_p = -mpmath.log1p(mpmath.exp(-u))
        return float(-(q**g) * log_p), float(-(q**g) * (q - g * p * log_p))


@pytest.mark.parametrize("gamma", GAMMAS)
def test_an_example_fades_with_the_power_of_what_is_left_to_learn(gamma: float) -> None:
    p = torch.tensor([[0.9, 0.05, 0.05]]).log()
    assert focal_loss(p, torch.tensor([0]), gamma=gamma).item() == pytest.approx(focal_of(0.9, gamma), rel=1e-5)
    assert focal_loss(p, torch.tensor([1]), gamma=gamma).item() == pytest.approx(focal_of(0.05, gamma), rel=1e-5)


def test_gamma_zero_is_cross_entropy() -> None:
    input, target = draw(6, 4), torch.tensor([0, 1, 2, 3, -100, 0])
    torch.testing.assert_close(focal_loss(input, target, gamma=0.0), F.cross_entropy(input, target))
    bits = (target % 2).double()[:, None].expand(6, 4)
    torch.testing.assert_close(binary_focal_loss(input, bits, gamma=0.0), F.binary_cross_entropy_with_logits(input, bits))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_gradient_is_finite_for_any_gamma_at_saturation(gamma: float, dtype: torch.dtype) -> None:
    input = torch.tensor(FAR, dtype=dtype, requires_grad=True)
    for target in (0.0, 1.0, 0.5):
        value = binary_focal_loss(input, torch.full_like(input, target), gamma=gamma, reduction="none")
        assert bool(value.isfinite().all())
        assert bool(slope(value, input).isfinite().all())
    pair = torch.stack([torch.tensor(FAR), torch.zeros(len(FAR))], -1).to(dtype).requires_grad_()
    for target in (0, 1):
        value = focal_loss(pair, torch.full((len(FAR),), target), gamma=gamma, reduction="none")
        assert bool(value.isfinite().all())
        assert bool(slope(value, pair).isfinite().all())


def test_a_power_of_the_probability_has_no_gradient_there() -> None:
    p = torch.tensor([200.0], requires_grad=True)
    naive = (1 - p.sigmoid()) ** 0.5 * -F.logsigmoid(p)
    assert not bool(slope(naive, p).isfinite())


@pytest.mark.parametrize("gamma", GAMMAS)
def test_value_and_gradient_agree_with_fifty_digits(gamma: float) -> None:
    margins = [-80.0, -20.0, -3.0, -0.5, 0.0, 0.5, 3.0, 10.0, 12.0]
    input = torch.tensor(margins, requires_grad=True)
    binary = binary_focal_loss(input, torch.ones(len(margins)), gamma=gamma, reduction="none")
    pair = torch.stack([torch.tensor(margins), torch.zeros(len(margins))], -1).requires_grad_()
    classes = focal_loss(pair, torch.zeros(len(margins)).long(), gamma=gamma, reduction="none")
    wanted, tilt = zip(*(truth(u, gamma) for u in margins), strict=True)
    assert binary.tolist() == pytest.approx(wanted, rel=1e-5)
    assert classes.tolist() == pytest.approx(wanted, rel=1e-5)
    assert slope(binary, input).tolist() == pytest.approx(tilt, rel=1e-5)
    assert slope(classes, pair)[:, 0].tolist() == pytest.approx(tilt, rel=1e-5)


def test_a_class_weight_multiplies_the_loss_and_never_enters_the_probability() -> None:
    input, target, weight = draw(1, 3), torch.tensor([1]), torch.tensor([1.0, 5.0, 1.0], dtype=torch.float64)
    p = input.softmax(-1)[0, 1].item()
    for gamma in GAMMAS:
        value = focal_loss(input, target, gamma=gamma, weight=weight, reduction="sum")
        assert value.item() == pytest.approx(5 * focal_of(p, gamma))
        assert focal_loss(input, target, gamma=gamma, weight=weight).item() == pytest.approx(focal_of(p, gamma))
        distorted = 5 * -((1 - p**5) ** gamma) * math.log(p)
        assert gamma == 0 or abs(value.item() - distorted) > 1e-3


def test_the_focus_on_a_soft_target_is_on_the_mixture() -> None:
    x, t, gamma = 2.0, 0.7, 1.0
    p = 1 / (1 + math.exp(-x))
    missed = t * (1 - p) + (1 - t) * p
    assert missed == pytest.approx(0.348, abs=5e-4)  # the peer's sigma(-x (2 t - 1)) is 0.310
    wanted = missed**gamma * -(t * math.log(p) + (1 - t) * math.log(1 - p))
    assert binary_focal_loss(torch.tensor([x]), torch.tensor([t]), gamma=gamma).item() == pytest.approx(wanted, rel=1e-6)


@pytest.mark.parametrize("t", [0.0, 1e-6, 0.1, 0.5, 0.9, 1.0])
def test_soft_targets_agree_with_the_paper_at_any_score(t: float) -> None:
    scores = [-30.0, -5.0, 0.0, 5.0, 30.0]
    exact = torch.tensor(t).item()
    with mpmath.workdps(50):
        wanted = []
        for z in map(mpmath.mpf, scores):
            p, q = 1 / (1 + mpmath.exp(-z)), 1 / (1 + mpmath.exp(z))
            wanted.append(float((exact * q + (1 - exact) * p) ** 2 * -(exact * mpmath.log(p) + (1 - exact) * mpmath.log(q))))
    value = binary_focal_loss(torch.tensor(scores), torch.full((5,), t), reduction="none")
    assert value.tolist() == pytest.approx(wanted, rel=2e-5)


@pytest.mark.parametrize("loss", [focal_loss, binary_focal_loss])
def test_autograd_stays_off_where_the_caller_turned_it_off(loss: object) -> None:
    input = torch.zeros(2, 3, requires_grad=True)
    target = torch.tensor([0, 1]) if loss is focal_loss else torch.zeros(2, 3)
    with torch.no_grad():
        assert not loss(input, target).requires_grad
        assert not torch.is_grad_enabled()
    assert loss(input, target).requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_and_returned_in_float32(dtype: torch.dtype) -> None:
    input = torch.tensor([[10.0, -10.0]], dtype=dtype, requires_grad=True)
    value = focal_loss(input, torch.tensor([1]))
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(20, rel=1e-6)
    assert slope(value, input).dtype == dtype


def test_the_mean_is_over_rows_and_not_over_rows_times_classes() -> None:
    input, target = draw(5, 4), torch.tensor([0, 1, 2, 3, 0])
    each = focal_loss(input, target, reduction="none")
    assert each.shape == (5,)
    torch.testing.assert_close(focal_loss(input, target), each.sum() / 5)
    torch.testing.assert_close(focal_loss(input, target, gamma=0.0), F.cross_entropy(input, target))


def test_a_sum_over_pixels_is_a_sum_over_pixels() -> None:
    input, target = draw(2, 3, 4, 5), torch.randint(3, (2, 4, 5), generator=torch.Generator().manual_seed(0))
    total = focal_loss(input, target, class_dim=1, gamma=0.0, reduction="sum")
    torch.testing.assert_close(total, F.cross_entropy(input, target, reduction="sum"))


def test_ignored_pixels_leave_the_denominator() -> None:
    input = draw(4, 3)
    value = focal_loss(input, torch.tensor([0, 1, -100, -100]))
    torch.testing.assert_close(value, focal_loss(input[:2], torch.tensor([0, 1])))
    assert focal_loss(input, torch.full((4,), -100)).item() == 0
    weight = torch.tensor([2.0, 3.0, 5.0])
    value = focal_loss(input, torch.tensor([0, 1, -100, -100]), weight=weight)
    torch.testing.assert_close(value, focal_loss(input[:2], torch.tensor([0, 1]), weight=weight))


def test_alpha_is_the_share_of_the_positives() -> None:
    value = binary_focal_loss(torch.zeros(3), torch.tensor([1.0, 0.0, 0.5]), alpha=0.25, reduction="none")
    assert value.tolist() == pytest.approx([0.25 * 0.25 * LN2, 0.75 * 0.25 * LN2, 0.5 * 0.25 * LN2])


def test_without_alpha_positives_and_negatives_count_one() -> None:
    value = binary_focal_loss(torch.zeros(2), torch.tensor([1.0, 0.0]), reduction="none")
    assert value.tolist() == pytest.approx([0.25 * LN2] * 2)


def test_the_paper_divides_by_the_number_of_positives() -> None:
    target = torch.tensor([1.0, 0, 0, 0])
    assert binary_focal_loss(torch.zeros(4), target, normalizer=target.sum()).item() == pytest.approx(4 * 0.25 * LN2)


def test_binary_is_the_focal_loss_of_two_classes() -> None:
    z, target = draw(20), torch.arange(20) % 2
    pair = torch.stack([torch.zeros_like(z), z], -1)
    torch.testing.assert_close(binary_focal_loss(z, target), focal_loss(pair, target))


def test_integer_and_bool_targets_are_welcome() -> None:
    for target in (torch.tensor([1, 0]), torch.tensor([True, False])):
        assert binary_focal_loss(torch.zeros(2), target).item() == pytest.approx(0.25 * LN2)
    assert focal_loss(torch.zeros(1, 2), torch.tensor([1], dtype=torch.uint8)).item() == pytest.approx(0.25 * LN2)


def test_one_class_and_classes_at_minus_infinity_are_certain_and_absent() -> None:
    for gamma in (0.0, 0.5, 2.0):
        assert focal_loss(torch.tensor([[7.0]]), torch.tensor([0]), gamma=gamma).item() == 0
        input = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
        value = focal_loss(input, torch.tensor([0]), gamma=gamma)
        assert value.item() == pytest.approx(0.5**gamma * LN2)
        assert slope(value, input)[0, 1].item() == 0


def test_parts_of_a_module_and_an_option_set_later() -> None:
    module = lk.FocalLoss(weight=torch.tensor([1.0, 3.0]))
    module.gamma = 0.0
    found = lk.parts(module, torch.zeros(2, 2), torch.tensor([0, 1]))
    assert found.weight.item() == 4
    assert found.total.item() == pytest.approx(4 * LN2)


def test_reference_levels() -> None:
    assert lk.reference("focal_loss", num_classes=4, gamma=2.0).chance == pytest.approx(focal_of(1 / 4, 2))
    assert lk.reference("binary_focal_loss").chance == pytest.approx(focal_of(1 / 2, 2))
