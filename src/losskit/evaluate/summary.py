"""Figures of many documents: sums added, divided once, and how far they would move with other documents."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .intervals import Estimate, block_bootstrap, bootstrap, iid_standard_error, ratio
from .records import FEW, UNITS, DocumentScore, added

__all__ = ["Figures", "exp", "figures"]

_LN2 = math.log(2)


@dataclass(frozen=True)
class Figures:
    """Of a set of documents: the whole, or a group.

    ``loss`` is nats per token, ``perplexity`` its exponential. ``per`` holds the estimate of nats per unit of text, for each
    unit that is known; ``interval(unit)`` is that of the perplexity.
    """

    documents: int
    """With something scored."""
    nats: float
    amounts: Mapping[str, int]
    """How many of each unit were scored."""
    per: Mapping[str, Estimate]
    """Nats per unit."""
    iid_standard_error: float | None
    """Of the loss, as if tokens were independent, which they are not: too small, for comparison with others' figures."""
    document_geometric_mean: float | None
    """exp of the mean of the documents' losses: every document counts the same."""
    document_mean: float | None
    """The mean of the documents' perplexities."""
    document_median: float | None
    contexts: Mapping[int, tuple[float, int]] = field(default_factory=dict)
    """nats and tokens by context length."""
    nonfinite: int = 0

    @property
    def loss(self) -> float | None:
        """Nats per token."""
        return self.per["token"].value if "token" in self.per else None

    @property
    def perplexity(self) -> float | None:
        """Per token: as many equally likely tokens would leave one as unsure."""
        return None if self.loss is None else exp(self.loss)

    @property
    def bits_per_byte(self) -> float | None:
        """Of the text, comparable whatever its tokens are."""
        return self.per["byte"].value / _LN2 if "byte" in self.per else None

    def interval(self, unit: str = "token") -> tuple[float, float] | None:
        """Of the perplexity per unit, at the evaluation's level."""
        one = self.per.get(unit)
        return None if one is None or one.low is None or one.high is None else (exp(one.low), exp(one.high))

    def to_json(self) -> dict[str, Any]:
        """Each number once, by name."""
        found: dict[str, Any] = {"documents": self.documents, "nats": self.nats, "tokens": self.amounts.get("token", 0)}
        found |= {f"{unit}s": n for unit, n in self.amounts.items() if unit != "token"}
        for unit, one in self.per.items():
            name = "" if unit == "token" else f"{unit}_"
            bounds = self.interval(unit)
            found[f"{name}loss"] = one.value
            found[f"{name}perplexity"] = exp(one.value)
            found[f"{name}perplexity_interval"] = None if bounds is None else list(bounds)
            if unit in ("byte", "character"):
                found[f"bits_per_{unit}"] = one.value / _LN2
                ends = [bound / _LN2 for bound in (one.low, one.high) if bound is not None]
                found[f"bits_per_{unit}_interval"] = ends if len(ends) == 2 else None
            if unit == "token":
                found |= {"standard_error": one.standard_error, "iid_standard_error": self.iid_standard_error}
                found |= {"interval_method": one.method, "clusters": one.clusters, "level": one.level}
        for name in ("document_geometric_mean", "document_mean", "document_median"):
            found[f"{name}_perplexity" if "perplexity" not in name else name] = getattr(self, name)
        found["by_context"] = [[bin, nats, tokens] for bin, (nats, tokens) in self.contexts.items()]
        found["nonfinite"] = self.nonfinite
        return found


def exp(loss: float) -> float:
    """e to the loss; inf where no float is as large."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def figures(
    documents: Sequence[DocumentScore],
    *,
    units: Sequence[str] = UNITS,
    method: str = "cluster",
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Figures:
    """The figures of some documents; ``method`` is "cluster", "bootstrap" or "none"."""
    scored = [d for d in documents if d.tokens]
    per, amounts = dict[str, Estimate](), {"token": sum(d.tokens for d in scored)}
    for unit in units:
        counts = [d.amount(unit) for d in scored]
        known = [n for n in counts if n is not None]
        if len(known) < len(counts) or not sum(known):
            continue
        amounts[unit] = sum(known)
        per[unit] = _estimate(scored, known, unit, method, level, resamples, seed)
    losses = sorted(d.loss for d in scored)
    return Figures(
        documents=len(scored),
        nats=math.fsum(d.nats for d in scored),
        amounts=amounts,
        per=per,
        iid_standard_error=iid_standard_error(
            math.fsum(d.nats for d in scored), math.fsum(d.squares for d in scored), sum(d.tokens for d in scored)
        ),
        document_geometric_mean=exp(math.fsum(losses) / len(losses)) if losses else None,
        document_mean=math.fsum(map(exp, losses)) / len(losses) if losses else None,
        document_median=exp(_median(losses)) if losses else None,
        contexts=added(d.contexts or {} for d in scored),
        nonfinite=sum(d.nonfinite for d in documents),
    )


def _median(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def _estimate(
    scored: Sequence[DocumentScore], counts: Sequence[int], unit: str, method: str, level: float, resamples: int, seed: int
) -> Estimate:
    nats = [d.nats for d in scored]
    if method == "none":
        return Estimate(math.fsum(nats) / sum(counts), None, None, None, len(scored), level, "none")
    at = 1 + UNITS.index(unit)
    pieces = [(block[0], block[at]) for d in scored for block in d.blocks]
    counted = [(sums, count) for sums, count in pieces if count is not None]
    if len(scored) < FEW and pieces and len(counted) == len(pieces):
        found = block_bootstrap([p[0] for p in counted], [p[1] for p in counted], level=level, resamples=resamples, seed=seed)
        value = ratio(nats, counts, level=level).value  # not of the pieces, whose sums were rounded one by one
        return found._replace(value=value) if math.isfinite(value) else Estimate(value, None, None, None, *found[4:])
    if method == "bootstrap":
        return bootstrap(nats, counts, level=level, resamples=resamples, seed=seed)
    return ratio(nats, counts, level=level)
