"""Probabilities of pixels: p and 1 - p with all their digits, in value and in slope."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.losses.pixels import probabilities


@pytest.mark.parametrize("z", [-80.0, -16.0, -1.0, 0.0, 1.0, 12.0, 16.0, 20.0, 40.0, 80.0])
@pytest.mark.parametrize("which", [0, 1], ids=["p", "1 - p"])
def test_both_sides_of_a_sigmoid_have_their_slope_where_the_score_is_sure(z: float, which: int) -> None:
    input = torch.tensor([z], requires_grad=True)
    value = probabilities(input, "sigmoid")[which]
    (slope,) = torch.autograd.grad(value.sum(), input)
    p, q = 1 / (1 + math.exp(-z)), 1 / (1 + math.exp(z))
    assert value.item() == pytest.approx((p, q)[which], rel=1e-6, abs=0)
    assert slope.item() == pytest.approx((p * q, -p * q)[which], rel=1e-6, abs=0)


@pytest.mark.parametrize("lead", [1.0, 12.0, 16.0, 20.0, 40.0])
@pytest.mark.parametrize("which", [0, 1], ids=["p", "1 - p"])
def test_both_sides_of_a_softmax_have_their_slope_where_the_row_is_sure(lead: float, which: int) -> None:
    input = torch.tensor([[lead, 0.0, 0.0]], requires_grad=True)
    value = probabilities(input, "softmax")[which]
    (slope,) = torch.autograd.grad(value[0, 0], input)
    p, q = math.exp(lead) / (math.exp(lead) + 2), 2 / (math.exp(lead) + 2)
    sign = (1, -1)[which]
    assert value[0, 0].item() == pytest.approx((p, q)[which], rel=1e-6, abs=0)
    assert slope[0].tolist() == pytest.approx([sign * p * q, *[-sign * p * q / 2] * 2], rel=1e-6, abs=0)
