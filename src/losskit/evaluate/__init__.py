"""Honest evaluation: perplexity of language models, calibration of classifiers, retrieval by embeddings, ranked lists."""

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
    from .ranked.binary_stream import BinaryRanking as BinaryRanking
    from .ranked.graded import arp as arp
    from .ranked.graded import dcg as dcg
    from .ranked.graded import ndcg as ndcg
    from .ranked.pairs_in_order import auc as auc
    from .ranked.pairs_in_order import concordance as concordance
    from .ranked.pairs_in_order import kendall_tau as kendall_tau
    from .ranked.stream import RankingMetrics as RankingMetrics
    from .ranked.yes_no import average_precision as average_precision
    from .ranked.yes_no import hit_rate as hit_rate
    from .ranked.yes_no import mrr as mrr
    from .ranked.yes_no import precision as precision
    from .ranked.yes_no import recall as recall
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
    "ranked.binary_stream": ("BinaryRanking",),
    "ranked.graded": ("arp", "dcg", "ndcg"),
    "ranked.pairs_in_order": ("auc", "concordance", "kendall_tau"),
    "ranked.stream": ("RankingMetrics",),
    "ranked.yes_no": ("average_precision", "hit_rate", "mrr", "precision", "recall"),
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
    "BinaryRanking",
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
    "RankingMetrics",
    "Reading",
    "Relevance",
    "RetrievalReport",
    "TokenScore",
    "Window",
    "arp",
    "auc",
    "average_precision",
    "compare",
    "concordance",
    "dcg",
    "hit_rate",
    "kendall_tau",
    "mrr",
    "ndcg",
    "perplexity",
    "precision",
    "protocols",
    "read_documents",
    "read_report",
    "recall",
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
