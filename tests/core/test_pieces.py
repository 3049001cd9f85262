"""Batches in pieces: of the same make, fresh, and with everything that has rows cut at the same places."""

from __future__ import annotations

from collections import OrderedDict, namedtuple
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
import torch

from harness import refused
from losskit.core.check import ShapeError
from losskit.core.pieces import count_rows, leaves, pieces

CUTS = [slice(0, 2), slice(2, 3)]
X = torch.arange(6.0).reshape(3, 2)
SCALE = torch.tensor(2.0)
Point = namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("batch", "first"),
    [
        (X, X[:2]),
        (np.arange(3), np.arange(2)),
        (["a", "b", "c"], ["a", "b"]),
        ([[1], [2, 3], []], [[1], [2, 3]]),
        ([{"ids": [1]}, {"ids": []}, {"ids": [2]}], [{"ids": [1]}, {"ids": []}]),
        ((X, "name", None), (X[:2], "name", None)),
        ([X, [X]], [X[:2], [X[:2]]]),
        ({"x": X, "texts": ["a", "b", "c"], "by": SCALE}, {"x": X[:2], "texts": ["a", "b"], "by": SCALE}),
        (OrderedDict(x=X), OrderedDict(x=X[:2])),
        (MappingProxyType({"x": X}), {"x": X[:2]}),
        (Point(X, 1), Point(X[:2], 1)),
    ],
)
def test_a_piece_is_of_the_make_of_its_batch(batch: Any, first: Any) -> None:
    assert count_rows(batch, "batch") == 3
    found = pieces(batch, CUTS)
    assert len(found) == 2
    assert type(found[0]) is type(first)
    assert repr(found[0]) == repr(first)
    assert repr(found[1]) != repr(first)


def test_pieces_share_memory_but_no_container() -> None:
    batch = {"x": X, "inner": {"y": X}}
    (piece, _) = pieces(batch, CUTS)
    assert piece["x"].data_ptr() == X.data_ptr()
    piece.pop("x")
    piece["inner"].pop("y")
    assert batch["x"] is X
    assert list(leaves(batch, "b")) == [("b['x']", X), ("b['inner']['y']", X)]


def test_rows_that_differ_or_are_missing_are_named() -> None:
    assert refused(ShapeError, lambda: count_rows((X, X[:1]), "b")).startswith('"b[1]" has 1 rows, expected 3 like "b[0]"')
    assert refused(ValueError, lambda: count_rows(X[:0], "b")) == '"b" has no rows, expected at least one: skip the step'
    assert '"b" is a str without a tensor' in refused(TypeError, lambda: count_rows("text", "b"))
    assert '"b" is a list without a tensor' in refused(TypeError, lambda: count_rows([], "b"))
