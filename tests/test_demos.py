"""The demos: found by their files, the same numbers every time, and every sentence of their answers true."""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from losskit import demos
from losskit.demos import DEMOS, Measure, Ran, Result, discover, facts, measure, run, select
from losskit.demos.claims import claims
from losskit.demos.find_function import Plan as FindPlan
from losskit.demos.find_function import find_function
from losskit.demos.gpt import Course, Shape
from losskit.demos.graded_models import Plan as GradedPlan
from losskit.demos.graded_search import graded_search
from losskit.demos.language_model import Plan as LanguagePlan
from losskit.demos.language_model import language_model
from losskit.demos.outliers import Plan as OutlierPlan
from losskit.demos.outliers import outliers
from losskit.demos.peak import Peak
from losskit.demos.rare_class import Plan as RarePlan
from losskit.demos.rare_class import rare_class
from losskit.demos.report import render
from losskit.demos.sick_runs import Plan as SickPlan
from losskit.demos.sick_runs import sick_runs
from losskit.demos.story import overview
from losskit.demos.terminal import spelled
from losskit.demos.why_cross_entropy import Plan as WhyPlan
from losskit.demos.why_cross_entropy import why_cross_entropy

NAMES = ["rare-class", "why-cross-entropy", "outliers", "find-function", "language-model", "graded-search", "sick-runs"]
# the memory of a process is never the same twice
LANGUAGE = LanguagePlan(300, Shape(16, 1, 2, 64), Course(steps=20, rows=4, micro=2), peak=lambda case: Peak(1 << 20, 1.0))


def silent(share: float) -> None:
    assert 0 <= share <= 1


SMALL: dict[str, Callable[[], Result]] = {
    "rare-class": lambda: rare_class(silent, RarePlan(splits=(0, 1), steps=100)),
    "why-cross-entropy": lambda: why_cross_entropy(silent, WhyPlan(splits=(1, 2), tuning=(6,), steps=10)),
    "outliers": lambda: outliers(silent, OutlierPlan(splits=(0, 1), steps=50)),
    "language-model": lambda: language_model(silent, LANGUAGE),
    "find-function": lambda: find_function(silent, FindPlan(splits=(0,), steps=10, batch=32, every=6)),
    "graded-search": lambda: graded_search(silent, GradedPlan(folds=3, starts=1, steps=4, batch=8, every=4)),
    "sick-runs": lambda: sick_runs(silent, SickPlan(("softmax twice", "NaN in a feature", "healthy diabetes"))),
}


@functools.cache
def small(name: str) -> Result:
    return SMALL[name]()


@functools.cache
def whole(name: str) -> Result:
    (one,) = run([name])
    return one.result


def test_the_demos_are_in_order() -> None:
    assert [one.name for one in discover()] == NAMES
    assert [one.name for one in select()] == NAMES


def test_a_new_file_is_a_new_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = """
from losskit.demos import Result, demo

@demo("brand-new", title="t", question="q", order=-1)
def brand_new(tick):
    return Result("a", "m", [], [], "", [], {"one": 1.0})
"""
    (tmp_path / "brand_new.py").write_text(code)
    monkeypatch.setattr(demos, "__path__", [*demos.__path__, str(tmp_path)])
    monkeypatch.setattr(demos, "DEMOS", dict(DEMOS))
    assert [one.name for one in discover()] == ["brand-new", *NAMES]
    assert facts(run(["brand_new"])) == {"brand-new.one": 1.0}
    del sys.modules["losskit.demos.brand_new"], demos.__dict__["brand_new"]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"no demo is called 'nope': there are rare-class, why-cross-entropy, .*, find-function"):
        select(["rare_class", "nope"])


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    with pytest.raises(ImportError, match=r"needs sklearn: pip install 'losskit\[demo\]'"):
        run(["outliers"])


def test_progress_goes_from_nothing_to_all(monkeypatch: pytest.MonkeyPatch) -> None:
    one = DEMOS["outliers"]

    def quick(tick: demos.Tick) -> Result:
        return outliers(tick, OutlierPlan(splits=(0,), steps=5))

    monkeypatch.setitem(DEMOS, "outliers", demos.Demo(one.name, one.title, one.question, one.order, quick))
    seen: list[tuple[str, float]] = []
    run(["outliers"], lambda name, share: seen.append((name, share)))
    shares = [share for _, share in seen]
    assert {name for name, _ in seen} == {"outliers"}
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0, 1)
    assert len(shares) > 4


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seeds_give_the_same_numbers_and_nothing_global_changes(name: str) -> None:
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    first = small(name)
    torch.rand(3)
    torch.set_rng_state(state)
    again = SMALL[name]()
    assert again == first
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert first.facts
    assert all(isinstance(value, float) and math.isfinite(value) for value in first.facts.values())


@pytest.mark.parametrize("name", NAMES)
def test_tables_and_charts_are_whole(name: str) -> None:
    result = small(name)
    for table in result.tables:
        assert all(len(row) == len(table.columns) for row in table.rows)
    for figure in result.figures:
        assert 0 <= figure.first < len(figure.charts)
        for series in (one for chart in figure.charts for one in chart.series):
            assert len(series.x) == len(series.y) > 1
            assert len(series.low) == len(series.high) in (0, len(series.x))
            assert all(low <= y <= high for low, y, high in zip(series.low, series.y, series.high, strict=False))


@pytest.mark.claim("R36")
@pytest.mark.parametrize("name", NAMES)
def test_the_code_of_a_demo_runs_and_prints_what_it_says(name: str) -> None:
    code, out = small(name).code, io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(code, {})
    said = [float(number) for number in re.findall(r"^print.*# ([\d.e+-]+\d)", code, re.MULTILINE)]
    printed = [float(number) for number in re.findall(r"tensor\(([\d.e+-]+)", out.getvalue())]
    assert printed == pytest.approx(said, rel=0.01)


def test_the_report_of_the_demos_has_every_table_and_every_chart() -> None:
    ran = [Ran(DEMOS[name], small(name), 1.0) for name in NAMES]
    page = render(ran)
    embedded = re.search(r'<script type="application/json" id="charts">(.*?)</script>', page, re.DOTALL)
    assert embedded
    charts = [chart["name"] for figure in json.loads(embedded[1]) for chart in figure["charts"]]
    assert charts == [chart.name for one in ran for figure in one.result.figures for chart in figure.charts]
    tables = [overview(ran), claims(ran), *(table for one in ran for table in one.result.tables)]
    assert page.count("<tr>") == sum(1 + len(table.rows) for table in tables)
    assert spelled(ran[2].result.tables[0].rows[0][1], ran[2].result.tables[0].columns[1]) in page


def test_a_measure_is_mean_and_deviation() -> None:
    assert measure(torch.tensor([1.0, 2.0, 3.0])) == Measure(2.0, 1.0, 3)
    assert measure(torch.tensor([5.0])) == Measure(5.0, 0.0, 1)
