"""retrieval: how well the nearest documents of each query are the ones it was meant to find."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from ...core.call import whole_number
from ...core.check import ShapeError, at_least, choice, first_place
from ...ops.blocks import DEFAULT_MEMORY
from .figures import Tables, figures, names
from .ranks import Block, Counter, Ties, blocks
from .relevance import Relevance, must_be
from .report import RetrievalReport
from .scores import Scorer, Similarity

__all__ = ["retrieval"]

_LARGEST_POWER = 1000  # of 2, with room for a sum of many


@torch.no_grad()
def retrieval(
    queries: Tensor,
    documents: Tensor,
    relevance: Relevance,
    *,
    k: Sequence[int] = (1, 5, 10),
    similarity: Similarity = "cosine",
    exclude_self: bool | Tensor = False,
    ties: Ties = "mean",
    gain: Literal["linear", "exponential"] = "linear",
    empty: Literal["skip", "zero", "error"] = "skip",
    memory: int | None = None,
) -> RetrievalReport:
    r"""Recall, precision, MRR, MAP and NDCG of embeddings against all documents, without a matrix of scores, ties counted fairly.

    Scores are float64 products rounded to 36 bits, so that equal documents tie wherever they stand. A relevant document's rank
    comes from counting who scores higher and who scores the same; nothing is sorted and cut off.

    Shape:      queries (N, D), documents (M, D), of any floating dtype
    Args:
        relevance: which documents are right for which query: ``Relevance.labels``, ``.one``, ``.pairs`` or ``.lists``.
        k: the lengths of list to judge; may exceed M.
        similarity: "cosine" (a row of length <= 1e-12 has 0 with all), "dot", or "euclidean" (near is good).
        exclude_self: True where queries are the documents, row by row: none is to find itself. Or (N,) integers: which document
            is the query, -1 for none.
        ties: "mean": the expected value if tied documents come in random order; "pessimistic", "optimistic": relevant ones
            last, or first.
        gain: of NDCG, from the relevance's: "linear" is g, as in trec_eval, BEIR and scikit-learn; "exponential" is 2^g - 1, as
            in XGBoost and LightGBM. The same for gains of 0 and 1.
        empty: queries without a relevant document: "skip" leaves them out of all means, "zero" counts them 0, "error" raises.
        memory: bytes for scores and what is made of them, 256 MiB by default (CUDA: 1 GiB); beside it are two float64 numbers
            for each row of both and one for each figure of a query.
    Returns:    RetrievalReport
    Raises:     ShapeError; TypeError; IndexError for a document that is not there; ValueError for an option out of range, or a
                row that is not finite.
    Reference:  ties: McSherry and Najork 2008, Computing information retrieval performance measures efficiently in the presence
                of tied scores; map@r: Musgrave et al. 2020, arXiv:2003.08505
    Example:
        >>> x = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
        >>> y = torch.tensor([0, 0, 1, 1])
        >>> losskit.evaluate.retrieval(x, x, losskit.evaluate.Relevance.labels(y, y), exclude_self=True)["map"]
        1.0
    """
    choice("similarity", similarity, ("cosine", "dot", "euclidean"))
    choice("ties", ties, ("mean", "pessimistic", "optimistic"))
    choice("gain", gain, ("linear", "exponential"))
    choice("empty", empty, ("skip", "zero", "error"))
    cuts = _cuts(k)
    _check_rows(queries, documents)
    must_be("relevance", relevance, Relevance, "make it by Relevance.labels, .one, .pairs or .lists")
    relevance.check(len(queries), len(documents))
    if gain == "exponential" and relevance.gain is not None and bool((relevance.gain > _LARGEST_POWER).any()):
        raise ValueError(f'"gain" is "exponential" and one is above {_LARGEST_POWER}, expected less: 2 to that power is no float')
    device = torch.device("cpu") if queries.device.type == "mps" else queries.device  # mps has no float64
    budget = memory if memory is not None else DEFAULT_MEMORY if device.type == "cpu" else 4 * DEFAULT_MEMORY
    whole_number("memory", budget)
    at_least("memory", budget, 1)
    counter = Counter(Scorer(queries.detach().to(device), documents.detach().to(device), similarity), budget)
    todo = blocks(relevance.to(device), _own(exclude_self, len(queries), len(documents), device), counter.rows, budget // 4)
    found = _judged(counter, todo, cuts, ties, gain == "exponential")
    report = RetrievalReport(*found, len(documents), similarity, gain, ties, empty)
    if empty == "error" and report.without_relevant:
        at = int((report.relevant == 0).nonzero()[0])
        raise ValueError(
            f'"relevance" names no document for query {at}, one of {report.without_relevant}: leave them out, or empty="skip"'
        )
    return report


def _judged(
    counter: Counter, todo: Iterable[Block], k: tuple[int, ...], ties: Ties, exponential: bool
) -> tuple[dict[str, Tensor], Tensor, Tensor, Tensor]:
    """The report's columns: figures, first ranks, numbers of relevant documents, and whether ties decide."""
    queries, documents = counter.scorer.queries.rows, counter.scorer.documents.rows
    tables = Tables.of(len(documents), k, counter.memory, documents.device)
    columns = {name: torch.full_like(queries[:, 0], torch.nan, dtype=torch.float64) for name in (*names(k), "first_rank")}
    relevant = torch.zeros_like(queries[:, 0], dtype=torch.int64)
    tied = torch.zeros_like(relevant, dtype=torch.bool)
    for block in todo:
        ranks = counter.ranks(block)
        relevant[block.query] = ranks.relevant
        tied[block.query] = (ranks.holds & (ranks.tied > ranks.relevant_tied)).any(1)
        found = figures(ranks.broken(ties), k, tables, exponential=exponential)
        some = ranks.relevant > 0  # a query may have been its own only relevant document
        for name, column in columns.items():
            column[block.query] = torch.where(some, found[name], torch.nan)
    first = columns.pop("first_rank")
    return columns, first, relevant, tied


def _cuts(k: object) -> tuple[int, ...]:
    if isinstance(k, str) or not isinstance(k, Iterable):
        raise TypeError(f'"k" must be a sequence of ints, got {type(k).__name__}: k=(1, 5, 10)')
    cuts: tuple[Any, ...] = tuple(k)
    for each in cuts:
        whole_number("k", each)
        at_least("k", each, 1)
    if len({*cuts}) < len(cuts):
        raise ValueError(f'"k" is {cuts!r}, expected each length once')
    return cuts


def _check_rows(queries: Tensor, documents: Tensor) -> None:
    for name, rows in (("queries", queries), ("documents", documents)):
        must_be(name, rows, Tensor, "use torch.as_tensor")
        if rows.layout != torch.strided:
            raise TypeError(f'"{name}" has layout {rows.layout}, expected a dense tensor: use {name}.to_dense()')
        if not rows.is_floating_point():
            raise TypeError(f'"{name}" must be floating point, got {rows.dtype}')
        if rows.ndim != 2 or not rows.shape[1]:
            raise ShapeError(f'"{name}" has shape {tuple(rows.shape)}, expected (rows, D) with D >= 1')
    if queries.shape[1] != documents.shape[1]:
        raise ShapeError(
            f'"documents" has shape {tuple(documents.shape)}, expected (M, {queries.shape[1]}) to fit "queries" '
            f"{tuple(queries.shape)}: embeddings of one space"
        )
    if queries.device != documents.device:
        raise ValueError(f'"documents" is on {documents.device}, expected {queries.device} as "queries"')


def _own(exclude_self: bool | Tensor, queries: int, documents: int, device: torch.device) -> Tensor | None:
    """(N,): the document that is each query, -1 for none; None if no query is a document."""
    if isinstance(exclude_self, bool):
        if exclude_self and queries != documents:
            raise ShapeError(
                f'"queries" has {queries} rows and "documents" {documents}, expected as many for exclude_self=True: '
                "give the document of each query, -1 for none"
            )
        return torch.arange(queries, device=device) if exclude_self else None
    must_be("exclude_self", exclude_self, Tensor, "which document each query is, or True or False")
    if exclude_self.dtype not in (torch.int64, torch.int32) or exclude_self.shape != (queries,):
        raise ShapeError(
            f'"exclude_self" is {exclude_self.dtype} of shape {tuple(exclude_self.shape)}, expected int64 of shape ({queries},): '
            "which document each query is, -1 for none"
        )
    wrong = (exclude_self < -1) | (exclude_self >= documents)
    if bool(wrong.any()):
        at, place = first_place(wrong)
        raise IndexError(f'"exclude_self" is {int(exclude_self[at])}{place}, expected a document in [0, {documents}), or -1')
    return exclude_self.to(device).long()
