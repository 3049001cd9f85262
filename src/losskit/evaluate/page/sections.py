"""What the sections of a report say: each figure spelled, each sentence that depends on what was found."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..records import FEW, UNITS, DocumentScore
from ..report import PerplexityReport
from ..summary import Figures, exp
from .pictures import by_context, halving, largest, range_of, spread
from .wording import bounds, count, decimals, figure, percent, plural, shorten

__all__ = [
    "agreement_rows",
    "answer",
    "averages",
    "certainty",
    "context_rows",
    "coverage_rows",
    "divergence_line",
    "group_rows",
    "halving_line",
    "headline",
    "method",
    "more_groups",
    "sources",
    "spread_line",
    "unit_rows",
    "worst_rows",
]

_LN2 = math.log(2)
GROUPS = 200
WORST = 20
BEFORE = 70  # letters of the text before a document's least expected token


def headline(report: PerplexityReport) -> list[tuple[str, str, str]]:
    """(name, number, interval) of the figures that stand on top."""
    overall = report.overall
    found = [("Perplexity per token", figure(overall.perplexity), _told(overall.interval()))]
    if "byte" in overall.per:
        one = overall.per["byte"]
        ends = None if one.low is None or one.high is None else (one.low / _LN2, one.high / _LN2)
        found.append(("Bits per byte", decimals(overall.bits_per_byte), _decimal_bounds(ends)))
    if "token" in overall.per:
        one = overall.per["token"]
        ends = None if one.low is None or one.high is None else (one.low, one.high)
        found.append(("Nats per token", decimals(one.value), _decimal_bounds(ends)))
    return found


def _told(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else bounds(interval)


def _decimal_bounds(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{decimals(interval[0])} to {decimals(interval[1])}"


def answer(overall: Figures) -> str:
    """What the perplexity means, in a sentence."""
    perplexity = overall.perplexity
    if perplexity is None:
        return "Nothing was scored: no token of the data has anything before it."
    if not math.isfinite(perplexity) and not overall.nonfinite:
        return f"The perplexity is larger than a float holds: exp of {decimals(overall.loss)}."
    if not math.isfinite(perplexity):
        told = plural(overall.nonfinite, "token")
        return (
            f"The perplexity is no finite number: {told} of the text got a loss that is inf or not a number. None was left out."
        )
    return f"The model is as unsure of the next token as if it chose among {figure(perplexity)} equally likely ones."


def certainty(report: PerplexityReport) -> str:
    """How far the perplexity can be trusted, and why no further."""
    one, level = report.overall.per.get("token"), f"{100 * report.level:g}\u00a0%"
    documents = plural(report.overall.documents, "document")
    if one is None:
        return f"{plural(len(report.documents), 'document')}, {plural(report.tokens, 'token')}."
    told = f"{documents}, {plural(report.overall.amounts['token'], 'token')} scored."
    if one.low is None:
        why = "none was asked for" if one.method == "none" else "that takes a finite loss and several documents, or a long one"
        return f"{told} There is no interval: {why}."
    if one.method == "block bootstrap":
        return (
            f"{told} The {level} interval comes from {plural(one.clusters, 'run')} of neighbouring windows: it says how far the "
            "figure would move on other passages of these documents, not on other documents."
        )
    return f"{told} The {level} interval says how far the figure would move on other documents of the same kind."


def unit_rows(overall: Figures) -> list[list[str]]:
    """Unit, perplexity, its interval, bits, count."""
    return [
        [
            unit,
            figure(exp(overall.per[unit].value)),
            bounds(overall.interval(unit)),
            decimals(overall.per[unit].value / _LN2),
            count(overall.amounts[unit]),
        ]
        for unit in UNITS
        if unit in overall.per
    ]


def averages(overall: Figures) -> str:
    """The other averages that go by the same name, and the other standard error."""
    if overall.documents < 2:
        return ""
    told = (
        f"Where every document counts the same, the perplexity is {figure(overall.document_geometric_mean)} (geometric mean), "
        f"{figure(overall.document_mean)} (mean) or {figure(overall.document_median)} (median)."
    )
    one, other = overall.per.get("token"), overall.iid_standard_error
    if one is not None and one.standard_error and other:
        told += (
            f" The standard error of the nats per token is {figure(one.standard_error)}; as if tokens were independent, which "
            f"they are not, it would be {figure(other)}."
        )
    return told


def context_rows(overall: Figures) -> list[list[str]]:
    """Context lengths, nats per token, perplexity, tokens."""
    return [[range_of(bin), decimals(loss, 3), figure(exp(loss)), count(n)] for bin, loss, n in by_context(overall)]


def halving_line(overall: Figures) -> str:
    """What the last doubling of the context brought."""
    found = halving(overall)
    if found is None:
        return ""
    before, after, gain = found
    word = "less" if gain >= 0 else "more"
    return (
        f"Tokens with {after} positions before them cost {decimals(abs(gain), 3)} nats {word} than those with {before}. They are "
        "not the same tokens: short documents have only short contexts."
    )


def group_rows(report: PerplexityReport) -> list[list[str]]:
    """Name, perplexity, interval, bits per byte, tokens, documents; of the 200 largest groups."""
    return [
        [
            name,
            figure(one.perplexity),
            bounds(one.interval()),
            decimals(one.bits_per_byte),
            count(one.amounts.get("token", 0)),
            count(one.documents),
        ]
        for name, one in ((name, report.groups[name]) for name in largest(report.groups, GROUPS))
    ]


def more_groups(report: PerplexityReport) -> str:
    """That there are more groups than the table shows."""
    groups = len(report.groups)
    return f"The {GROUPS} of {count(groups)} groups with the most tokens; all are in the JSON." if groups > GROUPS else ""


def worst_rows(report: PerplexityReport) -> list[dict[str, Any]]:
    """The documents with the highest loss, each with its least expected token."""
    return [_worst(one) for one in report.worst(WORST)]


def _worst(one: DocumentScore) -> dict[str, Any]:
    worst = one.worst
    before = "" if worst is None else worst.before
    return {
        "id": one.id if one.group is None else f"{one.id} ({one.group})",
        "loss": decimals(one.loss, 3),
        "tokens": count(one.tokens),
        "before": _signed(f"…{before[-BEFORE:]}" if len(before) > BEFORE else before),
        "token": None if worst is None else _signed(shorten(worst.token, BEFORE)),
        "nats": "" if worst is None else f"{decimals(worst.nats, 2)} nats at token {count(worst.position)}",
    }


def _signed(text: str) -> str:
    """In one line."""
    return text.replace("\n", "↵").replace("\t", "⇥")


def spread_line(values: Sequence[float], name: str = "nats per token") -> str:
    """Quantiles over the documents in a sentence."""
    found = spread(values)
    if found is None or len(values) < 5:
        return ""
    return (
        f"Half of the documents lie between {found['p25']} and {found['p75']} ({name}), nine in ten between {found['p05']} and "
        f"{found['p95']}, all between {found['least']} and {found['most']}; the median is {found['median']}."
    )


def divergence_line(report: PerplexityReport) -> str:
    """What the divergence comes to, in a sentence."""
    one = report.agreement
    if one is None:
        return ""
    interval = "" if one.interval is None else f" ({100 * report.level:g}\u00a0% interval {_decimal_bounds(one.interval)})"
    return (
        f"The model's predictions are {decimals(one.mean)} nats per token from those of the reference{interval}; for "
        f"{percent(one.same_top)} of the tokens both find the same token the likeliest."
    )


def agreement_rows(report: PerplexityReport) -> list[tuple[str, str, bool]]:
    """The figures against a reference model; nothing without one."""
    one = report.agreement
    if one is None:
        return []
    return [
        ("Mean divergence", f"{decimals(one.mean)} nats per token, KL(reference ‖ model)", False),
        ("Interval", _decimal_bounds(one.interval) or "–", False),
        ("Median token", f"{figure(one.median)} nats", False),
        ("99 of 100 tokens", f"{figure(one.p99)} nats or less", False),
        ("Largest", f"{figure(one.largest)} nats", False),
        ("Same likeliest token", percent(one.same_top), False),
        ("Reference's perplexity", f"{figure(exp(one.reference_loss))} ({decimals(one.reference_loss)} nats per token)", False),
    ]


def coverage_rows(report: PerplexityReport) -> list[tuple[str, str, bool]]:
    """What was scored of the data, with how much before it, and what that cost."""
    scored = sum(d.tokens for d in report.documents)
    empty = sum(not d.tokens for d in report.documents)
    share = f" ({percent(report.coverage)})" if report.tokens else ""
    rows = [
        ("Tokens", f"{count(scored)} of {count(report.tokens)} scored{share}"),
        ("Documents", f"{count(len(report.documents) - empty)} of {count(len(report.documents))} with something scored"),
    ]
    if report.overall.nonfinite:
        rows.append(("Not finite", f"the loss of {plural(report.overall.nonfinite, 'token')}; none was left out"))
    if report.contexts is not None:
        least, mean, p05, most = report.contexts
        rows.append(
            (
                "Positions before",
                f"{decimals(mean, 1)} on average, {count(least)} to {count(most)}; 95\u00a0% have ≥ {count(p05)}",
            )
        )
    each = f", {report.forward_tokens / scored:.2f} for each that is scored" if scored else ""
    rows.append(("Positions read", f"{count(report.forward_tokens)}{each}"))
    return [(name, value, False) for name, value in rows]


def sources(report: PerplexityReport) -> list[tuple[str, list[tuple[str, str, bool]]]]:
    """What was measured and by what, as it was given."""
    given = {"Model": report.model, "Tokenizer": report.tokenizer, "Data": report.data, "Run": report.run}
    return [(name, _facts(held)) for name, held in given.items() if held]


def _facts(held: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    return [(str(key).replace("_", " "), _plain(value), "fingerprint" in str(key)) for key, value in held.items()]


def _plain(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, int | float):
        return count(value) if isinstance(value, int) else figure(value) if value else "0"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_plain(one)}" for key, one in value.items()) or "–"
    return ", ".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)


def method(report: PerplexityReport) -> list[str]:
    """How each kind of figure came about."""
    level = f"{100 * report.level:g}\u00a0%"
    per_document = "from the documents as clusters, since tokens of one document are not independent"
    how = {
        "cluster": f"{per_document}: R ± t · standard error of the ratio of two sums, taken through exp",
        "bootstrap": f"{per_document}: {count(report.resamples)} times drawn with replacement, seed {report.seed}",
        "none": "not asked for",
    }.get(report.method, report.method)
    lines = [
        "Perplexity is exp(the sum of −ln p over the scored tokens / their number): sums are added over all documents and "
        "divided once, never a mean of means.",
        "Every token is scored once, by the window that the protocol gives it. The first token of a document is scored only if "
        "something stands before it.",
        "Bits per byte are the same sum in bits, over the UTF-8 bytes of the text that was scored.",
        f"Intervals ({level}) are {how}. Below {FEW} documents they come from runs of neighbouring windows.",
        "Tokens with a loss that is not finite are counted, never left out.",
    ]
    if report.agreement is not None:
        lines.append("Median and 99 % of the divergence are read off bins that are 4 % wide.")
    return lines
