"""How much pairs count."""

from __future__ import annotations

import math

import torch

from losskit.ops.lambda_pairs import steps


def test_the_difference_of_two_discounts_keeps_its_digits() -> None:
    distance = torch.tensor([2 / 3, 1.0, 10.0, 1e6, 1e12], dtype=torch.float64)
    plain = 1 / torch.log2(1 + distance) - 1 / torch.log2(2 + distance)
    torch.testing.assert_close(steps(distance)[:3], plain[:3], rtol=1e-14, atol=0)
    # far out it is the derivative of 1 / log2: ln 2 / (x ln(x)^2), half a step further
    middle = distance[3:] + 1.5
    torch.testing.assert_close(steps(distance)[3:], math.log(2) / (middle * middle.log() ** 2), rtol=1e-11, atol=0)
