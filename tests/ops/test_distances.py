"""Distances keep their digits: of near rows, of rows far from the origin, of copies, of any size; and so do their gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from losskit.ops.distances import DISTANCES, Distance, Space, length, pair_distance
from losskit.ops.unit import unit


def rows(seed: int = 0, count: int = 12, features: int = 5) -> Tensor:
    return torch.randn(count, features, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def every(x: Tensor, distance: Distance) -> Tensor:
    return pair_distance(x.unsqueeze(1), x, distance)


@pytest.mark.parametrize("size", [1e-200, 1e-30, 1.0, 1e30, 1e200])
def test_a_length_neither_overflows_nor_underflows(size: float) -> None:
    assert length(size * torch.tensor([3.0, 4.0], dtype=torch.float64)).item() == pytest.approx(5 * size, rel=1e-15)
    if 1e-38 < size < 1e38:
        assert length(size * torch.tensor([3.0, 4.0])).item() == pytest.approx(5 * size, rel=1e-6)


def test_the_gradient_of_a_length_is_the_direction_and_zero_at_zero() -> None:
    x = torch.tensor([[3.0, -4.0], [0.0, 0.0]], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(length(x).sum(), x)
    torch.testing.assert_close(slope, torch.tensor([[0.6, -0.8], [0.0, 0.0]], dtype=torch.float64))


def test_rows_without_features_have_no_length() -> None:
    assert length(torch.zeros(3, 0)).tolist() == [0, 0, 0]


def test_cosine_distance_of_unit_rows_is_one_less_the_cosine_and_one_for_a_row_of_zeros() -> None:
    x = unit(torch.tensor([[2.0, 0.0], [3.0, 3.0], [0.0, 0.0]]))
    assert pair_distance(x[:1], x, "cosine").tolist() == pytest.approx([0, 1 - math.sqrt(0.5), 1])


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_tile_holds_the_distances_of_its_rows_to_all(distance: Distance) -> None:
    x = unit(rows()) if distance == "cosine" else rows()
    at = torch.tensor([7, 2, 3])
    found, _ = Space(x, distance).distances(at)
    torch.testing.assert_close(found, every(x, distance)[at], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("gap", [1e-3, 1e-6, 1e-9, 1e-12])
def test_near_rows_keep_all_digits_of_their_distance(gap: float) -> None:
    x = rows()
    x[3] = x[8] + gap * torch.ones(5, dtype=torch.float64)
    exact = (x[3] - x[8]).norm()
    found, near = Space(x, "euclidean").distances(torch.tensor([3]))
    assert found[0, 8].item() == pytest.approx(exact.item(), rel=1e-9 if near is None else 1e-10)
    assert Space(x, "squared_euclidean").distances(torch.tensor([3]))[0][0, 8].item() == pytest.approx(
        exact.item() ** 2, rel=2e-9
    )


def test_copies_are_at_distance_zero() -> None:
    x = rows()
    x[5] = x[9]
    for distance in ("euclidean", "squared_euclidean"):
        found, _ = Space(x, distance).distances(torch.arange(12))
        assert found[5, 9] == found[9, 5] == 0
        assert not found.diagonal().any()


def test_rows_far_from_the_origin_lose_nothing() -> None:
    x = (rows() * 1024).round() / 1024 + 2.0**30  # differences are exact
    found, near = Space(x, "euclidean").distances(torch.arange(12))
    torch.testing.assert_close(found, every(x, "euclidean"), rtol=1e-13, atol=0)
    assert near is not None
    assert not len(near.row), "centred rows are not close to each other"


def test_rows_that_are_all_the_same_need_no_differences() -> None:
    x = torch.full((12, 5), 0.7, dtype=torch.float64)
    assert (x - x.mean(0)).any(), "the mean of copies is rounded"
    found, near = Space(x, "euclidean").distances(torch.arange(12))
    assert not found.any()
    assert near is not None
    assert not len(near.row)


def test_a_first_row_that_lies_apart_makes_no_others_close() -> None:
    x = rows(count=200)
    x[0] += 300
    _, near = Space(x, "euclidean").distances(torch.arange(200))
    assert near is not None
    assert not len(near.row)


@pytest.mark.parametrize("distance", DISTANCES)
def test_gradients_that_come_back_are_those_of_differences(distance: Distance) -> None:
    x = rows()
    x[3] = x[8] + 1e-7
    x[5] = x[9]
    x = (unit(x) if distance == "cosine" else x).requires_grad_()
    by = rows(1, 12, 12)
    (wanted,) = torch.autograd.grad((every(x, distance) * by).sum(), x)
    space = Space(x.detach(), distance)
    space.open()
    for at in (torch.tensor([0, 3, 4, 9]), torch.tensor([1, 2, 5]), torch.tensor([6, 7, 8, 10, 11])):
        space.pull(at, by[at], *space.distances(at))
    torch.testing.assert_close(space.close(), wanted, rtol=1e-11, atol=1e-11)
    assert wanted.abs().min() > 1e-4
