"""What the demos found, as one HTML file that needs no network: text and tables are HTML, plotly draws the charts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib.resources import files
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from .. import __version__
from ..evaluate.files import write_whole
from . import Cell, Chart, Ran, Result, Table, need
from .claims import claims
from .story import asked, chapters, expected, heard, other_contrasts, overview, sides
from .terminal import header, note, spelled

__all__ = ["render", "write"]

DIGITS = 6  # of a number in a chart: more cannot be seen and makes the file larger


def write(ran: Sequence[Ran], path: Path) -> None:
    """Write the report; a file that is already there is replaced as a whole or, if anything fails, not touched.

    Raises:     ImportError that names the extra if plotly or jinja2 is missing; OSError for a path that cannot be written.
    """
    write_whole(path, render(ran))


def render(ran: Sequence[Ran]) -> str:
    """The report as one string of HTML."""
    jinja2, plotly = need("jinja2"), need("plotly.offline")
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(_file("report.html.j2"))
    return str(
        template.render(
            css=_file("report.css"),
            script=_file("report.js"),
            story=_story(ran),
            demos=_articles(ran),
            charts=[picture for one in ran for picture in _pictures(one.result)],
            seconds=sum(one.seconds for one in ran),
            on=f"losskit {__version__}, torch {torch.__version__}",
            plotly=plotly.get_plotlyjs().replace("</script", "<\\/script"),
        )
    )


def _file(name: str) -> str:
    return files(__name__.rpartition(".")[0]).joinpath(name).read_text("utf-8")


def _story(ran: Sequence[Ran]) -> dict[str, Any] | None:
    """What stands around several chapters: the first page and the last; nothing around one."""
    if len(chapters(ran)) < 2:
        return None
    return {"first": _table(overview(ran)), "ties": other_contrasts(ran), "last": _table(claims(ran))}


def _articles(ran: Sequence[Ran]) -> list[dict[str, Any]]:
    """Each demo, with the place of its first figure among all."""
    places = accumulate((len(one.result.figures) for one in ran), initial=0)
    numbers = accumulate(int(one.result.chapter is not None) for one in ran)
    return [{**_article(one), "first": place, "number": n} for one, place, n in zip(ran, places, numbers, strict=False)]


def _article(one: Ran) -> dict[str, Any]:
    result, chapter = one.result, one.result.chapter
    tables = [_table(table) for table in result.tables]
    plain = {"demo": one.demo, "result": result, "seconds": one.seconds, "tables": tables, "chapter": chapter}
    if chapter is None:
        return plain
    told = {"expected": expected(result, chapter), "heard": heard(result, chapter), "asked": asked(chapter)}
    return {**plain, **told, "sides": [sides(result, contrast) for contrast in chapter.contrasts]}


def _table(table: Table) -> dict[str, Any]:
    """The table spelled out: a cell is its text and whether it stands to the right, as numbers do."""
    right = [any(not isinstance(row[i], str) for row in table.rows) for i in range(len(table.columns))]

    def spell(row: Sequence[Cell]) -> list[tuple[str, bool]]:
        return [(spelled(cell, column), side) for cell, column, side in zip(row, table.columns, right, strict=True)]

    heads = [(header(column), side) for column, side in zip(table.columns, right, strict=True)]
    return {"title": table.title, "heads": heads, "rows": [spell(row) for row in table.rows], "note": note(table)}


def _pictures(result: Result) -> list[dict[str, Any]]:
    """For each figure what the script draws: its charts, and which one is seen first."""
    slots = _slots([chart for figure in result.figures for chart in figure.charts if not chart.names])
    return [
        {"title": figure.title, "first": figure.first, "charts": [_chart(chart, slots) for chart in figure.charts]}
        for figure in result.figures
    ]


def _chart(chart: Chart, slots: Mapping[str, int]) -> dict[str, Any]:
    series = [
        {
            "label": one.label,
            "slot": 0 if chart.names else slots[one.label],
            "dots": one.shape == "dots",
            "x": _numbers(one.x),
            "y": _numbers(one.y),
            "low": _numbers(one.low),
            "high": _numbers(one.high),
        }
        for one in chart.series
    ]
    marks = [{"axis": mark.axis, "value": mark.value, "label": mark.label} for mark in chart.marks]
    axes = {"x": chart.x, "y": chart.y, "logX": chart.log_x, "logY": chart.log_y}
    return {"name": chart.name, **axes, "names": list(chart.names), "series": series, "marks": marks}


def _numbers(values: Sequence[float]) -> list[float | None]:
    """Six digits of each; JSON knows no nan and no inf, and a chart cannot show them."""
    return [float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None for value in values]


def _slots(charts: Sequence[Chart]) -> dict[str, int]:
    """A colour for every label: labels that differ only in what is in brackets share it, unless they meet in one chart."""

    def stem(label: str) -> str:
        return label.split(" (")[0]

    stems = [[stem(one.label) for one in chart.series] for chart in charts]
    alone = all(len(set(names)) == len(names) for names in stems)
    places: dict[str, int] = {}
    labels = [one.label for chart in charts for one in chart.series]
    return {label: places.setdefault(stem(label) if alone else label, len(places)) for label in labels}
