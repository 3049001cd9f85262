"""Multi-similarity loss: its loop, its mining, its anchors, and batches in which little is to be told apart."""

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
from losskit.losses.multi_similarity import multi_similarity_loss

NAME = "multi_similarity_loss"
OPTIONS: list[dict[str, Any]] = [{}, {"alpha": 0.5, "beta": 5.0, "threshold": -0.2}, {"epsilon": 0.1}, {"epsilon": 0.0}]


@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_loop(options: dict[str, Any]) -> None:
    for seed in range(3):
        is_its_loop(NAME, *batch(seed=seed), **options)


@pytest.mark.parametrize("options", OPTIONS)
def test_masked_rows_are_not_there(options: dict[str, Any]) -> None:
    masked_rows_are_not_there(NAME, *batch(), **options)


def test_all_leading_axes_are_the_batch() -> None:
    leading_axes_are_the_batch(NAME, *batch(), epsilon=0.1)


@pytest.mark.parametrize("options", [{}, {"epsilon": 0.1}])
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str, options: dict[str, Any]) -> None:
    is_finite(NAME, *degenerate()[name], **options)


@pytest.mark.parametrize("epsilon", [None, 0.1])
def test_a_collapsed_batch_costs_what_its_counts_say(epsilon: float | None) -> None:
    rows, labels = torch.ones(6, 3), torch.tensor([0, 0, 0, 0, 1, 1])
    each = [
        math.log1p(near * math.exp(-2 * 0.5)) / 2 + math.log1p(far * math.exp(50 * 0.5)) / 50
        for near, far in ((3, 2), (3, 2), (3, 2), (3, 2), (1, 4), (1, 4))
    ]
    agree(multi_similarity_loss(rows, labels, epsilon=epsilon, reduction="none"), torch.tensor(each), 1e-6)


def test_without_negatives_only_positives_are_paid_for() -> None:
    rows = torch.eye(4, dtype=torch.float64)
    value = multi_similarity_loss(rows, torch.zeros(4).long())
    assert value.item() == pytest.approx(math.log1p(3 * math.exp(2 * 0.5)) / 2, rel=1e-12)
    assert multi_similarity_loss(rows, torch.zeros(4).long(), epsilon=0.1) == 0  # mining needs a negative to compare with


@pytest.mark.parametrize("name", ["all distinct", "one row", "no rows"])
def test_without_positives_it_is_a_connected_zero(name: str) -> None:
    is_a_connected_zero(NAME, *degenerate()[name])


def test_a_row_without_a_positive_is_a_negative_but_no_anchor() -> None:
    rows, labels = batch()
    value = multi_similarity_loss(rows, labels, reduction="none")
    assert value[-1] == 0
    assert losskit.parts(multi_similarity_loss, rows, labels).weight == len(rows) - 1
    _, (gradient,) = values_and_gradients(multi_similarity_loss, rows, labels)
    assert gradient[-1].any()


def test_rows_of_zeros_have_cosine_zero_and_no_gradient() -> None:
    rows, labels = degenerate()["all zero"][0][:4], torch.tensor([0, 0, 1, 1])
    value, (gradient,) = values_and_gradients(multi_similarity_loss, rows, labels)
    assert value.item() == pytest.approx(math.log1p(math.exp(1)) / 2 + math.log1p(2 * math.exp(-25)) / 50, rel=1e-12)
    assert not gradient.any()


def test_a_large_epsilon_takes_all_pairs() -> None:
    rows, labels = batch()
    agree(multi_similarity_loss(rows, labels, epsilon=2.0), multi_similarity_loss(rows, labels))


def test_mining_leaves_out_what_is_right_already() -> None:
    far, labels = torch.eye(4, dtype=torch.float64).repeat_interleave(2, 0), torch.arange(4).repeat_interleave(2)
    assert multi_similarity_loss(far, labels, epsilon=0.1) == 0  # positives at 1, negatives at 0
    assert losskit.parts(multi_similarity_loss, far, labels, epsilon=0.1).weight == 8
    assert multi_similarity_loss(far, labels, epsilon=1.1) > 0.1


def test_scores_far_beyond_the_floats_of_an_exponential_are_finite() -> None:
    rows, labels = batch()
    value = multi_similarity_loss(rows.float(), labels, alpha=500.0, beta=5000.0)
    agree(value.double(), multi_similarity_loss(rows, labels, alpha=500.0, beta=5000.0), 1e-6)


def test_options_out_of_range_are_refused() -> None:
    options: list[dict[str, Any]] = [{"alpha": 0.0}, {"beta": -1.0}, {"threshold": 1.5}, {"epsilon": -0.1}]
    for option in options:
        with pytest.raises(ValueError, match=next(iter(option))):
            multi_similarity_loss(*batch(), **option)
