"""Lifted structure loss: its loop, how pairs are shared by rows, digits of small distances, and degenerate batches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import losskit
from labelled_batches import (
    agree,
    batch,
    degenerate,
    is_a_connected_zero,
    is_finite,
    is_its_loop,
    leading_axes_are_the_batch,
    masked_rows_are_not_there,
    values_and_gradients,
)
from losskit.losses.lifted_structure import lifted_structure_loss

NAME = "lifted_structure_loss"


@pytest.mark.parametrize("margin", [0.0, 1.0, 4.0])
def test_values_and_gradients_are_those_of_the_loop(margin: float) -> None:
    for seed in range(3):
        is_its_loop(NAME, *batch(13, seed=seed), margin=margin)


def test_the_mean_goes_over_positive_pairs() -> None:
    rows, labels = batch(13)
    number = sum(int(labels[i] == labels[j]) for i in range(13) for j in range(i))
    parts = losskit.parts(lifted_structure_loss, rows, labels)
    assert parts.weight == number
    agree(lifted_structure_loss(rows, labels), losskit.CATALOGUE[NAME].reference(rows, labels).sum() / number)


def test_masked_rows_are_not_there() -> None:
    masked_rows_are_not_there(NAME, *batch())


def test_all_leading_axes_are_the_batch() -> None:
    leading_axes_are_the_batch(NAME, *batch())


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str) -> None:
    is_finite(NAME, *degenerate()[name])


def test_a_collapsed_batch_costs_its_negatives_and_has_no_gradient() -> None:
    rows, labels = torch.ones(6, 3), torch.arange(3).repeat_interleave(2)
    value, (gradient,) = values_and_gradients(lifted_structure_loss, rows, labels, margin=0.5)
    assert value.item() == pytest.approx((math.log(8) + 0.5) ** 2 / 2, rel=1e-6)  # four negatives of each of two rows
    assert not gradient.any()


@pytest.mark.parametrize("name", ["one class", "all distinct", "one row", "no rows"])
def test_without_both_kinds_of_pairs_it_is_a_connected_zero(name: str) -> None:
    is_a_connected_zero(NAME, *degenerate()[name])


def test_rows_of_zeros_are_at_right_angles_to_all() -> None:
    rows, labels = torch.zeros(4, 3, dtype=torch.float64), torch.tensor([0, 0, 1, 1])
    assert lifted_structure_loss(rows, labels).item() == pytest.approx((math.log(4) + 1) ** 2 / 2, rel=1e-12)


def test_the_distance_of_nearly_equal_rows_keeps_its_digits_in_single_precision() -> None:
    rows, labels = batch(8)
    labels = torch.arange(8) // 2
    rows[1::2] = rows[::2] + 1e-4 * rows[1::2]
    wanted = values_and_gradients(losskit.CATALOGUE[NAME].reference, rows.float().double(), labels)
    found = values_and_gradients(lifted_structure_loss, rows.float(), labels, reduction="none")
    agree(found[0].double(), wanted[0], 1e-6)
    agree(found[1][0].double(), wanted[1][0], 1e-5)


def test_a_margin_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="margin"):
        lifted_structure_loss(*batch(), margin=-1.0)


def test_an_unknown_reduction_is_refused_with_all_that_there_are() -> None:
    unknown: Any = "average"
    with pytest.raises(ValueError, match="must be 'none' or 'mean' or 'sum', got 'average'"):
        lifted_structure_loss(*batch(), reduction=unknown)
