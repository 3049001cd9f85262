"""KoLeo: a double loop, copies, rows that are alone."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losskit.losses.koleo import KoLeoLoss, koleo_loss


def drawn(count: int = 11) -> Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


def looped(x: Tensor) -> Tensor:
    u = [row / row.norm() for row in x]
    return torch.stack([-min((u[i] - u[j]).norm() for j in range(len(u)) if j != i).log() for i in range(len(u))])


def test_value_and_gradient_are_those_of_a_double_loop() -> None:
    x = drawn()
    torch.testing.assert_close(koleo_loss(x, reduction="none"), looped(x), rtol=1e-12, atol=1e-12)
    found, wanted = (torch.autograd.grad(v, x)[0] for v in (koleo_loss(x), looped(x).mean()))
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert wanted.abs().min() > 1e-5


def test_only_directions_count() -> None:
    x = drawn().detach()
    torch.testing.assert_close(koleo_loss(x * torch.arange(1.0, 12, dtype=torch.float64).unsqueeze(1)), koleo_loss(x))


def test_the_corners_of_a_simplex_are_as_far_apart_as_can_be() -> None:
    corners = torch.eye(5, dtype=torch.float64) - 0.2
    assert koleo_loss(corners).item() == pytest.approx(-math.log(math.sqrt(2 * 5 / 4)), rel=1e-14)


def test_copies_cost_18_42_and_have_no_gradient_while_others_keep_theirs() -> None:
    x = drawn().detach()
    x[3] = 2 * x[7]
    x.requires_grad_()
    each = koleo_loss(x, reduction="none")
    assert each[3].item() == each[7].item() == pytest.approx(-math.log(1e-8))
    (slope,) = torch.autograd.grad(each[[3, 7]].sum(), x, retain_graph=True)
    assert not slope.any()
    (slope,) = torch.autograd.grad(each.sum(), x)
    assert slope.isfinite().all()
    assert slope.any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_collapsed_batch_is_finite(dtype: torch.dtype) -> None:
    for rows in (torch.ones(6, 3), torch.zeros(6, 3)):
        x = rows.to(dtype).requires_grad_()
        value = koleo_loss(x)
        assert value.item() == pytest.approx(-math.log(1e-8), rel=1e-6)
        assert not torch.autograd.grad(value, x)[0].any()


def test_near_copies_are_pushed_apart_with_finite_force() -> None:
    x = torch.tensor([[1.0, 0.0], [1.0, 1e-7], [-1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    each = koleo_loss(x, reduction="none")
    assert each[0].item() == pytest.approx(7 * math.log(10), rel=1e-6)
    (slope,) = torch.autograd.grad(each[0], x)
    assert slope[1, 1].item() == pytest.approx(-1e7, rel=1e-6)


def test_a_row_that_is_alone_costs_nothing() -> None:
    for x in (drawn()[:1], drawn()[:0]):
        value = koleo_loss(x)
        assert value.item() == 0
        assert value.requires_grad
    mask = torch.arange(11) == 4
    assert koleo_loss(drawn(), mask=mask).item() == 0


def test_masked_rows_are_nobody_s_neighbour() -> None:
    x = drawn().detach()
    mask = torch.arange(11) % 3 != 0
    torch.testing.assert_close(koleo_loss(torch.where(mask.unsqueeze(1), x, torch.nan), mask=mask), koleo_loss(x[mask]))


def test_the_module_is_the_function() -> None:
    assert torch.equal(KoLeoLoss()(drawn()), koleo_loss(drawn()))
