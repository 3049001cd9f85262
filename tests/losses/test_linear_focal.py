"""linear_focal_loss: focal_loss of the scores, to the last digits."""

from __future__ import annotations

import math

import pytest
import torch

import losskit


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
def test_it_is_the_focal_loss_of_the_scores(gamma: float) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(30, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    w = torch.randn(50, 8, generator=generator, dtype=torch.float64, requires_grad=True)
    y, weight = torch.randint(50, (30,), generator=generator), torch.rand(50, generator=generator, dtype=torch.float64)
    y[3] = -100
    fused = losskit.linear_focal_loss(x, w, y, gamma=gamma, weight=weight, memory=2000)
    plain = losskit.focal_loss(x @ w.T, y, gamma=gamma, weight=weight)
    assert torch.allclose(fused, plain)
    for got, right in zip(torch.autograd.grad(fused, (x, w)), torch.autograd.grad(plain, (x, w)), strict=True):
        assert right.any()
        assert torch.allclose(got, right)


def test_gamma_zero_is_cross_entropy() -> None:
    x, w, y = torch.randn(5, 4), torch.randn(9, 4), torch.arange(5)
    same = losskit.linear_focal_loss(x, w, y, gamma=0.0), losskit.linear_cross_entropy(x, w, y)
    assert torch.allclose(*same)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_a_confident_row_has_a_finite_gradient(gamma: float) -> None:
    x = torch.tensor([[60.0]], requires_grad=True)
    loss = losskit.linear_focal_loss(x, torch.tensor([[1.0], [-1.0]]), torch.tensor([0]), gamma=gamma)
    (slope,) = torch.autograd.grad(loss, x)
    assert math.isfinite(float(slope))
    assert float(loss.detach()) >= 0
