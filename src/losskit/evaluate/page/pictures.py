"""What the charts of a report show, as plain numbers: binned and capped here, so that the page stays small for any data."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from ..records import Divergence, DocumentScore, context_of
from ..summary import Figures
from .wording import bounds, count, decimals, figure, percent, plural, shorten, visible

__all__ = [
    "by_context",
    "contexts",
    "differences",
    "divergence",
    "forest",
    "halving",
    "histogram",
    "largest",
    "losses",
    "range_of",
    "scatter",
    "spread",
]

Chart = dict[str, Any]
DIGITS = 6  # of a number in a chart: more cannot be seen and makes the page larger
NONE = 0.5  # where a logarithmic axis shows a context of 0
ROWS = 40  # groups in a chart
DOTS = 2000
FEW = 5  # documents below which a histogram says nothing


def numbers(values: Iterable[float | None]) -> list[float | None]:
    """Six digits of each; JSON knows no NaN and no inf, and a chart cannot show them."""
    return [float(f"{v:.{DIGITS}g}") if v is not None and math.isfinite(v) else None for v in values]


def mark(axis: str, value: float | None, label: str) -> list[Chart]:
    """A dotted line across a chart, if there is a number to put it at."""
    return [{"axis": axis, "value": value, "label": label}] if value is not None and math.isfinite(value) else []


def range_of(bin: int) -> str:
    """The context lengths of a bin."""
    low, high = context_of(bin), context_of(bin + 1) - 1
    return count(low) if bin < 0 or high <= low else f"{count(low)} to {count(high)}"


def by_context(figures: Figures) -> list[tuple[int, float, int]]:
    """(bin, nats per token, tokens), the shortest context first."""
    return [(bin, nats / tokens, tokens) for bin, (nats, tokens) in sorted(figures.contexts.items()) if tokens]


def contexts(figures: Figures) -> Chart | None:
    """Nats per token against context length; None unless tokens differ in it."""
    rows = by_context(figures)
    if len(rows) < 2:
        return None
    powers = range(math.floor(math.log2(max(context_of(rows[0][0]), 1))), math.ceil(math.log2(context_of(rows[-1][0]))) + 1)
    ticks = [(NONE, "0")] if rows[0][0] < 0 else []
    return {
        "kind": "line",
        "x": numbers(_middle(bin) for bin, _, _ in rows),
        "y": numbers(loss for _, loss, _ in rows),
        "text": [f"context {range_of(bin)}: {decimals(loss, 3)} nats, {plural(n, 'token')}" for bin, loss, n in rows],
        "ticks": [*ticks, *((2.0**power, count(2**power)) for power in powers)],
        "logX": True,
        "xTitle": "positions before the token",
        "yTitle": "nats per token",
        "marks": mark("y", figures.loss, f"all tokens {decimals(figures.loss, 3)}"),
    }


def _middle(bin: int) -> float:
    low, high = context_of(bin), context_of(bin + 1) - 1
    return NONE if bin < 0 else math.sqrt(low * max(low, high))


def forest(groups: Mapping[str, Figures], overall: float | None) -> Chart | None:
    """The perplexity of each group with its interval, the lowest first; None below two groups with a number."""
    drawn = {name: groups[name] for name in largest(groups, ROWS)}
    held = [(one.perplexity, name, one.interval()) for name, one in drawn.items()]
    rows = sorted(((v, name, i) for v, name, i in held if v is not None and math.isfinite(v)), key=lambda row: row[:2])
    if len(rows) < 2:
        return None
    ends = [x for value, _, interval in rows for x in (value, *(interval or ())) if x > 0]
    return {
        "kind": "forest",
        "names": [shorten(visible(name), 30) for _, name, _ in rows],
        "x": numbers(value for value, _, _ in rows),
        "low": numbers(interval and interval[0] for _, _, interval in rows),
        "high": numbers(interval and interval[1] for _, _, interval in rows),
        "text": [f"{figure(value)} ({bounds(interval)})" if interval else figure(value) for value, _, interval in rows],
        "logX": max(ends) > 4 * min(ends),
        "xTitle": "perplexity per token",
        "yTitle": "",
        "marks": mark("x", overall, f"all {figure(overall)}"),
        "note": f"Drawn: the {len(drawn)} groups with the most tokens." if len(drawn) < len(groups) else "",
    }


def largest(groups: Mapping[str, Figures], most: int) -> list[str]:
    """The names of the groups with the most tokens, in the order of the groups."""
    kept = set(sorted(groups, key=lambda name: -groups[name].amounts.get("token", 0))[:most])
    return [name for name in groups if name in kept]


def spread(values: Sequence[float]) -> dict[str, str] | None:
    """Quantiles of a set of numbers, spelled; None for nothing finite."""
    kept = sorted(filter(math.isfinite, values))
    if not kept:
        return None
    names = {"least": 0.0, "p05": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95, "most": 1.0}
    return {name: decimals(_at(kept, share), 3) for name, share in names.items()}


def _at(ordered: Sequence[float], share: float) -> float:
    """A quantile, between the two nearest numbers."""
    place = share * (len(ordered) - 1)
    below = math.floor(place)
    return ordered[below] + (place - below) * (ordered[min(below + 1, len(ordered) - 1)] - ordered[below])


def histogram(values: Sequence[float], title: str) -> Chart | None:
    """How many documents have a number about so large; None for fewer than five, or as good as equal."""
    kept = sorted(filter(math.isfinite, values))
    # closer than six digits: one bar, which says nothing
    if len(kept) < FEW or not 1e-6 * max(abs(kept[0]), abs(kept[-1]), 1e-6) < kept[-1] - kept[0] < 1e300:
        return None
    width, low, high = _width(kept)
    edges = [low + width * i for i in range(round((high - low) / width) + 1)]
    places = [bisect_left(kept, edge) for edge in edges[:-1]] + [bisect_left(kept, high + width * 1e-9)]
    heights = [b - a for a, b in pairwise(places)]
    far = len(kept) - sum(heights)
    digits = max(0, 1 - math.floor(math.log10(width)))
    return {
        "kind": "bars",
        "x": numbers(edge + width / 2 for edge in edges[:-1]),
        "y": heights,
        "width": width,
        "text": [
            f"{decimals(a, digits)} to {decimals(a + width, digits)}: {plural(n, 'document')}"
            for a, n in zip(edges, heights, strict=False)
        ],
        "logX": False,
        "xTitle": title,
        "yTitle": "documents",
        "marks": [],
        "note": f"Not drawn: {count(far)} of {count(len(kept))} documents that lie further out." if far else "",
    }


def _width(ordered: Sequence[float]) -> tuple[float, float, float]:
    """The width of a bar, and where the first begins and the last ends: a few far documents must not flatten the others."""
    quarter, half = _at(ordered, 0.75) - _at(ordered, 0.25), _at(ordered, 0.5)
    reach = 8 * quarter or ordered[-1] - ordered[0]
    low, high = max(ordered[0], half - reach), min(ordered[-1], half + reach)
    raw = max(2 * quarter / len(ordered) ** (1 / 3), (high - low) / 50)  # Freedman and Diaconis 1981
    raw = min(raw, (high - low) / FEW)
    power = 10.0 ** math.floor(math.log10(raw))
    width = next(step * power for step in (5, 2, 1) if step * power <= raw * (1 + 1e-9))
    return width, math.floor(low / width) * width, math.ceil(high / width) * width


def losses(documents: Sequence[DocumentScore], figures: Figures) -> Chart | None:
    """How the losses of the documents are spread."""
    chart = histogram([d.loss for d in documents if d.tokens], "nats per token of a document")
    if chart is not None:
        chart["marks"] = mark("x", figures.loss, f"all tokens {decimals(figures.loss, 3)}")
    return chart


def divergence(documents: Sequence[DocumentScore]) -> Chart | None:
    """The share of tokens that diverge more than so much."""
    bins: dict[int, int] = {}
    for one in documents:
        for bin, tokens in (one.divergence.bins if one.divergence else {}).items():
            bins[bin] = bins.get(bin, 0) + tokens
    total, above = sum(bins.values()), 0
    points: list[tuple[float, float]] = []
    for bin in sorted(bins, reverse=True):
        above += bins[bin]
        points.append((Divergence.value_of(bin), above / total))
    points = [p for p in reversed(points) if p[0] > 0]
    if len(points) < 2:
        return None
    return {
        "kind": "line",
        "bare": True,
        "x": numbers(value for value, _ in points),
        "y": numbers(100 * share for _, share in points),
        "text": [f"{percent(share)} of the tokens: {figure(value)} nats or more" for value, share in points],
        "logX": True,
        "xTitle": "divergence of a token, nats",
        "yTitle": "% of the tokens diverge so much or more",
        "marks": [],
    }


def differences(documents: Sequence[tuple[str, float, float]], delta: float, unit: str) -> Chart | None:
    """How the differences of the documents are spread."""
    chart = histogram([a - b for _, a, b in documents], f"A − B, nats per {unit} of a document")
    if chart is not None:
        chart["marks"] = [*mark("x", 0.0, "equal"), *mark("x", delta, f"all {decimals(delta)}")]
    return chart


def scatter(documents: Sequence[tuple[str, float, float]], unit: str) -> Chart | None:
    """Each document by its loss under A and B; of more than 2,000, every so manyth."""
    kept = [one for one in documents if math.isfinite(one[1]) and math.isfinite(one[2])]
    shown = kept[:: math.ceil(len(kept) / DOTS)] if kept else []
    if len(shown) < 2:
        return None
    return {
        "kind": "dots",
        "x": numbers(a for _, a, _ in shown),
        "y": numbers(b for _, _, b in shown),
        "text": [f"{shorten(visible(id), 40)}: A {decimals(a, 3)}, B {decimals(b, 3)}" for id, a, b in shown],
        "logX": False,
        "xTitle": f"A, nats per {unit}",
        "yTitle": f"B, nats per {unit}",
        "marks": [],
        "note": f"Drawn: {count(len(shown))} of {count(len(kept))} documents." if len(shown) < len(kept) else "",
    }


def halving(figures: Figures) -> tuple[str, str, float] | None:
    """The last two whole doublings of the context: (the shorter lengths, the longer ones, how much lower the loss is there)."""
    whole = [k for k in range(3, 32) if all(bin in figures.contexts for bin in range(4 * k, 4 * k + 4))]
    if len(whole) < 2 or whole[-2] + 1 != whole[-1]:
        return None
    losses, spans = list[float](), list[str]()
    for k in whole[-2:]:
        held = [figures.contexts[bin] for bin in range(4 * k, 4 * k + 4)]
        losses.append(math.fsum(nats for nats, _ in held) / sum(tokens for _, tokens in held))
        spans.append(f"{count(2**k)} to {count(2 ** (k + 1) - 1)}")
    return (spans[0], spans[1], losses[0] - losses[1]) if all(map(math.isfinite, losses)) else None
