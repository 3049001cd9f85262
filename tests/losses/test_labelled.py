"""A labelled batch as pairs: labels are any integers, of which only equality counts."""

from __future__ import annotations

import pytest
import torch

import losskit
from labelled_batches import agree, batch, values_and_gradients

LOWEST = torch.iinfo(torch.int64).min  # what a label of NaN becomes when it is made an integer
LOSSES = ("batch_contrastive_loss", "circle_loss", "lifted_structure_loss", "multi_similarity_loss")


@pytest.mark.parametrize("label", [LOWEST, LOWEST + 1, LOWEST + 2, -LOWEST - 1, -1])
@pytest.mark.parametrize("name", LOSSES)
def test_the_lowest_integer_is_a_label_like_any_other(name: str, label: int) -> None:
    rows, labels = batch()
    other = torch.where(labels == 3, label, labels)
    found, expected = (values_and_gradients(getattr(losskit, name), rows, y) for y in (other, labels))
    agree(found, expected)


@pytest.mark.parametrize("name", LOSSES)
def test_a_masked_row_is_not_of_the_lowest_label(name: str) -> None:
    rows, labels = batch()
    mask = torch.arange(len(rows)) % 4 != 0
    other = torch.where(labels == 3, LOWEST, labels)
    whole = getattr(losskit, name)(rows, other, mask=mask)
    torch.testing.assert_close(whole, getattr(losskit, name)(rows[mask], labels[mask]))
