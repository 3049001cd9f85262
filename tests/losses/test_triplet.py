"""Triplet margin loss: torch's where torch is exact, and stated values where it is not."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from losskit.losses.triplet import TripletMarginLoss, triplet_margin_loss

LN2 = math.log(2)


def drawn(count: int = 9, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(count, 4, generator=generator, dtype=dtype).requires_grad_() for _ in range(3)]


@pytest.mark.claim("R16")
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("margin", [0.3, 1.0, 5.0])
def test_without_its_eps_torch_says_the_same(margin: float, swap: bool) -> None:
    rows = drawn()
    for reduction in ("mean", "sum", "none"):
        ours = triplet_margin_loss(*rows, margin=margin, swap=swap, reduction=reduction)
        theirs = F.triplet_margin_loss(*rows, margin=margin, swap=swap, eps=0, reduction=reduction)
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for mine, other in zip(torch.autograd.grad(ours.sum(), rows), torch.autograd.grad(theirs.sum(), rows), strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-11, atol=1e-11)
        assert other.any()


@pytest.mark.parametrize("swap", [False, True])
def test_cosine_is_torch_s_with_a_distance_of_its_own(swap: bool) -> None:
    rows = drawn()
    theirs = F.triplet_margin_with_distance_loss(
        *rows, distance_function=lambda x, y: 1 - F.cosine_similarity(x, y), margin=0.5, swap=swap
    )
    torch.testing.assert_close(triplet_margin_loss(*rows, margin=0.5, distance="cosine", swap=swap), theirs)


def test_a_distance_of_zero_is_zero_and_has_no_gradient() -> None:
    anchor = torch.randn(3, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
    positive, negative = anchor.detach().clone().requires_grad_(), anchor.detach() + 3
    value = triplet_margin_loss(anchor, positive, negative, margin=7.0)
    assert value.item() == pytest.approx(7 - 6, rel=1e-6)  # d(a, n) = 3 * 4^(1/2)
    torch_s = F.triplet_margin_loss(anchor, anchor, anchor, margin=7.0, eps=1e-6)
    assert triplet_margin_loss(anchor, anchor, anchor, margin=7.0).item() == 7 == pytest.approx(torch_s.item())
    by_anchor, by_positive = torch.autograd.grad(value, (anchor, positive))
    assert not by_positive.any()
    torch.testing.assert_close(by_anchor, torch.full((3, 4), 0.5 / 3))  # away from the negative


@pytest.mark.parametrize(("margin", "value"), [(0.7, 0.7), ("soft", LN2)])
@pytest.mark.parametrize("distance", ["euclidean", "squared_euclidean", "cosine"])
def test_rows_that_are_all_the_same_cost_the_margin_or_ln_2_and_do_not_move(margin: Any, value: float, distance: Any) -> None:
    rows = [torch.ones(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    found = triplet_margin_loss(*rows, margin=margin, distance=distance)
    assert found.item() == pytest.approx(value, rel=1e-14)
    for gradient in torch.autograd.grad(found, rows):
        assert gradient.abs().max() < 1e-15


def test_a_row_of_zeros_has_cosine_zero_and_no_gradient() -> None:
    zero = torch.zeros(1, 3, requires_grad=True)
    east = torch.tensor([[2.0, 0.0, 0.0]])
    found = triplet_margin_loss(zero, east, -east, margin=0.25, distance="cosine")
    assert found.item() == 0.25
    assert not torch.autograd.grad(found, zero)[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_soft_margin_is_finite_at_any_distance(dtype: torch.dtype) -> None:
    zero = torch.zeros(1, 1, dtype=dtype, requires_grad=True)
    far = torch.full((1, 1), 3000.0, dtype=dtype)
    wrong = triplet_margin_loss(zero, far, torch.zeros_like(far), margin="soft")
    assert wrong.item() == 3000
    assert torch.autograd.grad(wrong, zero)[0].item() == -1
    right = triplet_margin_loss(zero, torch.zeros_like(far), far, margin="soft")
    assert right.item() == 0
    assert torch.autograd.grad(right, zero)[0].item() == 0


def test_a_soft_margin_keeps_the_digits_of_a_small_cost() -> None:
    zero, far = torch.zeros(1, 1, dtype=torch.float64), torch.full((1, 1), 30.0, dtype=torch.float64)
    assert triplet_margin_loss(zero, zero, far, margin="soft").item() == pytest.approx(math.log1p(math.exp(-30)), rel=1e-12)


def test_float32_rows_of_any_size_have_their_distance() -> None:
    big = torch.tensor([[3e30, 4e30]])
    assert triplet_margin_loss(big, 0 * big, big, margin=0.0).item() == pytest.approx(5e30, rel=1e-6)


def test_leading_axes_are_kept_and_weights_multiply() -> None:
    rows = [t.detach().reshape(3, 3, 4) for t in drawn()]
    each = triplet_margin_loss(*rows, reduction="none")
    assert each.shape == (3, 3)
    weight = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    torch.testing.assert_close(triplet_margin_loss(*rows, weight=weight), (weight * each).sum() / weight.sum())
    assert each.sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"margin": -0.1}, '"margin" must be >= 0'),
        ({"margin": math.inf}, '"margin" must be finite'),
        ({"margin": "hard"}, "\"margin\" must be a number >= 0 or 'soft', got 'hard'"),
        ({"distance": "l2"}, '"distance" must be'),
    ],
)
def test_an_unknown_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        triplet_margin_loss(*drawn(), **options)


def test_rows_of_another_shape_are_refused() -> None:
    a, p, n = drawn()
    with pytest.raises(ValueError, match='"negative" has shape'):
        triplet_margin_loss(a, p, n[:1])


def test_the_module_shows_and_uses_its_options() -> None:
    module = TripletMarginLoss(margin="soft", swap=True)
    assert repr(module) == "TripletMarginLoss(margin='soft', swap=True)"
    assert torch.equal(module(*drawn()), triplet_margin_loss(*drawn(), margin="soft", swap=True))
