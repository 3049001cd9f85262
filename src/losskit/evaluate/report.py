"""The report of an evaluation: what was measured, how, of what; as numbers, JSON, text and HTML."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .files import write_whole
from .plan import Contexts
from .records import UNITS, Divergence, DocumentScore
from .summary import Figures, figures

if TYPE_CHECKING:
    from .token_view import TokenScore

__all__ = ["SCHEMA", "Agreement", "PerplexityReport", "Protocol", "read_report", "spelled"]

SCHEMA = "losskit.perplexity/1"


@dataclass(frozen=True)
class Protocol:
    """How the text was scored: two reports can be compared if these agree."""

    window: int
    stride: int
    bos: str
    """What stands before a window: "every <s>", "first <s>" or "none"."""
    truncate: int | None
    precision: str
    """Of the log-sum-exp: "float32" or "float64"."""
    units_from: str | None
    """The field of the text that units were counted in, where it is not the scored text."""

    def line(self) -> str:
        """In one line, to be printed beside every figure."""
        parts = [f"window {self.window}", f"stride {self.stride}", f"bos {self.bos}", f"log-sum-exp {self.precision}"]
        parts += [f"truncated to {self.truncate} tokens"] if self.truncate is not None else []
        parts += [f"units of the field {self.units_from!r}"] if self.units_from is not None else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Agreement:
    """How far the model is from a reference model, over the scored tokens."""

    mean: float
    """KL(reference || model), nats per token."""
    median: float
    p99: float
    largest: float
    same_top: float
    """The share of tokens where both find the same token the likeliest."""
    reference_loss: float
    standard_error: float | None
    interval: tuple[float, float] | None
    """Of the mean."""


@dataclass(frozen=True, repr=False)
class PerplexityReport:
    """What :func:`losskit.evaluate.perplexity` found."""

    protocol: Protocol
    model: Mapping[str, Any]
    """name, parameters, vocabulary, fingerprint, path (through the head, or logits)."""
    tokenizer: Mapping[str, Any]
    data: Mapping[str, Any]
    """fingerprint, documents."""
    documents: Sequence[DocumentScore]
    """In the order of the data."""
    tokens: int
    """Of all documents, scored or not."""
    contexts: Contexts | None
    forward_tokens: int
    """Positions that the model read."""
    units: Sequence[str] = UNITS
    method: str = "cluster"
    level: float = 0.95
    resamples: int = 2000
    seed: int = 0
    warnings: Sequence[str] = ()
    run: Mapping[str, Any] = field(default_factory=dict)
    """What changes from run to run: seconds, tokens a second, date, versions, ranks."""

    def __repr__(self) -> str:
        one, bounds = self.overall, self.interval
        told = [f"perplexity={one.perplexity:.6g}" if one.perplexity is not None else "perplexity=None"]
        told += [] if bounds is None else [f"interval=({bounds[0]:.6g}, {bounds[1]:.6g})"]
        told += [] if one.bits_per_byte is None else [f"bits_per_byte={one.bits_per_byte:.6g}"]
        told += [f"tokens={one.amounts['token']}", f"documents={one.documents}", f"protocol={self.protocol.line()!r}"]
        return f"PerplexityReport({', '.join(told)})"

    @cached_property
    def overall(self) -> Figures:
        """Of all documents."""
        return self._figures(self.documents)

    @cached_property
    def groups(self) -> dict[str, Figures]:
        """Of each group, by name; empty without groups."""
        members: dict[str, list[DocumentScore]] = {}
        for one in self.documents:
            if one.group is not None:
                members.setdefault(one.group, []).append(one)
        return {name: self._figures(members[name]) for name in sorted(members)}

    def _figures(self, documents: Sequence[DocumentScore]) -> Figures:
        return figures(
            documents, units=self.units, method=self.method, level=self.level, resamples=self.resamples, seed=self.seed
        )

    @property
    def perplexity(self) -> float | None:
        """Per token: exp(nats / tokens); None where nothing was scored."""
        return self.overall.perplexity

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of the perplexity per token."""
        return self.overall.interval()

    @property
    def bits_per_byte(self) -> float | None:
        """Of the scored text."""
        return self.overall.bits_per_byte

    @property
    def coverage(self) -> float:
        """The share of all tokens that was scored."""
        return sum(d.tokens for d in self.documents) / self.tokens if self.tokens else math.nan

    @cached_property
    def agreement(self) -> Agreement | None:
        """With the reference model; None without one."""
        from .intervals import ratio

        held = [(d, d.divergence) for d in self.documents if d.divergence is not None and d.tokens]
        if not held:
            return None
        totals, tokens = [k.total for _, k in held], [d.tokens for d, _ in held]
        mean = ratio(totals, tokens, level=self.level)
        bins: dict[int, int] = {}
        for _, one in held:
            for bin, count in one.bins.items():
                bins[bin] = bins.get(bin, 0) + count
        return Agreement(
            mean.value,
            _quantile(bins, 0.5),
            _quantile(bins, 0.99),
            max(k.largest for _, k in held),
            sum(k.same_top for _, k in held) / sum(tokens),
            math.fsum(k.reference_nats for _, k in held) / sum(tokens),
            mean.standard_error,
            None if mean.low is None or mean.high is None else (mean.low, mean.high),
        )

    def worst(self, count: int = 20) -> list[DocumentScore]:
        """The documents with the highest loss."""
        scored = [d for d in self.documents if d.tokens]
        return sorted(scored, key=lambda d: (math.isfinite(d.loss), -d.loss if math.isfinite(d.loss) else 0.0))[:count]

    def as_dict(self) -> dict[str, Any]:
        """The whole report; NaN and inf are strings, which JSON can hold."""
        agreement = None if self.agreement is None else vars(self.agreement)
        found = {
            "schema": SCHEMA,
            "protocol": vars(self.protocol),
            "model": dict(self.model),
            "tokenizer": dict(self.tokenizer),
            "data": dict(self.data),
            "interval": {"method": self.method, "level": self.level, "resamples": self.resamples, "seed": self.seed},
            "units": list(self.units),
            "overall": self.overall.to_json(),
            "coverage": {
                "tokens": self.tokens,
                "scored": sum(d.tokens for d in self.documents),
                "share": self.coverage,
                "empty_documents": sum(not d.tokens for d in self.documents),
            },
            "context": None if self.contexts is None else self.contexts._asdict(),
            "groups": {name: one.to_json() for name, one in self.groups.items()},
            "agreement": agreement,
            "cost": {"forward_tokens": self.forward_tokens},
            "warnings": list(self.warnings),
            "documents": [d.to_json() for d in self.documents],
            "run": dict(self.run),
        }
        whole: dict[str, Any] = spelled(found)
        return whole

    def to_json(self, path: str | Path | None = None) -> str:
        """As JSON, also into a file if one is named: written whole or not at all.

        Raises:     OSError for a path that cannot be written.
        """
        whole = self.as_dict()
        # a line for each document: an indented one is written by Python's own slow encoder, and nobody reads it
        lines = ",\n  ".join(json.dumps(one, allow_nan=False, ensure_ascii=False) for one in whole["documents"])
        text = json.dumps({**whole, "documents": []}, indent=1, allow_nan=False, ensure_ascii=False)
        text = text.replace('\n "documents": []', f'\n "documents": [\n  {lines}\n ]', 1)
        if path is not None:
            write_whole(Path(path), text + "\n")
        return text

    def to_html(self, path: str | Path | None = None, *, examples: Sequence[tuple[str, Sequence[TokenScore]]] = ()) -> str:
        """As one HTML file that needs no network; ``examples`` are pairs of a name and what :func:`score_tokens` gave.

        Raises:     ImportError that names the extra if plotly or jinja2 is missing; OSError for a path that cannot be written.
        """
        from .page.html import render

        text = render(self, examples=examples)
        if path is not None:
            write_whole(Path(path), text)
        return text


def read_report(path: str | Path) -> PerplexityReport:
    """A report from its JSON.

    Raises:     ValueError for a file that is no report of this schema; OSError.
    """
    try:
        held = json.loads(Path(path).read_text("utf-8"))
    except ValueError as problem:
        raise ValueError(f"{path} is not JSON ({problem}): expected what losskit perplexity --json wrote") from None
    schema = held.get("schema") if isinstance(held, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path} has schema {schema!r}, expected {SCHEMA!r}: what losskit perplexity --json wrote")
    try:
        context = held["context"]
        return PerplexityReport(
            Protocol(**held["protocol"]), held["model"], held["tokenizer"], held["data"],
            tuple(DocumentScore.from_json(one) for one in held["documents"]), held["coverage"]["tokens"],
            None if context is None else Contexts(**context), held["cost"]["forward_tokens"], tuple(held["units"]),
            **held["interval"], warnings=tuple(held["warnings"]), run=held["run"],
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as problem:
        raise ValueError(f"{path} lacks a part of {SCHEMA}: {problem}; expected what losskit perplexity --json wrote") from None


def _quantile(bins: Mapping[int, int], share: float) -> float:
    wanted, seen = share * sum(bins.values()), 0
    for bin in sorted(bins):
        seen += bins[bin]
        if seen >= wanted:
            return Divergence.value_of(bin)
    return math.nan


def spelled(value: Any) -> Any:
    """NaN and inf as strings, in what is made of dicts and lists."""
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {k: spelled(v) for k, v in value.items()}
    return [spelled(v) for v in value] if isinstance(value, list | tuple) else value
