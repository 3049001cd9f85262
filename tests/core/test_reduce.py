"""reduce and parts: one mean, one denominator, and what happens when there is nothing to divide by."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import losskit
from losskit.core.reduce import Ledger, reduce, reduce_total

VALUE = torch.tensor([1.0, 4.0, 7.0], requires_grad=True)
WEIGHT = torch.tensor([2.0, 0.0, 3.0])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("normalizer", [None, 4.0, torch.tensor(4), 0.0, torch.tensor(0.0)], ids=str)
def test_a_sum_taken_by_an_op_reduces_as_its_values_do(reduction: Any, normalizer: Any) -> None:
    total, weight = (WEIGHT * VALUE).sum(), WEIGHT.sum()
    got = reduce_total(total, weight, reduction, normalizer)
    assert torch.equal(got, reduce(VALUE, WEIGHT, reduction, normalizer))
    assert got.requires_grad


def test_a_sum_taken_by_an_op_gives_its_parts() -> None:
    ledger = Ledger()
    assert reduce_total(VALUE.sum(), WEIGHT.sum(), "mean", ledger).item() == 1 + 4 + 7
    assert ledger.weight is not None
    assert ledger.weight.item() == 2 + 3


def test_a_sum_taken_by_an_op_over_no_weight_is_a_connected_zero() -> None:
    value = reduce_total((0 * VALUE).sum(), torch.tensor(0.0), "mean")
    assert value.item() == 0
    (slope,) = torch.autograd.grad(value, VALUE)
    assert not slope.any()


def test_a_sum_taken_by_an_op_cannot_be_undone() -> None:
    none: Any = "none"
    with pytest.raises(ValueError, match="'mean' or 'sum', got 'none'"):
        reduce_total(VALUE.sum(), WEIGHT.sum(), none)


@pytest.mark.parametrize("nothing", [0, 0.0, torch.tensor(0), torch.tensor(0.0)], ids=str)
def test_a_sum_over_a_normalizer_of_zero_is_infinite_and_never_undivided(nothing: Any) -> None:
    assert losskit.mse_loss(torch.zeros(3), torch.ones(3), normalizer=nothing).item() == math.inf
    assert losskit.mse_loss(torch.ones(3), torch.ones(3), normalizer=nothing).item() == 0


def test_a_rank_with_nothing_to_learn_may_have_a_normalizer_of_zero() -> None:
    input = torch.zeros(3, requires_grad=True)
    losskit.mse_loss(input, torch.ones(3), mask=torch.zeros(3).bool(), normalizer=torch.tensor(0)).backward()
    assert input.grad is not None
    assert not input.grad.any()


def test_a_normalizer_is_a_number_or_has_no_axes() -> None:
    with pytest.raises(losskit.ShapeError, match=r"has shape \(1,\), expected \(\), a 0-d tensor, or a number"):
        reduce(VALUE, None, "mean", torch.ones(1))
    for wrong in (torch.tensor(True), torch.tensor(1j)):
        with pytest.raises(TypeError, match="expected a real number"):
            reduce(VALUE, None, "mean", wrong)


def test_the_dtype_of_the_normalizer_is_not_that_of_the_loss() -> None:
    assert reduce(VALUE, None, "mean", torch.tensor(2.0, dtype=torch.float64)).dtype == torch.float32
