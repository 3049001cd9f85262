"""Masks from lengths and from the label of padding."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from losskit.losses.masks import mask_from_lengths, mask_from_sentinel, offsets_from_lengths

LENGTHS = torch.tensor([2, 0, 3])


def test_a_length_is_so_many_true_from_the_left() -> None:
    assert mask_from_lengths(LENGTHS).tolist() == [[True, True, False], [False] * 3, [True] * 3]
    assert mask_from_lengths(LENGTHS, size=4).sum(-1).tolist() == LENGTHS.tolist()
    assert mask_from_lengths(LENGTHS[:0]).shape == (0, 0)
    assert mask_from_lengths(LENGTHS.reshape(1, 3)).shape == (1, 3, 3)


def test_a_mask_of_a_known_size_compiles_as_one_graph() -> None:
    torch.compiler.reset()
    compiled = torch.compile(lambda lengths: mask_from_lengths(lengths, size=4), fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(LENGTHS), mask_from_lengths(LENGTHS, size=4))


def test_a_label_of_padding_is_no_item() -> None:
    relevance = torch.tensor([[1.0, -1.0], [math.nan, 0.0]])
    assert mask_from_sentinel(relevance).tolist() == [[True, False], [True, True]]
    assert mask_from_sentinel(relevance, sentinel=math.nan).tolist() == [[True, True], [False, True]]
    assert mask_from_sentinel(torch.tensor([[3, 0]]), sentinel=0).tolist() == [[True, False]]


def test_offsets_are_the_sums_of_the_lengths() -> None:
    assert offsets_from_lengths(LENGTHS).tolist() == [0, 2, 2, 5]
    assert offsets_from_lengths(LENGTHS[:0]).tolist() == [0]


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda: mask_from_lengths(torch.tensor([-1])), ValueError, '"lengths" is -1 at index 0'),
        (lambda: offsets_from_lengths(torch.tensor([2, -1])), ValueError, '"lengths" is -1 at index 1'),
        (lambda: offsets_from_lengths(torch.ones(2, 2, dtype=torch.long)), ValueError, "has shape"),
        (lambda: mask_from_lengths(torch.tensor([5]), size=3), ValueError, "holds 5, expected at most"),
        (lambda: mask_from_lengths(torch.tensor([1.0])), TypeError, "expected integers"),
        (lambda: mask_from_lengths(LENGTHS, size=-1), ValueError, '"size" must be >= 0'),
        (lambda: mask_from_sentinel(torch.zeros(2), sentinel=True), TypeError, '"sentinel" must be a number'),
    ],
)
def test_what_is_no_length_is_refused(call: Callable[[], object], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        call()
