"""log(sum of exp), and what is left of it where there is nothing to sum."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.ops.logsum import log_sum, log_sum_where


@pytest.mark.parametrize("axis", [0, 1])
def test_it_is_torch_s_own_where_there_is_something(axis: int) -> None:
    values = 300 * torch.randn(4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values[0, 0] = -math.inf
    for found in (log_sum(values, axis), log_sum_where(values, values > -math.inf, axis)):
        torch.testing.assert_close(found, values.logsumexp(axis), rtol=1e-14, atol=1e-12)


@pytest.mark.parametrize("rows", [0, 3])
def test_nothing_is_minus_infinity_without_a_gradient(rows: int) -> None:
    values = torch.full((rows, 2), -math.inf, dtype=torch.float64, requires_grad=True)
    scores = torch.zeros(rows, 2, dtype=torch.float64, requires_grad=True)
    nothing = torch.zeros(rows, 2, dtype=torch.bool)
    for leaf, found in ((values, log_sum(values)), (scores, log_sum_where(scores, nothing, 0))):
        assert torch.equal(found, torch.full((2,), -math.inf, dtype=torch.float64))
        assert not torch.autograd.grad(found.exp().sum(), leaf)[0].any()


def test_its_derivatives_are_derivatives() -> None:
    values = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(log_sum, values)
    assert torch.autograd.gradgradcheck(log_sum, values)
