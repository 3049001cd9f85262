"""Contrastive loss of a batch: its loop, its two means, what it has in common with given pairs, degenerate batches."""

from __future__ import annotations

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
from losskit.losses.batch_contrastive import batch_contrastive_loss
from losskit.losses.contrastive import contrastive_loss

NAME = "batch_contrastive_loss"
OPTIONS: list[dict[str, Any]] = [
    {"distance": distance, "average": average, "margin": margin}
    for distance in ("cosine", "euclidean")
    for average in ("pair", "balanced")
    for margin in (0.3, 1.4)
]


def shares(options: dict[str, Any], labels: torch.Tensor) -> torch.Tensor:
    """What each row counts for."""
    same = (labels[:, None] == labels).sum(1) - 1
    if options["average"] == "pair":
        return torch.full_like(same, len(labels) - 1).double() / 2
    return ((same > 0) & (same < len(labels) - 1)).double()


@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_loop(options: dict[str, Any]) -> None:
    for seed in range(3):
        is_its_loop(NAME, *batch(seed=seed), **options)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_mean_divides_by_pairs_or_by_rows_that_have_both_kinds(options: dict[str, Any]) -> None:
    rows, labels = batch()
    wanted = losskit.CATALOGUE[NAME].reference(rows, labels, **options).sum() / shares(options, labels).sum()
    agree(batch_contrastive_loss(rows, labels, **options), wanted)


@pytest.mark.parametrize("options", OPTIONS)
def test_masked_rows_are_not_there(options: dict[str, Any]) -> None:
    masked_rows_are_not_there(NAME, *batch(), **options)


def test_all_leading_axes_are_the_batch() -> None:
    leading_axes_are_the_batch(NAME, *batch())


@pytest.mark.parametrize("options", OPTIONS[1::2])
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str, options: dict[str, Any]) -> None:
    is_finite(NAME, *degenerate()[name], **options)


def test_it_is_the_contrastive_loss_of_all_its_pairs() -> None:
    rows, labels = batch()
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    target = (labels[first] == labels[second]).double()
    wanted = contrastive_loss(rows[first], rows[second], target)
    agree(batch_contrastive_loss(rows, labels), wanted)


@pytest.mark.parametrize("average", ["pair", "balanced"])
def test_a_collapsed_batch_costs_its_negatives(average: Any) -> None:
    rows, labels = torch.ones(6, 3, dtype=torch.float64), torch.arange(3).repeat_interleave(2)
    share = 12 / 15 if average == "pair" else 1 / 2  # of the pairs that are negatives
    assert batch_contrastive_loss(rows, labels, average=average).item() == pytest.approx(share * 0.5**2 / 2, rel=1e-12)


def test_balanced_positives_count_the_same_however_many_labels_there_are() -> None:
    found = []
    for kinds in (2, 4, 8):
        rows = torch.eye(2 * kinds, dtype=torch.float64)  # all at right angles: every positive costs 1/2, no negative costs
        labels = torch.arange(kinds).repeat_interleave(2)
        found.append([batch_contrastive_loss(rows, labels, average=a).item() for a in ("balanced", "pair")])
    assert [b for b, _ in found] == pytest.approx([1 / 4] * 3)
    assert [p for _, p in found] == pytest.approx([1 / 2 / 3, 1 / 2 / 7, 1 / 2 / 15])


@pytest.mark.parametrize("name", ["one row", "no rows"])
def test_without_pairs_it_is_a_connected_zero(name: str) -> None:
    is_a_connected_zero(NAME, *degenerate()[name])


@pytest.mark.parametrize("name", ["one class", "all distinct"])
def test_balanced_needs_both_kinds_of_pairs(name: str) -> None:
    is_a_connected_zero(NAME, *degenerate()[name], average="balanced")
    value, (gradient,) = values_and_gradients(batch_contrastive_loss, *degenerate()[name], margin=1.5)
    assert value > 0
    assert gradient.any()


def test_rows_of_zeros_are_at_right_angles_to_all_and_have_no_gradient() -> None:
    rows, labels = torch.zeros(3, 2, dtype=torch.float64), torch.tensor([0, 0, 1])
    for distance, square in (("cosine", 1.0), ("euclidean", 2.0)):
        value, (gradient,) = values_and_gradients(batch_contrastive_loss, rows, labels, distance=distance)
        assert value.item() == pytest.approx(square / 2 / 3, rel=1e-12)
        assert not gradient.any()


def test_options_out_of_range_are_refused() -> None:
    options: list[dict[str, Any]] = [{"margin": -0.1}, {"distance": "manhattan"}, {"average": "mean"}]
    for option in options:
        with pytest.raises(ValueError, match=next(iter(option))):
            batch_contrastive_loss(*batch(), **option)
    unknown: Any = "average"
    with pytest.raises(ValueError, match="must be 'none' or 'mean' or 'sum', got 'average'"):
        batch_contrastive_loss(*batch(), reduction=unknown)
