"""The report of the demos: escaped, self-contained, whole; the terminal and JSON forms of the same findings."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from losskit.demos import Chart, Column, Demo, Figure, Mark, Measure, Ran, Result, Series, Table, Tick, main, report
from losskit.demos.main import run_demo
from losskit.demos.report import write
from losskit.demos.terminal import show, spelled

EVIL = "</script><script>alert('x')</script><img src=\"http://evil.example\" onerror=alert(1)> & [bold]"
COLUMNS = [Column("way " + EVIL), Column("loss", ".3f"), Column("share", ".1f", "%"), Column("steps", "g")]
ROWS = [
    ["plain", Measure(0.1239, 0.0456, 5), 12.34, 400],
    [EVIL, Measure(7.5, 0.25, 5), 98.76, "not in 400"],
    ["one seed", Measure(3.25, 0.0, 1), math.inf, 1e-7],
]
VOID = {"meta", "img", "br", "link", "input", "hr"}


def found(_: Tick = lambda share: None) -> Result:
    x = [1.0, 10.0, 100.0]
    lines = [Series(f"{kind} {EVIL}", x, [0.1, 0.01, 0.2], [0.05, 0.0, 0.1], [0.2, 0.02, math.nan]) for kind in "ab"]
    chart = Chart(EVIL, "x " + EVIL, "y " + EVIL, lines, [Mark("y", 0.1, EVIL), Mark("x", 10, EVIL)], log_x=True, log_y=True)
    dots = Chart("dots", "x", "y", [Series("points", x, [1, math.inf, 3], shape="dots")])
    figures = [Figure(EVIL, EVIL, [chart, dots], first=1)]
    return Result(EVIL, EVIL, figures, [Table(EVIL, COLUMNS, ROWS, EVIL)], f"print('''{EVIL}''')", [EVIL], {"loss": 0.1239})


def ran() -> list[Ran]:
    return [Ran(Demo(f"{name}-{EVIL}", EVIL, EVIL, 1, found), found(), 1.25) for name in ("first", "second")]


class Page(HTMLParser):
    """What a browser would see: the tags in balance, their attributes, the text outside and inside scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", list[str]()
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        elif self.open and self.open[-1] != "style":
            self.text += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Page:
    path = tmp_path_factory.mktemp("report") / "report.html"
    write(ran(), path)
    assert path.stat().st_size < 6e6
    return Page(path.read_text("utf-8"))


def test_tags_are_balanced_and_ids_are_unique(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert page.open == []
    assert len(ids) == len(set(ids))


def test_hostile_text_stays_text(page: Page) -> None:
    assert [tag for tag, _ in page.tags].count("script") == len(page.scripts) == 3
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(EVIL) >= 2 * 10


def test_nothing_is_asked_from_the_network(page: Page) -> None:
    links = [attributes.get(name) for _, attributes in page.tags for name in ("src", "href", "srcset", "action", "data")]
    policy = [attributes["content"] for tag, attributes in page.tags if tag == "meta" and "http-equiv" in attributes]
    assert all(link.startswith("#") for link in links if link is not None)
    assert len(policy) == 1
    assert str(policy[0]).startswith("default-src 'none'")


def test_every_link_leads_somewhere(page: Page) -> None:
    ids = {f"#{attributes['id']}" for _, attributes in page.tags if "id" in attributes}
    assert {attributes["href"] for tag, attributes in page.tags if tag == "a"} <= ids


def test_every_number_of_a_table_is_in_the_text(page: Page) -> None:
    for row in ROWS:
        for cell, column in zip(row, COLUMNS, strict=True):
            assert page.text.count(spelled(cell, column)) >= 2
    assert "0.124 ± 0.046" in page.text
    assert "± is the standard deviation over 5 seeds." in page.text


def test_the_charts_are_valid_json_with_gaps_for_what_is_not_finite(page: Page) -> None:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    figures = json.loads(page.scripts[0], parse_constant=refuse)
    assert [figure["first"] for figure in figures] == [1, 1]
    chart, dots = figures[0]["charts"]
    assert chart["name"] == EVIL
    assert chart["series"][0]["high"] == [0.2, 0.02, None]
    assert dots["series"][0]["y"] == [1, None, 3]
    assert [mark["value"] for mark in chart["marks"]] == [0.1, 10]


def test_a_loss_keeps_its_colour_from_chart_to_chart() -> None:
    def slots(*charts: Sequence[str]) -> dict[str, int]:
        return report._slots([Chart("", "", "", [Series(label, [0], [0]) for label in labels]) for labels in charts])

    assert slots(["a (rate 1)", "b (rate 1)"], ["b (rate 3)", "a (rate 3)"])["a (rate 3)"] == 0
    assert slots(["a (rate 1)", "a (rate 3)"]) == {"a (rate 1)": 0, "a (rate 3)": 1}


def test_names_on_the_axis_need_no_colours() -> None:
    boxes = [Series(label, [i + 0.6, i + 1.4], [i, i]) for i, label in enumerate("abc")]
    named = Chart("named", "", "y", boxes, names=list("abc"))
    lines = Chart("lines", "x", "y", [Series(label, [0, 1], [0, 1]) for label in "cab"])
    first, second = report._pictures(Result("", "", [Figure("t", "r", [named, lines])], [], "", []))[0]["charts"]
    assert (first["names"], second["names"]) == (["a", "b", "c"], [])
    assert [one["slot"] for one in first["series"]] == [0, 0, 0]
    assert [one["slot"] for one in second["series"]] == [0, 1, 2]


def test_a_report_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    result = Result("", "", [], [Table("t", COLUMNS, [[*ROWS[0], "a cell too many"]])], "", [])
    with pytest.raises(ValueError, match="zip"):
        write([Ran(Demo("d", "", "", 1, found), result, 1.0)], path)

    def full(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("losskit.evaluate.files.os.replace", full)
    with pytest.raises(OSError, match="disk full"):
        write(ran(), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_terminal_keeps_its_width_and_every_number(width: int) -> None:
    out = io.StringIO()
    show(ran(), Console(file=out, width=width))
    assert max(map(len, out.getvalue().splitlines())) <= width
    flat = out.getvalue().split()
    for row in ROWS:
        for cell, column in zip(row[1:], COLUMNS[1:], strict=True):
            assert set(spelled(cell, column).split()) <= set(flat)
    assert "\x1b" not in out.getvalue()


def test_a_table_that_fits_is_not_folded() -> None:
    out = io.StringIO()
    table = Table("t", [Column("loss"), Column("recall")], [["bce", Measure(0.26, 0.08, 10)]])
    show([Ran(Demo("d", "t", "q", 1, found), Result("a", "m", [], [table], "", []), 1.0)], Console(file=out, width=60))
    assert any(line.split() == ["bce", "0.26", "±", "0.08"] for line in out.getvalue().splitlines())


@pytest.fixture
def one_demo(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """run_demo with a made-up demo: the names that were run are in the list."""
    calls: list[str] = []

    def run(names: list[str], tick: Any) -> list[Ran]:
        calls.extend(names)
        for name in names:
            for share in (0.0, 0.5, 1.0, 1.0):
                tick(name, share)
        return [Ran(Demo(name, "t", "q", 1, found), found(), 1.25) for name in names]

    monkeypatch.setattr(main, "select", lambda names: [Demo("made-up", "t", "q", 1, found)])
    monkeypatch.setattr(main, "run", run)
    return calls


def test_json_is_one_document(one_demo: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run_demo([], html=None, json=True) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document["version"] == 1
    assert set(document["on"]) == {"losskit", "torch", "python", "machine"}
    assert document["demos"] == [{"name": "made-up", "answer": EVIL, "facts": {"loss": 0.1239}, "seconds": 1.25}]
    assert [line.split(":")[0] for line in err.splitlines()] == ["made-up"]


def test_the_report_is_written_and_its_place_said(
    one_demo: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "report.html"
    assert run_demo([], html=path, json=False) == 0
    assert path.is_file()
    assert capsys.readouterr().out.endswith(f"report: {path.resolve()}\n")


@pytest.mark.parametrize("name", ["no/such/report.html", "."])
def test_a_path_that_cannot_be_written_fails_before_the_work(one_demo: list[str], tmp_path: Path, name: str) -> None:
    with pytest.raises(OSError, match='"--html" is '):
        run_demo([], html=tmp_path / name, json=False)
    assert one_demo == []


def test_a_missing_library_is_named_with_its_remedy(one_demo: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ImportError, match=r"pip install 'losskit\[demo\]'"):
        run_demo([], html=tmp_path / "report.html", json=False)
    assert one_demo == []


def test_an_unknown_demo_is_named_before_anything_runs() -> None:
    with pytest.raises(ValueError, match="no demo is called 'nonsense'"):
        run_demo(["nonsense"], html=None, json=False)
