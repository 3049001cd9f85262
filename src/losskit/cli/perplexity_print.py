"""Tables of an evaluation for a terminal or a pipe: columns where they fit, else one row under the other."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..evaluate.page import sections
from ..evaluate.page.wording import bounds, count, decimals, figure, percent, plural, quoted, shorten, visible
from ..evaluate.paired import Comparison
from ..evaluate.peers import Reading
from ..evaluate.report import PerplexityReport
from ..evaluate.summary import exp

__all__ = ["print_comparison", "print_plans", "print_readings", "print_report"]


def print_report(report: PerplexityReport, top: int) -> None:
    """The figures, what they rest on, the worst documents, and the protocol in one line."""
    console = Console()
    name = visible(str(report.model.get("name") or "a model"))
    _line(console, f"Perplexity of {name}", "bold")
    level = f"{100 * report.level:g} % interval"
    rows = sections.unit_rows(report.overall)
    _table(console, ["unit", "perplexity", level, "bits per unit", "scored"], rows)
    _line(console, sections.certainty(report).replace("\u00a0", " "))
    if report.groups:
        console.print()
        _table(console, ["group", "perplexity", level, "bits per byte", "tokens", "documents"], sections.group_rows(report))
    if report.agreement is not None:
        console.print()
        _line(console, sections.divergence_line(report).replace("\u00a0", " "))
    if top and len(report.documents) > 1:
        console.print()
        width = max(12, min(40, console.width // 3))
        _table(console, ["worst documents", "perplexity", "tokens", "nats", "least expected token"], _worst(report, top, width))
    if report.warnings:
        console.print()
    for warning in report.warnings:
        _line(console, f"note: {visible(warning)}")
    console.print()
    _line(console, f"protocol: {_protocol(report)}", whole=True)


def _protocol(report: PerplexityReport) -> str:
    parts = [report.protocol.line(), f"{percent(report.coverage)} of the tokens scored".replace("\u00a0", " ")]
    if report.contexts is not None:
        parts.append(f"mean context {report.contexts.mean:.1f}")
    parts.append(str(report.model.get("dtype") or "no dtype"))
    return visible(", ".join(parts)).replace("\n", "\\n")


def _worst(report: PerplexityReport, top: int, width: int) -> list[list[str]]:
    rows = []
    for one in report.worst(top):
        worst = one.worst
        token = "" if worst is None else quoted(shorten(worst.token, 20))
        nats = "" if worst is None else decimals(worst.nats, 1)
        rows.append([shorten(one.id, width), figure(exp(one.loss)), count(one.tokens), nats, token])
    return rows


def print_comparison(one: Comparison) -> None:
    """Both models, and whether they differ."""
    console = Console()
    _line(console, f"A {visible(one.a)}")
    _line(console, f"B {visible(one.b)}")
    rows = [[name, figure(exp(loss)), decimals(loss)] for name, loss in (("A", one.loss_a), ("B", one.loss_b))]
    ends = None if one.low is None or one.high is None else f"{decimals(one.low)} to {decimals(one.high)}"
    _table(console, ["", f"perplexity per {one.unit}", f"nats per {one.unit}"], rows)
    _line(console, f"A - B: {decimals(one.delta)} nats per {one.unit}" + (f", {100 * one.level:g} % {ends}" if ends else ""))
    chance = "" if one.p_value is None else f", p {'< 0.0001' if one.p_value < 1e-4 else f'{one.p_value:.4f}'}"
    ratio = f"A / B: {figure(one.ratio)}" + (f", {100 * one.level:g} % {bounds(one.interval)}" if one.interval else "")
    _line(console, f"{ratio}{chance}, {plural(one.clusters, 'document')}")
    for warning in one.warnings:
        _line(console, f"note: {visible(warning)}")
    _line(console, _verdict(one))


def _verdict(one: Comparison) -> str:
    if one.ratio == 1:
        return "Both find the text equally likely."
    better = "A" if one.ratio < 1 else "B"
    if one.interval is None:
        return f"{better} is less unsure; too few documents to say whether that is chance."
    if one.interval[0] <= 1 <= one.interval[1]:
        return f"{better} is less unsure, which may be chance: the interval of the ratio contains 1."
    return f"{better} is less unsure, and the interval of the ratio does not contain 1."


def print_plans(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Strides side by side."""
    console = Console()
    _line(console, title, "bold")
    header = ["stride", "windows", "positions read", "times", "context from", "mean", "95 % have"]
    _table(
        console,
        header,
        [
            [
                str(row["stride"]),
                count(row["windows"]),
                count(row["positions"]),
                f"{row['multiplier']:.2f}",
                count(row["least"]),
                decimals(row["mean"], 1),
                f"≥ {count(row['p05'])}",
            ]
            for row in rows
        ],
    )


def print_readings(readings: Sequence[Reading]) -> None:
    """The same text as other tools read it."""
    console = Console()
    console.print()
    _line(console, "The same text under other protocols", "bold")
    for one in readings:
        console.print()
        known = [f"{name.replace('_', ' ')} {figure(value)}" for name, value in one.figures.items() if not math.isnan(value)]
        _line(console, f"{one.name}: {', '.join(known) or 'no figure'}")
        _line(console, f"{count(one.scored)} of {count(one.total)} tokens scored; {visible(one.differs)}")


def _line(console: Console, text: str, style: str = "", *, whole: bool = False) -> None:
    """A sentence; ``whole``: one line for a program that reads it."""
    soft = whole and not console.is_terminal and "COLUMNS" not in os.environ
    console.print(Text(text, style), soft_wrap=soft)


def _table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, numbers to the right; a list where the columns do not fit."""
    rows = [[visible(cell).replace("\n", "↵").replace("\t", "⇥").replace("\u00a0", " ") for cell in row] for row in rows]
    widths = [max(len(name), *(Text(row[i]).cell_len for row in rows), 0) for i, name in enumerate(header)]
    if sum(widths) + 2 * (len(widths) - 1) > console.width:
        for row in rows:
            console.print(Text(f"{header[0].removesuffix('s')} {row[0]}".strip(), "bold"))
            for name, cell in zip(header[1:], row[1:], strict=True):
                console.print(Text(f"  {name} {cell}"))
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(header):
        text = i and name != "least expected token"
        table.add_column(name, justify="right" if text else "left", no_wrap=True)
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)
