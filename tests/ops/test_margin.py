"""The ops under cross-entropy: slopes that keep their digits where the row is sure."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from losskit.ops.margin import soft_cross_entropy


@pytest.mark.parametrize("lead", [-40.0, 0.0, 2.0, 10.0, 14.0, 16.0, 20.0, 30.0, 80.0])
def test_a_onehot_of_probabilities_has_the_slope_of_its_index(lead: float) -> None:
    input = torch.tensor([[lead, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_cross_entropy(input, F.one_hot(torch.tensor([0]), 5).float()).sum(), input)
    missed = 4 / (math.exp(lead) + 4)
    assert slope[0].tolist() == pytest.approx([-missed, *[missed / 4] * 4], rel=1e-6, abs=0)


@pytest.mark.parametrize("wanted", [[0.5, 0.25, 0.25, 0.0], [0.0, 0.0, 0.0, 0.0], [0.1, 3.0, 0.0, 0.4]])
def test_the_slope_of_any_probabilities_is_their_sum_times_p_minus_them(wanted: list[float]) -> None:
    input = torch.tensor([[9.0, -2.0, 3.0, 1.0]], requires_grad=True)
    target = torch.tensor([wanted])
    (slope,) = torch.autograd.grad(soft_cross_entropy(input, target).sum(), input)
    truth = target.double().sum() * input.double().softmax(-1) - target.double()
    torch.testing.assert_close(slope.double(), truth, rtol=1e-6, atol=1e-7)


def test_a_class_that_is_ruled_out_and_not_wanted_has_no_slope() -> None:
    input = torch.tensor([[0.0, -math.inf, 0.0]], requires_grad=True)
    (slope,) = torch.autograd.grad(soft_cross_entropy(input, torch.tensor([[1.0, 0.0, 0.0]])).sum(), input)
    assert slope[0].tolist() == pytest.approx([-0.5, 0.0, 0.5])
