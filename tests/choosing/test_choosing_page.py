"""Advice as a page: self-contained, every number of the proof on it, and words of others harmless."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from choosing_said import HOSTILE, advice

import losskit
from losskit.choosing.advice import Advice, Fact, Scored
from losskit.choosing.page.html import write
from losskit.choosing.page.pictures import WIDTH, dots


def test_the_page_needs_no_network_and_no_plotly() -> None:
    page = advice().html()
    assert len(page) < 60_000
    assert not re.search(r"(src|href)=[\"'](?!#)", page)
    assert "default-src 'none'" in page


def test_every_mean_is_on_the_picture_in_full_precision() -> None:
    page = advice().html()
    proof = advice().proof
    assert proof is not None
    shown = [float(value) for value in re.findall(r'data-value="([^"]+)"', page)]
    assert sorted(shown) == sorted(one.mean for one in proof.scores)


def test_a_dot_lies_where_its_number_is() -> None:
    rows = [Scored("a", "linear", "m", 5.0, 0.0, 10.0, 5), Scored("b", "mlp", "m", 2.5, 2.5, 2.5, 5)]
    picture = dots(rows, first="a", avoid=["b"], label="m")
    (circle,) = re.findall(r'<circle cx="([\d.]+)"', picture)
    (left,) = re.findall(r'<rect x="([\d.]+)"', picture)
    assert float(circle) == pytest.approx(WIDTH / 2, abs=0.06), "5 of 0 to 10 is in the middle"
    assert float(left) + 4.5 == pytest.approx(8 + (WIDTH - 16) / 4, abs=0.06)
    assert 'class="first"' in picture
    assert 'class="wrong"' in picture


def test_an_interval_without_an_end_is_a_dot() -> None:
    picture = dots([Scored("a", "mlp", "m", 1.0, float("-inf"), float("inf"), 1)], first="a", avoid=[], label="m")
    assert "<rect" in picture
    assert "inf" not in re.sub(r"<title>.*?</title>", "", picture)


def test_words_from_the_data_are_text() -> None:
    page = advice(hostile=HOSTILE).html()
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page
    assert "\x1b" not in page


def test_a_refusal_has_a_page() -> None:
    page = Advice("regression", None, refusal="All targets are 3: there is nothing to learn.").html()
    assert "All targets are 3" in page
    assert "Proof" not in page


def test_a_page_is_written_whole(tmp_path: Path) -> None:
    write(advice(), tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == advice().html()
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_the_page_says_of_what_it_is_and_code_is_not_broken() -> None:
    seen = replace(advice(), source=f"houses{HOSTILE}.csv", facts=(Fact("rows", 442, "442 rows"),))
    page = seen.html()
    assert re.search(rf"csv, 442 rows, \d{{4}}-\d\d-\d\d, losskit {re.escape(losskit.__version__)}</p>", page)
    assert "<script>alert" not in page
    assert re.search(r"pre \{[^}]*white-space: pre; \}", page)
    assert re.search(r"pre \{[^}]*overflow-x: auto", page)
