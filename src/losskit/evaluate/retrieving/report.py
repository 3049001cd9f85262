"""What a retrieval run says: every figure with its interval, query by query where that is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from ...core.check import choice
from ..intervals import Estimate, bootstrap, ratio

__all__ = ["RetrievalReport"]


@dataclass(frozen=True, eq=False, repr=False)
class RetrievalReport:
    """Figures of queries against documents: ``report["recall@10"]`` is one, ``print(report)`` shows all of them."""

    per_query: Mapping[str, Tensor]
    """(N,) float64 for each figure; NaN for a query without a relevant document."""
    first_rank: Tensor
    """(N,) float64: the expected rank of the first relevant document, from 1; NaN where there is none."""
    relevant: Tensor
    """(N,) int64: how many relevant documents each query has."""
    tied: Tensor
    """(N,) bool: a relevant document has the score of another one that is not; ``ties`` decides."""
    documents: int
    similarity: str
    gain: str
    ties: str
    empty: str

    def __getitem__(self, name: str) -> float:
        """The mean over queries; NaN where no query counts."""
        return self.interval(name).value

    def __repr__(self) -> str:
        few = ", ".join(f"{name}={self[name]:.4g}" for name in self.per_query if "@" not in name)
        return f"RetrievalReport(queries={len(self.relevant)}, documents={self.documents}, {few})"

    @property
    def without_relevant(self) -> int:
        """Queries without a relevant document."""
        return int((self.relevant == 0).sum())

    def values(self, name: str) -> Tensor:
        """The figure of each query that counts, in their order: what a mean, a bootstrap or a paired test is made of.

        Raises:     KeyError for a figure that is not there.
        """
        if name not in self.per_query:
            raise KeyError(f"no figure {name!r}, expected one of {', '.join(self.per_query)}")
        column = self.per_query[name]
        return column[self.relevant > 0] if self.empty != "zero" else torch.where(self.relevant > 0, column, 0)

    def interval(
        self, name: str, *, level: float = 0.95, method: Literal["t", "bootstrap"] = "t", resamples: int = 2000, seed: int = 0
    ) -> Estimate:
        """How far the mean would move on other queries of the same kind, the documents staying as they are.

        Args:
            method: "t": the mean and Student's t; "bootstrap": queries drawn with replacement, which few queries or figures
                near 0 or 1 deserve.
        Raises:     KeyError for a figure that is not there.
        """
        choice("method", method, ("t", "bootstrap"))
        values = self.values(name)
        ones = torch.ones_like(values)
        if method == "t":
            return ratio(values, ones, level=level)
        return bootstrap(values, ones, level=level, resamples=resamples, seed=seed)

    def merge(self, *others: RetrievalReport) -> RetrievalReport:
        """The report of all queries, from those of parts of them against the same documents.

        Raises:     ValueError for reports of other documents or options.
        """
        reports = (self, *others)
        for name in (field.name for field in fields(self) if field.type in ("int", "str")):
            if len(found := {getattr(report, name) for report in reports}) > 1:
                raise ValueError(f'"{name}" is {" and ".join(map(repr, sorted(found)))}, expected the same in all reports')
        if any(list(report.per_query) != list(self.per_query) for report in others):
            raise ValueError('"k" differs between the reports, expected the same figures in all')
        columns = {name: torch.cat([report.per_query[name] for report in reports]) for name in self.per_query}
        first, relevant, tied = (
            torch.cat([getattr(report, name) for report in reports]) for name in ("first_rank", "relevant", "tied")
        )
        return RetrievalReport(
            columns, first, relevant, tied, self.documents, self.similarity, self.gain, self.ties, self.empty
        )  # fmt: skip

    def __str__(self) -> str:
        queries, left = len(self.relevant), self.without_relevant
        what = "count 0" if self.empty == "zero" else "left out"
        lines = [f"{queries:,} queries, {left:,} of them without a relevant document ({what}); {self.documents:,} documents"]
        lines += [
            f"similarity {self.similarity}, gain {self.gain}, ties {self.ties}: they decide in {int(self.tied.sum()):,} queries"
        ]
        for name in self.per_query:
            found = self.interval(name)
            bounds = "" if found.low is None or found.high is None else f"   {found.low:.4f} to {found.high:.4f}"
            lines.append(f"{name:>16}{found.value:>9.4f}{bounds}")
        return "\n".join(lines)
