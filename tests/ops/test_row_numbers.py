"""Copies, spread and effective rank of a set of rows."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.ops.row_numbers import content_hash, effective_rank, joined_hash, row_shape


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_rows_have_one_hash_if_and_only_if_they_are_equal(dtype: torch.dtype) -> None:
    rows = torch.randint(-1, 2, (2000, 6), generator=torch.Generator().manual_seed(0)).to(dtype)
    kinds = torch.unique(rows, dim=0, return_inverse=True)[1]
    found = torch.unique(content_hash(rows), return_inverse=True)[1]
    assert torch.equal(kinds[:, None] == kinds, found[:, None] == found)


def test_the_order_of_features_and_of_a_pair_matters() -> None:
    a, b = content_hash(torch.tensor([[1.0, 2.0], [2.0, 1.0]]))
    assert a != b
    assert joined_hash(a, b) != joined_hash(b, a)
    number = torch.arange(300)
    assert len(torch.unique(joined_hash(number[:, None], number))) == 300**2


@pytest.mark.parametrize(("n", "d"), [(30, 4), (4, 30)])
def test_the_rank_is_that_of_the_singular_values(n: int, d: int) -> None:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = torch.linalg.svdvals(rows)
    share = s / s.sum()
    shape = row_shape(rows, torch.ones(n, dtype=torch.bool))
    assert len(shape.gram) == 4
    assert math.isclose(effective_rank(shape.gram), math.exp(-float((share * share.log()).sum())), rel_tol=1e-10)


def test_equal_directions_are_counted_and_noise_is_not() -> None:
    assert math.isclose(effective_rank(torch.eye(5, dtype=torch.float64)), 5, rel_tol=1e-12)
    point = torch.full((1000, 1000), 0.1, dtype=torch.float64)
    assert math.isclose(effective_rank(point), 1, rel_tol=1e-12)
    assert effective_rank(torch.zeros(3, 3)) == 0
    assert math.isnan(effective_rank(torch.zeros(0, 0)))
    assert math.isnan(effective_rank(torch.full((2, 2), math.nan)))


def test_rows_that_are_not_there_do_not_count_for_the_spread() -> None:
    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    found = row_shape(rows, torch.tensor([True, True, False, False])).spread
    assert math.isclose(float(found), 0.5 * math.sqrt(2), rel_tol=1e-12)  # of one feature 1, of the other 0
