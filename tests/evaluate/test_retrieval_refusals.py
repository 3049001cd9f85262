"""Retrieval: what is refused, and the sentence that says so; and the ways to say what is relevant."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from losskit import ShapeError
from losskit.evaluate import Relevance, retrieval

X = torch.eye(4)
RIGHT = Relevance.one(torch.arange(4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_row_that_is_not_finite_is_named(value: float) -> None:
    bad = X.clone()
    bad[2, 1] = value
    word = "nan" if value != value else "inf"
    with pytest.raises(ValueError, match=f'"queries" has row 2 that is {word}, expected finite numbers'):
        retrieval(bad, X, RIGHT)
    with pytest.raises(ValueError, match=f'"documents" has row 2 that is {word}'):
        retrieval(X, bad, RIGHT)
    with pytest.raises(ValueError, match='"documents" has row 0 that is longer than 1e\\+150'):
        retrieval(X.double(), X.double() * 1e200, RIGHT)


@pytest.mark.parametrize(
    ("error", "words", "arguments", "options"),
    [
        (ShapeError, r'"queries" has shape \(4,\), expected \(rows, D\)', (torch.zeros(4), X, RIGHT), {}),
        (ShapeError, r'"documents" has shape \(4, 3\), expected \(M, 4\)', (X, X[:, :3], RIGHT), {}),
        (TypeError, '"documents" must be floating point, got torch.int64', (X, X.long(), RIGHT), {}),
        (ShapeError, '"relevance" is of 4 queries, expected 3', (X[:3], X, RIGHT), {}),
        (IndexError, '"relevance" names document 3 at index 3, expected an index in', (X, X[:3], RIGHT), {}),
        (TypeError, '"queries" must be a Tensor, got ndarray', (X.numpy(), X, RIGHT), {}),
        (TypeError, '"documents" must be a Tensor, got list', (X, X.tolist(), RIGHT), {}),
        (TypeError, '"relevance" must be a Relevance, got Tensor: make it by Relevance.labels', (X, X, torch.arange(4)), {}),
        (
            TypeError,
            '"exclude_self" must be a Tensor, got str: which document each query is, or True',
            (X, X, RIGHT),
            {"exclude_self": "yes"},
        ),
        (TypeError, '"k" must be a sequence of ints, got int', (X, X, RIGHT), {"k": 5}),
        (TypeError, '"k" must be a sequence of ints, got str', (X, X, RIGHT), {"k": "5"}),
        (TypeError, '"memory" must be an int, got float', (X, X, RIGHT), {"memory": 1e6}),
        (ShapeError, "labels of 2 documents, expected 4", (X, X, Relevance.labels(torch.arange(4), torch.arange(2))), {}),
        (ShapeError, "expected as many for exclude_self=True", (X, X.repeat(2, 1), RIGHT), {"exclude_self": True}),
        (ShapeError, '"exclude_self" is torch.bool', (X, X, RIGHT), {"exclude_self": torch.ones(4, dtype=torch.bool)}),
        (IndexError, '"exclude_self" is 4 at index 0', (X, X, RIGHT), {"exclude_self": torch.tensor([4, 0, 0, 0])}),
        (ValueError, '"k" must be >= 1, got 0', (X, X, RIGHT), {"k": (0,)}),
        (TypeError, '"k" must be an int, got float', (X, X, RIGHT), {"k": (1.0,)}),
        (ValueError, "expected each length once", (X, X, RIGHT), {"k": (1, 1)}),
        (ValueError, "\"similarity\" must be 'cosine'", (X, X, RIGHT), {"similarity": "l2"}),
        (ValueError, "\"ties\" must be 'mean'", (X, X, RIGHT), {"ties": "first"}),
        (ValueError, "\"gain\" must be 'linear'", (X, X, RIGHT), {"gain": "log"}),
        (ValueError, "\"empty\" must be 'skip'", (X, X, RIGHT), {"empty": "neg"}),
        (ValueError, '"memory" must be >= 1', (X, X, RIGHT), {"memory": 0}),
        (ValueError, "2 to that power", (X, X, Relevance.lists([[0]] * 4, [[2e3]] * 4)), {"gain": "exponential"}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(error: type[Exception], words: str, arguments: Any, options: Any) -> None:
    with pytest.raises(error, match=words):
        retrieval(*arguments, **options)


def test_pairs_that_make_no_sense_are_refused() -> None:
    query, document = torch.tensor([0, 1]), torch.tensor([3, 3])
    with pytest.raises(IndexError, match=r'"query" is 1 at index 1, expected an index in \[0, 1\)'):
        Relevance.pairs(query, document, queries=1)
    with pytest.raises(IndexError, match='"document" is -1 at index 0'):
        Relevance.pairs(query, -document + 2, queries=2)
    with pytest.raises(ValueError, match='"document" is 3 twice for query 1, expected each pair once'):
        Relevance.pairs(torch.tensor([1, 0, 1]), torch.tensor([3, 3, 3]), queries=2)
    with pytest.raises(ShapeError, match=r'"document" has shape \(1,\), expected \(2,\)'):
        Relevance.pairs(query, document[:1], queries=2)
    for gain in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f'"gain" is {gain!r} at index 1, expected a finite number >= 0'):
            Relevance.pairs(query, document, torch.tensor([1.0, gain]), queries=2)
    with pytest.raises(TypeError, match='"document" must be integers, got'):
        Relevance.one(torch.zeros(3))
    with pytest.raises(ShapeError, match='"document" has shape'):
        Relevance.one(torch.zeros(3, 1, dtype=torch.long))
    with pytest.raises(IndexError, match='"document" is -2 at index 0'):
        Relevance.one(torch.tensor([-2]))
    with pytest.raises(ShapeError, match='"gains" has other lengths'):
        Relevance.lists([[0, 1]], [[1.0]])
    listed: Any = [1]
    with pytest.raises(TypeError, match='"query_labels" must be a Tensor, got list'):
        Relevance.labels(listed, document)
    with pytest.raises(TypeError, match='"gain" must be a Tensor, got list'):
        Relevance.pairs(query, document, listed, queries=2)
    with pytest.raises(TypeError, match='"gain" must be real numbers, got torch'):
        Relevance.pairs(query, document, torch.tensor([1j, 1]), queries=2)
    for wrong in (1.5, "a", None, [0]):
        with pytest.raises(TypeError, match=f'"documents" has {wrong!r} for query 1, expected an index'.replace("[", r"\[")):
            Relevance.lists([[0], [0, wrong]])  # type: ignore[list-item]  # what a caller may do
    with pytest.raises(TypeError, match='"documents" has 7 for query 0, expected a list of indices'):
        Relevance.lists([7])  # type: ignore[list-item]  # what a caller may do


def test_lists_take_integers_of_any_make() -> None:
    given: Any = [range(2), torch.tensor([3]), {1}, X.numpy().argmax(1)[2:3], []]
    assert Relevance.lists(given).document.tolist() == [0, 1, 3, 1, 2]


def test_every_way_to_say_the_same_gives_the_same() -> None:
    x, generator = torch.randn(6, 3), torch.Generator().manual_seed(0)
    y = torch.tensor([5, 5, -2, 7, -2, 5])
    named = [[d for d in range(6) if y[d] == y[q]] for q in range(6)]
    query = torch.tensor([q for q in range(6) for _ in named[q]])
    document = torch.tensor([d for row in named for d in row])
    order = torch.randperm(len(query), generator=generator)
    ways = (
        Relevance.labels(y, y),
        Relevance.lists(named),
        Relevance.pairs(query[order], document[order], queries=6),
        Relevance.pairs(query[order], document[order], torch.full((len(order),), 2), queries=6),
        Relevance.lists([*named[:5], [*named[5], 3]], [[1.0] * len(row) for row in named[:5]] + [[1.0] * len(named[5]) + [0.0]]),
    )
    reports = [retrieval(x, x, way, exclude_self=True) for way in ways]
    for way, report in zip(ways, reports, strict=True):
        assert len(way) == 6
        assert int(way.count.sum()) == 14
        assert str(report) == str(reports[0])


def test_a_query_whose_right_document_is_missing_has_none() -> None:
    report = retrieval(X, X, Relevance.one(torch.tensor([0, -1, 2, 3])))
    assert report.relevant.tolist() == [1, 0, 1, 1]
    assert report["hit_rate@1"] == 1.0


def test_no_right_document_at_all_needs_no_document() -> None:
    report = retrieval(X, X[:0], Relevance.one(torch.full((4,), -1)))
    assert report.without_relevant == 4
    assert report.documents == 0
