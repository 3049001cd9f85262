"""The pages of an evaluation: whole, escaped, self-contained, for every kind of report; every figure on them is the report's."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import random
import sys
from collections.abc import Sequence
from typing import Any

import pytest

from evaluate_helpers_html import EVIL, TEXT, Page, comparison, corpus, document, report, token, tokens
from losskit.evaluate.page import pictures
from losskit.evaluate.page.html import render, render_comparison
from losskit.evaluate.page.wording import figure, percent
from losskit.evaluate.records import DocumentScore, Surprise, context_bin
from losskit.evaluate.report import PerplexityReport
from losskit.evaluate.token_view import TokenScore

UNSEEN = "\ud800\x00\u202eabc\x1b[31m"  # half a letter, a zero byte, text turned round, a terminal's red
LONG = "/data/" + "x" * 300 + "/shard-17.jsonl.gz:123456"


def charts_of(page: Page) -> dict[str, Any]:
    def refuse(constant: str) -> None:
        raise AssertionError(constant)

    return dict(json.loads(page.scripts[0], parse_constant=refuse))


def hostile() -> tuple[PerplexityReport, list[tuple[str, list[TokenScore]]]]:
    worst = Surprise(3, math.inf, EVIL, EVIL)
    held = [dataclasses.replace(one, id=f"{EVIL}{i}", group=EVIL + "ab"[i % 2], worst=worst) for i, one in enumerate(corpus(24))]
    facts = {EVIL: EVIL, "name": EVIL, "more": {EVIL: [EVIL]}}
    shades = [
        token(EVIL, 2.0, 3, 1.0, EVIL),
        token(EVIL, None, None, None, EVIL),
        token(UNSEEN, 1.0, 1, 1.0, ""),
    ]
    held[0] = dataclasses.replace(held[0], id=UNSEEN, group=UNSEEN, worst=Surprise(0, 99.0, UNSEEN, UNSEEN))
    return report(held, warnings=[EVIL, UNSEEN], model=facts, tokenizer=facts, data=facts, run=facts), [(EVIL, shades)]


def cases() -> dict[str, str]:
    draw = random.Random(0)
    full, broken = corpus(60, reference=True), corpus(30)
    broken[3] = dataclasses.replace(broken[3], nats=math.inf, squares=math.inf, nonfinite=3, contexts={9: (math.inf, 2)})
    broken[4] = dataclasses.replace(broken[4], nats=math.nan, squares=math.nan, nonfinite=1)
    plain = [dataclasses.replace(one, group=None, contexts=None, worst=None, blocks=()) for one in corpus(30)]
    empty = DocumentScore("empty", None, 0.0, 0.0, 0, 1)
    nothing: dict[str, Any] = {"contexts": None, "forward_tokens": 0, "tokenizer": {}, "data": {}, "run": {}}
    return {
        "full": render(report(full, warnings=["mind this"]), examples=[("doc0001", tokens()), ("empty", [])]),
        "bootstrap": render(report(corpus(20), method="bootstrap", resamples=50)),
        "no interval": render(report(corpus(20), method="none")),
        "inf and nan": render(report(broken)),
        "only sums": render(report(plain, units=["token"])),
        "one document": render(report([document(0, draw)])),
        "token documents": render(report([document(i, draw, text=False) for i in range(12)])),
        "one token": render(report([DocumentScore("one", None, 1.5, 2.25, 1, 0, contexts={-1: (1.5, 1)})])),
        "equal documents": render(report([dataclasses.replace(full[0], id=str(i)) for i in range(20)])),
        "nothing scored": render(report([empty, empty], **nothing)),
        "no document": render(report([], **nothing)),
        "hostile": render(hostile()[0], examples=hostile()[1]),
        "long names": render(report([dataclasses.replace(one, id=LONG + one.id, group=LONG) for one in corpus(12)])),
        "compared": render_comparison(comparison()),
        "compared, few": render_comparison(comparison(1, low=None, high=None, p_value=None, standard_error=None)),
        "compared, none": render_comparison(comparison(0, delta=math.nan, low=None, high=None, p_value=None)),
        "compared, inf": render_comparison(comparison(9, documents=[("a", math.inf, math.inf), ("b", 1.0, math.inf)] * 5)),
        "compared, equal": render_comparison(comparison(9, delta=0.0, documents=[("a", 1.0, 1.0)] * 9)),
        "compared, hostile": render_comparison(
            comparison(9, a=EVIL, warnings=[EVIL], b=EVIL, unit=EVIL, documents=[(EVIL, 1.0, i) for i in range(9)])
        ),
    }


PAGES = {name: Page(text) for name, text in cases().items()}
every_page = pytest.mark.parametrize("page", PAGES.values(), ids=PAGES.keys())


@every_page
def test_tags_are_balanced_and_ids_are_unique(page: Page) -> None:
    ids = page.of("id")
    assert page.open == []
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in page.tags].count("h1") == 1


@every_page
def test_every_link_and_every_label_leads_somewhere(page: Page) -> None:
    assert all(link.startswith("#") for link in page.of("href"))
    assert {link[1:] for link in page.of("href")} | set(page.of("aria-labelledby")) <= set(page.of("id"))


@every_page
def test_nothing_is_asked_from_the_network(page: Page) -> None:
    ours = [script for script in page.scripts if len(script) < 1e6]
    assert not page.of("src")
    assert not page.of("srcset")
    assert "http" not in page.styles
    assert not any("http" in script.replace("http://evil.example", "") for script in ours)
    assert "url(" not in page.styles
    assert page.of("content")[2].startswith("default-src 'none'")


@every_page
def test_nothing_hostile_becomes_markup(page: Page) -> None:
    assert "img" not in {tag for tag, _ in page.tags}
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert len(page.scripts) == (3 if page.scripts[0].startswith("{") else 1)


@every_page
def test_the_charts_are_valid_json_and_each_has_its_place(page: Page) -> None:
    if len(page.scripts) == 3:
        charts = {name for name, chart in charts_of(page).items() if chart is not None}
        assert charts == set(page.of("data-chart"))
        assert len(page.of("data-chart")) == len(charts)


@every_page
def test_no_letter_is_left_that_cannot_be_stored(page: Page) -> None:
    page.source.encode("utf-8")
    assert not [letter for letter in page.text if letter < " " and letter not in "\n\t"]


def test_a_page_is_small_however_much_data_there_is() -> None:
    some = corpus(100)
    held = [dataclasses.replace(some[i % 100], id=f"doc{i}", group=f"group {i % 1000}", contexts=None) for i in range(100_000)]
    page = Page(render(report(held, units=["token"], method="none")))
    charts = charts_of(page)
    assert len(page.source) < 6e6
    assert len(charts["losses"]["x"]) <= 150
    assert len(charts["groups"]["x"]) == 40
    assert [tag for tag, _ in page.tags].count("tr") < 300
    assert "The 200 of 1,000 groups with the most tokens" in page.text
    assert "20 of 100,000 documents" in page.text


def test_hostile_text_is_read_as_it_is() -> None:
    assert PAGES["hostile"].text.count(EVIL) > 30
    assert PAGES["compared, hostile"].text.count(EVIL) > 9
    assert any(EVIL in title for title in PAGES["hostile"].of("title"))
    assert "{{ 7 * 7 }}" in PAGES["hostile"].text


def test_the_headline_is_the_figures_of_the_report() -> None:
    held = report(corpus(60, reference=True), warnings=["mind this"])
    text = PAGES["full"].text
    assert held.perplexity is not None
    assert held.interval is not None
    assert held.agreement is not None
    assert text.count(figure(held.perplexity)) >= 3
    assert f"{figure(held.interval[0])} to {figure(held.interval[1])}" in text
    assert f"{held.bits_per_byte:.4f}" in text
    low, high = (math.log2(end) for end in held.overall.interval("byte") or ())
    assert f"{low:.4f} to {high:.4f}" in text
    assert held.protocol.line() in text
    assert "mind this" in text
    assert f"{held.agreement.mean:.4f} nats per token" in text
    assert percent(held.agreement.same_top) in text
    for unit, one in held.overall.per.items():
        assert figure(math.exp(one.value)) in text, unit
    for name, group in held.groups.items():
        assert name in text
        assert figure(group.perplexity) in text


def test_the_heat_text_has_no_blank_of_its_own() -> None:
    assert TEXT in PAGES["full"].text


def test_what_is_not_there_is_said_or_left_out() -> None:
    assert "There is no interval: none was asked for." in PAGES["no interval"].text
    assert "There is no interval" in PAGES["one token"].text
    assert "of neighbouring windows" in PAGES["one document"].text.split("Protocol")[0]
    assert "4 tokens of the text got a loss that is inf or not a number" in PAGES["inf and nan"].text
    assert "only tokens" in PAGES["token documents"].text
    assert "only tokens" not in PAGES["only sums"].text
    assert "Bits per byte" not in PAGES["only sums"].text.split("Protocol")[0]
    assert "Nothing was scored" in PAGES["no document"].text
    assert len(PAGES["no document"].source) < 30_000
    for name, absent in (("only sums", "groups"), ("only sums", "contexts"), ("bootstrap", "agreement"), ("bootstrap", "tokens")):
        assert absent not in PAGES[name].of("id"), name


def test_a_loss_too_high_for_a_float_is_told_from_tokens_without_one() -> None:
    page = Page(render(report([DocumentScore(str(i), None, 2000.0 + i, 4e6, 1, 0) for i in range(12)])))
    assert "larger than a float holds: exp of 2,005.5" in page.text


def test_the_curve_holds_every_scored_token_by_its_context() -> None:
    contexts = {context_bin(c): (2.0 * (c + 1), c + 1) for c in (0, 1, 2, 3, 4, 1000)}
    overall = report([DocumentScore("a", None, 2.0 * 1017, 0.0, 1017, 0, contexts=contexts)]).overall
    chart = pictures.contexts(overall)
    assert chart is not None
    assert chart["x"][:5] == [0.5, 1, 2, 3, 4]
    assert chart["y"] == [2.0] * 6
    assert chart["ticks"][:3] == [(0.5, "0"), (1.0, "1"), (2.0, "2")]
    assert chart["text"][0] == "context 0: 2.000 nats, 1 token"
    assert pictures.range_of(context_bin(1000)) == "862 to 1,023"


def test_the_last_doubling_of_the_context_is_weighed_by_tokens() -> None:
    contexts = {12: (4.0 * 1, 1), 13: (3.0 * 7, 7), 14: (2.0 * 2, 2), 15: (1.0, 1)} | dict.fromkeys(range(16, 20), (2.5 * 9, 9))
    overall = report([DocumentScore("a", None, 1.0, 1.0, 1, 0, contexts=contexts)]).overall
    assert pictures.halving(overall) == ("8 to 15", "16 to 31", pytest.approx((4 + 21 + 4 + 1) / 11 - 2.5, rel=1e-12))


DRAW = random.Random(1)


@pytest.mark.parametrize("values", [[1.0, 2, 3, 4, 5], [DRAW.gauss(3, 1) for _ in range(5000)], [1.0] * 50 + [2.0]])
def test_a_histogram_counts_every_document_once(values: Sequence[float]) -> None:
    chart = pictures.histogram(values, "x")
    assert chart is not None
    assert sum(chart["y"]) == len(values)
    assert chart["note"] == ""


def test_a_bar_is_as_high_as_there_are_documents_under_it() -> None:
    values = [DRAW.gauss(3, 1) for _ in range(3000)]
    chart = pictures.histogram(values, "x")
    assert chart is not None
    half = chart["width"] / 2
    assert chart["y"] == [sum(x - half <= value < x + half for value in values) for x in chart["x"]]


@pytest.mark.parametrize("apart", [0.0, 5e-324, 1e-300, 1e-16, 1e-9, 1e-3, 1e300])
@pytest.mark.parametrize("around", [0.0, 2.5, 1e6, -3.0])
def test_a_histogram_stands_any_spread(apart: float, around: float) -> None:
    chart = pictures.histogram([around + apart * i for i in range(20)], "x")
    assert chart is None or (sum(chart["y"]) == 20 and len(chart["y"]) <= 150)
    assert chart is None or min(b - a for a, b in itertools.pairwise(chart["x"])) > 0


def test_far_documents_do_not_flatten_the_histogram() -> None:
    values = [2 + i / 1000 for i in range(1000)] + [1e6, math.inf]
    chart = pictures.histogram(values, "x")
    assert chart is not None
    assert chart["width"] < 0.2
    assert chart["note"] == "Not drawn: 1 of 1,001 documents that lie further out."


def test_a_comparison_says_which_model_is_better_and_whether_that_may_be_chance() -> None:
    sure, unsure = PAGES["compared"].text, Page(render_comparison(comparison(low=-0.1, high=0.04))).text
    turned = Page(render_comparison(comparison(delta=0.0301, low=0.02, high=0.04))).text
    share = figure(100 * -math.expm1(-0.0301))
    assert f"The perplexity of A per token is {share}\u00a0% below that of B, and the interval" in sure
    assert f"The perplexity of A per token is {share}\u00a0% below that of B, which may be chance" in unsure
    assert f"The perplexity of B per token is {share}\u00a0% below that of A" in turned
    assert "−0.0347 to −0.0255" in sure


def test_a_comparison_shows_the_documents_that_differ_most() -> None:
    documents = [(f"doc{i}", 1.0, 1.0 + i / 1000) for i in range(100)] + [("lost", math.inf, 1.0)]
    page = Page(render_comparison(comparison(documents=documents)))
    table = page.text.split("Where they differ most")[1]
    assert table.index("lost") < table.index("doc99") < table.index("doc98") < table.index("doc71")
    assert "doc70" not in table
    assert "30 of 101 documents" in table


def test_a_script_does_not_end_early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: "'</script><img>'")
    page = Page(render(report(corpus(12))))
    assert len(page.scripts) == 3
    assert "img" not in {tag for tag, _ in page.tags}


@pytest.mark.parametrize("module", ["jinja2", "plotly.offline"])
def test_a_missing_library_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf"{module.split('.')[0]}: pip install 'losskit\[report\]'"):
        render(report(corpus(3)))
