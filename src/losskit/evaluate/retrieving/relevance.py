"""Which documents are relevant to which query, as ranges of one list, so that labels of 65,536 rows need no pair of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import index
from typing import Any

import torch
from torch import Tensor

from ...core.call import whole_number
from ...core.check import ShapeError, at_least, first_place

__all__ = ["Relevance", "must_be"]


@dataclass(frozen=True, eq=False, repr=False)
class Relevance:
    """The relevant documents of each query: made by ``labels``, ``one``, ``pairs`` or ``lists``.

    Query i owns ``document[start[i] : start[i] + count[i]]`` and the gains there.

    Example:
        >>> Relevance.lists([[0, 2], [], [1]])
        Relevance(queries=3, pairs=3)
    """

    document: Tensor
    """(P,) int64"""
    start: Tensor
    """(N,) int64"""
    count: Tensor
    """(N,) int64; 0 for a query without a relevant document"""
    gain: Tensor | None = None
    """(P,) float64, above 0; None where all are 1"""
    documents: int | None = None
    """How many documents there are, where that is known."""

    def __len__(self) -> int:
        return len(self.start)

    def __repr__(self) -> str:
        return f"Relevance(queries={len(self)}, pairs={int(self.count.sum())})"

    @staticmethod
    def labels(query_labels: Tensor, document_labels: Tensor) -> Relevance:
        """A document is relevant if it has the query's label; any integers, the pairs are never written down.

        Shape:      (N,), (M,)
        Raises:     TypeError; ShapeError.
        """
        mine, theirs = _integers("query_labels", query_labels), _integers("document_labels", document_labels)
        ordered, document = theirs.sort(stable=True)
        start = torch.searchsorted(ordered, mine)
        count = torch.searchsorted(ordered, mine, right=True) - start
        return Relevance(document, start, count, documents=len(theirs))

    @staticmethod
    def one(document: Tensor) -> Relevance:
        """Query i has one right document, ``document[i]``; none where that is -1.

        Shape:      (N,)
        Raises:     TypeError; ShapeError; IndexError for an index below -1.
        """
        index = _integers("document", document)
        _refuse("document", index, index < -1, "an index >= 0, or -1 where there is none")
        count = (index >= 0).long()
        return Relevance(index[index >= 0], count.cumsum(0) - count, count)

    @staticmethod
    def pairs(query: Tensor, document: Tensor, gain: Tensor | None = None, *, queries: int) -> Relevance:
        """``document[p]`` is relevant to ``query[p]``, in any order; queries that are not named have none.

        Shape:      all (P,)
        Args:
            gain: how relevant, a finite number; 0 says judged, and not relevant.
            queries: how many queries there are.
        Raises:     TypeError; ShapeError; IndexError for a query outside of [0, queries) or a document below 0; ValueError for a
                    gain that is negative or no number, or a pair that comes twice.
        """
        whole_number("queries", queries)
        at_least("queries", queries, 0)
        query, document = _integers("query", query), _integers("document", document)
        _fits("document", document, "query", query)
        _refuse("query", query, (query < 0) | (query >= queries), f"an index in [0, {queries})")
        _refuse("document", document, document < 0, "an index >= 0")
        if gain is not None:
            must_be("gain", gain, Tensor, "use torch.as_tensor")
            if gain.is_complex():
                raise TypeError(f'"gain" must be real numbers, got {gain.dtype}')
            _fits("gain", gain, "query", query)
            gain = gain.detach().to(document.device, torch.float64)
            wrong = ~(gain >= 0) | gain.isinf()
            if bool(wrong.any()):
                at, place = first_place(wrong)
                raise ValueError(f'"gain" is {float(gain[at])!r}{place}, expected a finite number >= 0')
        order = document.argsort(stable=True)
        order = order[query[order].argsort(stable=True)]
        twice = (query[order].diff() == 0) & (document[order].diff() == 0)
        if bool(twice.any()):
            pair = order[twice.nonzero()[0]]
            raise ValueError(f'"document" is {int(document[pair])} twice for query {int(query[pair])}, expected each pair once')
        if gain is not None:
            order = order[gain[order] > 0]
            gain = gain[order]
        count = torch.bincount(query[order], minlength=queries)
        return Relevance(document[order], count.cumsum(0) - count, count, gain)

    @staticmethod
    def lists(documents: Sequence[Sequence[int]], gains: Sequence[Sequence[float]] | None = None) -> Relevance:
        """The relevant documents of each query, as lists; an empty list for none.

        Raises:     ShapeError where gains are not one for each document; and as ``pairs``.
        """
        documents = [_indices(row, i) for i, row in enumerate(documents)]
        if gains is not None and [len(g) for g in gains] != [len(d) for d in documents]:
            raise ShapeError('"gains" has other lengths than "documents", expected one gain for each document of each query')
        query = torch.tensor([i for i, row in enumerate(documents) for _ in row], dtype=torch.int64)
        document = torch.tensor([d for row in documents for d in row], dtype=torch.int64)
        gain = None if gains is None else torch.tensor([g for row in gains for g in row], dtype=torch.float64)
        return Relevance.pairs(query, document, gain, queries=len(documents))

    def to(self, device: torch.device | str) -> Relevance:
        """The same on another device."""
        gain = None if self.gain is None else self.gain.to(device)
        return Relevance(self.document.to(device), self.start.to(device), self.count.to(device), gain, self.documents)

    def check(self, queries: int, documents: int) -> None:
        """Raise unless it speaks of so many queries and documents.

        Raises:     ShapeError; IndexError for a document that is not there.
        """
        if len(self) != queries:
            raise ShapeError(f'"relevance" is of {len(self)} queries, expected {queries}: one for each row of "queries"')
        if self.documents is not None and self.documents != documents:
            raise ShapeError(
                f'"relevance" has labels of {self.documents} documents, expected {documents}: one for each row of "documents"'
            )
        wrong = self.document >= documents
        if bool(wrong.any()):
            at, place = first_place(wrong)
            raise IndexError(f'"relevance" names document {int(self.document[at])}{place}, expected an index in [0, {documents})')


def _indices(row: object, query: int) -> list[int]:
    """Documents as ints: those of numpy and 0-d tensors are, 1.5 is not."""
    if not isinstance(row, Iterable):
        raise TypeError(f'"documents" has {row!r} for query {query}, expected a list of indices')
    given: list[Any] = [*row]
    if wrong := [each for each in given if not hasattr(each, "__index__")]:
        raise TypeError(f'"documents" has {wrong[0]!r} for query {query}, expected an index of a document')
    return [index(each) for each in given]


def must_be(name: str, value: object, kind: type, remedy: str) -> None:
    """Raise unless ``value`` is of this kind."""
    if not isinstance(value, kind):
        raise TypeError(f'"{name}" must be a {kind.__name__}, got {type(value).__name__}: {remedy}')


def _integers(name: str, value: Tensor) -> Tensor:
    must_be(name, value, Tensor, "use torch.as_tensor")
    if value.is_floating_point() or value.is_complex() or value.dtype == torch.bool:
        raise TypeError(f'"{name}" must be integers, got {value.dtype}')
    if value.ndim != 1:
        raise ShapeError(f'"{name}" has shape {tuple(value.shape)}, expected one axis: flatten it')
    return value.detach().long()


def _fits(name: str, value: Tensor, other: str, wanted: Tensor) -> None:
    if value.shape != wanted.shape:
        raise ShapeError(
            f'"{name}" has shape {tuple(value.shape)}, expected {tuple(wanted.shape)} to fit "{other}": one for each pair'
        )


def _refuse(name: str, index: Tensor, wrong: Tensor, expected: str) -> None:
    if bool(wrong.any()):
        at, place = first_place(wrong)
        raise IndexError(f'"{name}" is {int(index[at])}{place}, expected {expected}')
