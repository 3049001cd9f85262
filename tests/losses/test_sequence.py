"""shift_targets and count_valid: the next token, and how many of them count."""

from __future__ import annotations

import pytest
import torch

import losskit


def by_hand(labels: list[int], document: list[int] | None) -> list[int]:
    """The next label, or -100 at the end of the row and of every document."""
    found: list[int] = []
    for t in range(len(labels)):
        last = t + 1 == len(labels) or (document is not None and document[t] != document[t + 1])
        found.append(-100 if last else labels[t + 1])
    return found


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("length", [0, 1, 2, 9])
def test_each_position_gets_its_successor(length: int, packed: bool) -> None:
    generator = torch.Generator().manual_seed(length)
    labels = torch.randint(50, (3, length), generator=generator)
    document = (torch.rand(3, length, generator=generator) < 0.4).cumsum(-1) if packed else None
    wanted = [by_hand(labels[i].tolist(), None if document is None else document[i].tolist()) for i in range(3)]
    assert losskit.shift_targets(labels, document=document).tolist() == wanted


def test_ignored_labels_stay_ignored_and_the_labels_are_left_alone() -> None:
    labels = torch.tensor([[-100, 4, -100, 6]], dtype=torch.int32)
    assert losskit.shift_targets(labels).tolist() == [[4, -100, 6, -100]]
    assert labels.tolist() == [[-100, 4, -100, 6]]


def test_no_document_predicts_the_beginning_of_the_next() -> None:
    position = torch.tensor([0, 1, 2, 0, 1])
    target = losskit.shift_targets(torch.arange(5), document=(position == 0).cumsum(-1))
    assert target.tolist() == [1, 2, -100, 4, -100]


def test_count_is_what_a_mean_divides_by() -> None:
    target = torch.tensor([[1, -100, 2], [3, 4, -100]])
    parts = losskit.parts(losskit.cross_entropy, torch.zeros(2, 3, 5), target)
    assert losskit.count_valid(target).item() == parts.weight.item() == 4
    assert losskit.count_valid(target, ignore_index=4).item() == 5


def test_what_is_wrong_is_named() -> None:
    with pytest.raises(TypeError, match='"labels" has dtype'):
        losskit.shift_targets(torch.zeros(3))
    with pytest.raises(losskit.ShapeError, match='"document" has shape'):
        losskit.shift_targets(torch.zeros(2, 3).long(), document=torch.zeros(2, 4).long())
    with pytest.raises(TypeError, match='"ignore_index" must be an int'):
        losskit.count_valid(torch.zeros(3).long(), ignore_index=1.0)
