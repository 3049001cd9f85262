"""compare: two models on the same documents, document by document, so that what is hard for both cancels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.check import choice
from .files import write_whole
from .intervals import paired
from .records import UNITS, DocumentScore
from .report import PerplexityReport, read_report
from .summary import exp

__all__ = ["Comparison", "compare"]


@dataclass(frozen=True, repr=False)
class Comparison:
    """How much more model a is confused than model b, per unit of the same text."""

    a: str
    b: str
    unit: str
    loss_a: float
    """Nats per unit."""
    loss_b: float
    delta: float
    """loss_a - loss_b: below 0 where a is better."""
    standard_error: float | None
    low: float | None
    high: float | None
    """Of delta, at ``level``."""
    p_value: float | None
    """Of no difference: how often flipping the signs of the documents' differences gives one as large."""
    clusters: int
    """Documents with a unit."""
    level: float
    documents: Sequence[tuple[str, float, float]]
    """(id, nats per unit of a, of b)"""
    warnings: Sequence[str] = ()

    def __repr__(self) -> str:
        bounds = self.interval
        told = [f"a={self.a!r}, b={self.b!r}, unit={self.unit!r}, ratio={self.ratio:.6g}"]
        told += [] if bounds is None else [f"interval=({bounds[0]:.6g}, {bounds[1]:.6g})"]
        told += [] if self.p_value is None else [f"p_value={self.p_value:.3g}"]
        return f"Comparison({', '.join(told)}, documents={self.clusters})"

    @property
    def ratio(self) -> float:
        """Perplexity of a over that of b: below 1 where a is better."""
        return exp(self.delta)

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the ratio."""
        return None if self.low is None or self.high is None else (exp(self.low), exp(self.high))

    @property
    def worse_by(self) -> float:
        """The share by which a's perplexity is above b's."""
        return self.ratio - 1

    def as_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        from .report import spelled

        found: dict[str, Any] = spelled(
            {
                "schema": "losskit.comparison/1", "a": self.a, "b": self.b, "unit": self.unit,
                "loss_a": self.loss_a, "loss_b": self.loss_b, "delta": self.delta, "standard_error": self.standard_error,
                "low": self.low, "high": self.high, "p_value": self.p_value, "clusters": self.clusters, "level": self.level,
                "ratio": self.ratio, "ratio_interval": self.interval, "warnings": list(self.warnings),
                "documents": [list(d) for d in self.documents],
            }
        )  # fmt: skip
        return found

    def to_html(self, path: str | Path | None = None) -> str:
        """As one HTML file that needs no network."""
        from .page.html import render_comparison

        text = render_comparison(self)
        if path is not None:
            write_whole(Path(path), text)
        return text


def compare(
    a: PerplexityReport | str | Path,
    b: PerplexityReport | str | Path,
    *,
    unit: str | None = None,
    level: float = 0.95,
    permutations: int = 10000,
    seed: int = 0,
) -> Comparison:
    r"""Which of two models is less confused by the same documents, and how sure that is.

    The difference is taken document by document: two separate intervals can overlap where the difference is certain.

    Formula:    \Delta = \frac{\sum_d S_d^a}{\sum_d U_d} - \frac{\sum_d S_d^b}{\sum_d U_d}
    Args:
        a, b: reports, or files that ``to_json`` wrote.
        unit: ``"token"``, ``"byte"``, ``"character"`` or ``"word"``; None: the token if both have one tokenizer, else the byte.
        level, permutations, seed: of the interval, and of the test that flips the signs of the documents' differences.
    Returns:    Comparison.
    Raises:     ValueError for tokens of different tokenizers, for other documents, or other spans of them.
    Reference:  Cochran 1977, Sampling Techniques, ch. 6; Dror et al. 2018, doi:10.18653/v1/P18-1128
    Example:
        >>> table, texts = torch.tensor([[0.1, 0.9], [0.5, 0.5]]), [[0, 1, 1, 0, 1], [1, 1, 0, 1]] * 6
        >>> first = losskit.evaluate.perplexity(lambda ids: table.log()[ids], None, texts, window=8)
        >>> second = losskit.evaluate.perplexity(lambda ids: torch.zeros(*ids.shape, 2), None, texts, window=8)
        >>> found = losskit.evaluate.compare(first, second)
        >>> round(found.ratio, 3), found.ratio < found.interval[1] < 1  # of a coin toss's perplexity, 2
        (0.777, True)
    """
    for name, given in (("a", a), ("b", b)):
        if not isinstance(given, PerplexityReport | str | Path):  # pyright: ignore[reportUnnecessaryIsInstance]  # what json.load gave
            raise TypeError(f'"{name}" is a {type(given).__name__}, expected a PerplexityReport or the path of its JSON')
    first, second = (one if isinstance(one, PerplexityReport) else read_report(one) for one in (a, b))
    same = first.tokenizer.get("fingerprint") == second.tokenizer.get("fingerprint")
    unit = unit or ("token" if same else "byte")
    choice("unit", unit, UNITS)
    if unit == "token" and not same:
        raise ValueError(
            "tokens of two tokenizers are not the same unit, so their perplexities cannot be compared: "
            'compare by "byte", "character" or "word"'
        )
    pairs = _pairs(first, second)
    rows = [(one, other, one.amount(unit), other.amount(unit)) for one, other in pairs if one.tokens or other.tokens]
    for one, _, n, m in rows:
        if n is None or m is None:
            raise ValueError(f'document {one.id!r} has no count of {unit}s: it was given as tokens; compare by "token"')
        if n != m:
            raise ValueError(
                f"of document {one.id!r} a scored {n} {unit}s and b {m}: evaluate both with the same bos and truncate"
            )
    counts = [float(n or 0) for _, _, n, _ in rows]
    of_a, of_b = [x.nats for x, *_ in rows], [y.nats for _, y, *_ in rows]
    found = paired(of_a, counts, of_b, counts, level=level, permutations=permutations, seed=seed)
    total = sum(counts)
    if not total:
        raise ValueError(f"no {unit} was scored in these documents: compare by another unit")
    warnings = []
    if first.protocol != second.protocol:
        warnings.append(
            f"a and b were read differently, which may be all of the difference: a with {first.protocol.line()}; "
            f"b with {second.protocol.line()}"
        )
    return Comparison(
        _name(first, a), _name(second, b), unit, math.fsum(of_a) / total, math.fsum(of_b) / total, *found,
        tuple((x.id, x.nats / n, y.nats / n) for (x, y, *_), n in zip(rows, counts, strict=True) if n), tuple(warnings),
    )  # fmt: skip


def _name(report: PerplexityReport, given: object) -> str:
    name = str(report.model.get("name") or "model")
    return name if isinstance(given, PerplexityReport) else f"{name} ({Path(str(given)).name})"


def _pairs(first: PerplexityReport, second: PerplexityReport) -> list[tuple[DocumentScore, DocumentScore]]:
    there = {d.id: d for d in second.documents}
    missing = [d.id for d in first.documents if d.id not in there]
    if missing or len(there) != len(first.documents):
        which = f"{missing[0]!r} is not in b" if missing else f"b has {len(there) - len(first.documents)} more"
        raise ValueError(
            f"a and b were evaluated on different documents ({which}): evaluate both on the same, and give records ids of their "
            "own (doc_id) if a file was renamed"
        )
    if first.data.get("fingerprint") != second.data.get("fingerprint"):
        raise ValueError("a and b have documents of the same names but not the same text: evaluate both on the same")
    return [(d, there[d.id]) for d in first.documents]
