"""A report, or a comparison of two, as one HTML file that needs no network: text and tables are HTML, plotly draws the charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..report import PerplexityReport
from ..summary import exp
from . import pictures
from .heat import HOTTEST, heat
from .sections import (
    agreement_rows,
    answer,
    averages,
    certainty,
    context_rows,
    coverage_rows,
    divergence_line,
    group_rows,
    halving_line,
    headline,
    method,
    more_groups,
    sources,
    spread_line,
    unit_rows,
    worst_rows,
)
from .wording import bounds, count, decimals, figure, plural, visible

if TYPE_CHECKING:
    from ..paired import Comparison
    from ..token_view import TokenScore

__all__ = ["need", "page", "render", "render_comparison"]

SHOWN = 30  # documents of a comparison


def render(report: PerplexityReport, *, examples: Sequence[tuple[str, Sequence[TokenScore]]] = ()) -> str:
    """The report as one string of HTML; each example is a document's id and its tokens with their scores.

    Raises:     ImportError that names the extra if plotly or jinja2 is missing.
    """
    overall, documents = report.overall, report.documents
    losses = [d.loss for d in documents if d.tokens]
    charts = {
        "contexts": pictures.contexts(overall),
        "groups": pictures.forest(report.groups, overall.perplexity),
        "losses": pictures.losses(documents, overall),
        "divergence": None if report.agreement is None else pictures.divergence(documents),
    }
    found = {
        "model": report.model.get("name") or "a model",
        "headline": headline(report),
        "answer": answer(overall),
        "certainty": certainty(report),
        "protocol": report.protocol.line(),
        "warnings": report.warnings,
        "units": unit_rows(overall),
        "text": not losses or any(d.bytes is not None for d in documents),
        "averages": averages(overall),
        "contexts": context_rows(overall) if charts["contexts"] else [],
        "halving": halving_line(overall),
        "groups": group_rows(report),
        "more_groups": more_groups(report),
        "worst": worst_rows(report),
        "scored_documents": len(losses),
        "spread": spread_line(losses),
        "examples": [heat(id, tokens) for id, tokens in examples],
        "divergence": divergence_line(report),
        "agreement": agreement_rows(report),
        "coverage": coverage_rows(report),
        "sources": sources(report),
        "method": method(report),
        "level": f"{100 * report.level:g}\u00a0%",
    }
    names = {"contexts": "Context", "groups": "Groups", "worst": "Documents", "examples": "Tokens", "agreement": "Reference"}
    anchors = {"worst": "documents", "examples": "tokens"}
    there = [(anchors.get(key, key), name) for key, name in names.items() if found[key]]
    sections = [("units", "Units"), *there, ("coverage", "Coverage"), ("sources", "Sources"), ("method", "Method")]
    return page("report.html.j2", charts, {**found, "sections": sections, "title": f"Perplexity of {found['model']}"})


def render_comparison(comparison: Comparison) -> str:
    """The comparison as one string of HTML.

    Raises:     ImportError that names the extra if plotly or jinja2 is missing.
    """
    one, documents = comparison, list(comparison.documents)
    charts = {
        "differences": pictures.differences(documents, one.delta, one.unit),
        "scatter": pictures.scatter(documents, one.unit),
    }
    furthest = sorted(documents, key=lambda d: _distance(d[1], d[2]), reverse=True)[:SHOWN]
    ends = "" if one.low is None or one.high is None else f"{_signed(one.low)} to {_signed(one.high)}"
    found = {
        "title": f"{one.a} against {one.b}",
        "models": [
            (name, f"{model}: {decimals(loss)} nats per {one.unit}, perplexity {figure(exp(loss))}", False)
            for name, model, loss in (("A", one.a, one.loss_a), ("B", one.b, one.loss_b))
        ],
        "warnings": one.warnings,
        "unit": one.unit,
        "headline": [
            (f"A − B, nats per {one.unit}", _signed(one.delta), ends),
            ("Perplexity of A over that of B", figure(one.ratio), "" if one.interval is None else bounds(one.interval)),
            ("p", _chance(one.p_value), plural(one.clusters, "document")),
        ],
        "answer": _verdict(one),
        "certainty": _doubt(one),
        "spread": spread_line([a - b for _, a, b in documents], "A − B"),
        "rows": [[id, decimals(a), decimals(b), _signed(a - b)] for id, a, b in furthest],
        "shown": f"{count(len(furthest))} of {count(len(documents))} documents." if len(furthest) < len(documents) else "",
        "method": _paired_method(one.unit),
    }
    return page("comparison.html.j2", charts, found)


def _distance(a: float, b: float) -> float:
    """How far two losses are apart; where that is no number, further than any."""
    return abs(a - b) if math.isfinite(a - b) else math.inf


def _signed(value: float) -> str:
    return f"{value:+.4f}".replace("-", "−") if math.isfinite(value) else decimals(value)


def _chance(p: float | None) -> str:
    return "–" if p is None or not math.isfinite(p) else "< 0.0001" if p < 1e-4 else f"{p:.4f}"


def _verdict(one: Comparison) -> str:
    delta, low, high = one.delta, one.low, one.high
    if not math.isfinite(delta):
        return "The difference is no finite number: at least one model gives a token of this text no probability."
    if delta == 0:
        return "Both models find the text equally likely."
    better, worse, share = ("A", "B", -math.expm1(delta)) if delta < 0 else ("B", "A", -math.expm1(-delta))
    told = f"The perplexity of {better} per {one.unit} is {figure(100 * share)}\u00a0% below that of {worse}"
    if low is None or high is None:
        return f"{told}; too few documents to say whether that is chance."
    if low <= 0 <= high:
        return f"{told}, which may be chance: the interval of the difference holds 0."
    return f"{told}, and the interval of the difference does not hold 0."


def _doubt(one: Comparison) -> str:
    error = "" if one.standard_error is None else f"The standard error of the difference is {figure(one.standard_error)}. "
    level = "" if one.low is None else f"Intervals are at {100 * one.level:g}\u00a0%. "
    return f"{error}{level}Both were scored on the same documents: what is hard for both cancels in each of them."


def _paired_method(unit: str) -> list[str]:
    return [
        f"The difference is that of two ratios: nats of all documents over their {unit}s, for A less for B.",
        "Its standard error takes documents as the independent pieces, and pairs A and B within each.",
        "p is the share of the ways to exchange A and B in single documents that part them at least as far.",
    ]


def need(module: str) -> Any:
    """Import a module that only the report needs.

    Raises:     ImportError that names the extra.
    """
    try:
        return import_module(module)
    except ImportError as missing:
        raise ImportError(f"a report in HTML needs {module.split('.')[0]}: pip install 'losskit[report]'") from missing


def _template(name: str) -> str:
    """A template of this folder, or "package:name"."""
    package, _, own = name.rpartition(":")
    return files(package or __name__.rpartition(".")[0]).joinpath(own).read_text("utf-8")


def _foreign(value: object) -> object:
    """A plain str may be anybody's text; what is escaped already is a subclass of it."""
    return visible(value) if type(value) is str else value


def page(template: str, charts: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    """A template filled in: foreign text is escaped and made visible, plotly is in it if there is a chart."""
    jinja2, plotly = need("jinja2"), need("plotly.offline")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_template),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_foreign,
    )
    drawn = any(charts.values())
    script = plotly.get_plotlyjs().replace("</script", "<\\/script") if drawn else ""
    filled: str = environment.get_template(template).render(charts=charts, drawn=drawn, plotly=script, hottest=HOTTEST, **found)
    return filled
