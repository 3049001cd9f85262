"""Uniformity: its loop, the configurations whose value is known, masks, and batches of no two rows."""

from __future__ import annotations

import math

import pytest
import torch

from labelled_batches import (
    agree,
    batch,
    degenerate,
    is_a_connected_zero,
    is_finite,
    is_its_loop,
    values_and_gradients,
)
from losskit.losses.uniformity import uniformity_loss

NAME = "uniformity_loss"


@pytest.mark.parametrize("t", [0.1, 2.0, 30.0, 500.0])
def test_value_and_gradient_are_those_of_the_loop(t: float) -> None:
    is_its_loop(NAME, batch()[0], t=t)


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str) -> None:
    is_finite(NAME, degenerate()[name][0])
    is_finite(NAME, degenerate()[name][0], t=200.0)


def test_collapsed_rows_are_zero_without_a_gradient() -> None:
    value, (gradient,) = values_and_gradients(uniformity_loss, degenerate()["collapsed"][0])
    agree(value, torch.tensor(0.0))
    agree(gradient, torch.zeros_like(gradient))


@pytest.mark.parametrize("n", [2, 3, 10])
def test_a_regular_simplex_has_all_pairs_at_one_distance(n: int) -> None:
    corners = torch.eye(n, dtype=torch.float64) - 1 / n
    value, (gradient,) = values_and_gradients(uniformity_loss, corners, t=3.0)
    assert value.item() == pytest.approx(-3 * 2 * n / (n - 1), rel=1e-12)
    agree(gradient, torch.zeros_like(gradient))  # it cannot be bettered


def test_rows_of_zeros_are_at_right_angles_to_all() -> None:
    value, (gradient,) = values_and_gradients(uniformity_loss, torch.zeros(5, 3))
    assert value.item() == pytest.approx(-4, rel=1e-6)
    assert not gradient.any()


def test_two_pairs_of_twins_are_the_mean_over_pairs() -> None:
    twins = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    assert uniformity_loss(twins).item() == pytest.approx(math.log((2 + 4 * math.exp(-4)) / 6), rel=1e-12)


def test_masked_rows_are_not_there() -> None:
    rows, mask = batch()[0], torch.arange(19) % 4 != 1
    value, (gradient,) = values_and_gradients(uniformity_loss, torch.where(mask[:, None], rows, torch.inf), mask=mask)
    wanted, (left,) = values_and_gradients(uniformity_loss, rows[mask])
    agree(value, wanted)
    agree(gradient[mask], left)
    assert left.any()
    assert not gradient[~mask].any()


@pytest.mark.parametrize("rows", [0, 1])
def test_fewer_than_two_rows_are_a_connected_zero(rows: int) -> None:
    is_a_connected_zero(NAME, batch()[0][:rows])
    is_a_connected_zero(NAME, batch()[0], mask=torch.arange(19) < rows)


def test_leading_axes_are_the_batch() -> None:
    rows = batch(18)[0]
    agree(uniformity_loss(rows.reshape(2, 3, 3, -1)), uniformity_loss(rows))


def test_a_sharpness_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match='"t"'):
        uniformity_loss(batch()[0], t=0.0)
