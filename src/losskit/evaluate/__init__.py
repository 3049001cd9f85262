"""Honest evaluation: perplexity of language models, calibration of classifiers, retrieval by embeddings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .model import Head as Head
    from .model import ModelError as ModelError
    from .paired import Comparison as Comparison
    from .paired import compare as compare
    from .plan import Plan as Plan
    from .plan import Window as Window
    from .records import DocumentScore as DocumentScore
    from .report import PerplexityReport as PerplexityReport
    from .report import read_report as read_report
    from .retrieving.relevance import Relevance as Relevance
    from .retrieving.report import RetrievalReport as RetrievalReport
    from .retrieving.run import retrieval as retrieval
    from .run import perplexity as perplexity
    from .running.journal import JournalError as JournalError
    from .score import NonFiniteError as NonFiniteError
    from .side_by_side import Reading as Reading
    from .side_by_side import protocols as protocols
    from .summary import Figures as Figures
    from .text.documents import DataError as DataError
    from .text.documents import Document as Document
    from .text.documents import read_documents as read_documents
    from .token_view import TokenScore as TokenScore
    from .token_view import score_tokens as score_tokens

# where each public name lives: a loss must not wait for the evaluator's imports
_HOMES = {
    "text.documents": ("DataError", "Document", "read_documents"),
    "running.journal": ("JournalError",),
    "model": ("Head", "ModelError"),
    "paired": ("Comparison", "compare"),
    "plan": ("Plan", "Window"),
    "side_by_side": ("Reading", "protocols"),
    "records": ("DocumentScore",),
    "report": ("PerplexityReport", "read_report"),
    "retrieving.relevance": ("Relevance",),
    "retrieving.report": ("RetrievalReport",),
    "retrieving.run": ("retrieval",),
    "run": ("perplexity",),
    "score": ("NonFiniteError",),
    "summary": ("Figures",),
    "token_view": ("TokenScore", "score_tokens"),
}
__all__ = [
    "Comparison",
    "DataError",
    "Document",
    "DocumentScore",
    "Figures",
    "Head",
    "JournalError",
    "ModelError",
    "NonFiniteError",
    "PerplexityReport",
    "Plan",
    "Reading",
    "Relevance",
    "RetrievalReport",
    "TokenScore",
    "Window",
    "compare",
    "perplexity",
    "protocols",
    "read_documents",
    "read_report",
    "retrieval",
    "score_tokens",
]


def __getattr__(name: str) -> Any:
    """Load the file of a name when it is asked for."""
    for home, names in _HOMES.items():
        if name in names:
            found = getattr(import_module(f"{__name__}.{home}"), name)
            globals()[name] = found
            return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
