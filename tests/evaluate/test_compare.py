"""compare: paired, clustered, of the same text only."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest

from evaluate_helpers_models import STATES, Markov, chain, hosted, sampled
from evaluate_tokenizers import tokenizer
from losskit.evaluate import PerplexityReport, compare, perplexity, read_report

TEXTS = [f"document number {i} is about {'cats' if i % 3 else 'dogs and rain'}" * (1 + i % 4) for i in range(12)]


def markov(seed: int, documents: list[list[int]], **options: Any) -> PerplexityReport:
    return perplexity(Markov(chain(seed=seed)), None, documents, **{"window": 8, "bos": STATES, **options})


def test_the_difference_is_that_of_the_losses_and_far_surer_than_two_intervals() -> None:
    table = chain()
    documents = sampled(table, [40 + i for i in range(40)])
    near = 0.98 * table + 0.02 * chain(seed=3)
    a = perplexity(Markov(near / near.sum(1, keepdim=True)), None, documents, window=8, bos=STATES)
    b = perplexity(Markov(table), None, documents, window=8, bos=STATES)
    found = compare(a, b)
    assert found.unit == "token"
    assert a.overall.loss is not None
    assert b.overall.loss is not None
    assert found.delta == pytest.approx(a.overall.loss - b.overall.loss, rel=1e-9)
    assert found.ratio == pytest.approx((a.perplexity or 0) / (b.perplexity or 1), rel=1e-9)
    alone = [r.overall.per["token"].standard_error or 0.0 for r in (a, b)]
    assert found.standard_error is not None
    assert found.standard_error < math.hypot(*alone) / 3
    assert found.p_value is not None
    assert 0 <= found.p_value <= 1
    assert compare(b, a).delta == pytest.approx(-found.delta, rel=1e-12)


def test_a_model_compared_with_itself_differs_by_nothing() -> None:
    documents = sampled(chain(), [20] * 12)
    found = compare(markov(0, documents), markov(0, documents))
    assert found.delta == 0
    assert found.ratio == 1
    assert found.p_value in (None, 1.0)


@pytest.mark.claim("R33")
def test_tokens_of_two_tokenizers_are_not_compared_but_bytes_are() -> None:
    model = hosted("llama")
    a, b = (perplexity(model, tokenizer(kind, bos=True), TEXTS, window=32) for kind in ("bpe", "byte"))
    with pytest.raises(ValueError, match="two tokenizers are not the same unit"):
        compare(a, b, unit="token")
    found = compare(a, b)
    assert found.unit == "byte"
    assert found.delta == pytest.approx(a.overall.per["byte"].value - b.overall.per["byte"].value, rel=1e-9)
    assert compare(a, b, unit="word").unit == "word"


def test_other_documents_are_refused() -> None:
    documents = sampled(chain(), [20] * 12)
    whole = markov(0, documents)
    with pytest.raises(ValueError, match=r"different documents .*(is not in b|more)"):
        compare(whole, markov(0, documents[:-1]))
    with pytest.raises(ValueError, match="not the same text"):
        compare(whole, markov(0, [*documents[:-1], documents[0]]))


def test_other_spans_of_the_same_documents_are_refused() -> None:
    documents = sampled(chain(), [20] * 12)
    with pytest.raises(ValueError, match="scored 20 tokens and b 19"):
        compare(markov(0, documents), markov(0, documents, bos="none"))


def test_other_windows_are_told() -> None:
    documents = sampled(chain(), [20] * 12)
    found = compare(markov(0, documents), markov(0, documents, window=16))
    assert "window 8" in found.warnings[0]
    assert "window 16" in found.warnings[0]


def test_a_report_read_from_json_is_the_report(tmp_path: Path) -> None:
    report = perplexity(
        hosted("llama"), tokenizer("bpe", bos=True), [{"text": t, "kind": t[-4:]} for t in TEXTS], window=32, group_by="kind",
        reference=hosted("gemma2"),
    )  # fmt: skip
    path = tmp_path / "report.json"
    text = report.to_json(path)
    again = read_report(path)
    assert again.to_json() == text
    assert again.overall == report.overall
    assert again.groups == report.groups
    assert again.agreement == report.agreement
    assert compare(again, path).delta == 0


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "other/1"}', '{"schema": "losskit.perplexity/1"}'])
def test_what_is_no_report_is_refused_by_name(content: str, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"report\.json"):
        read_report(path)


def test_infinite_losses_are_kept_as_strings_and_come_back(tmp_path: Path) -> None:
    report = markov(0, sampled(chain(), [5, 6]))
    bad = dataclasses.replace(report.documents[0], nats=math.inf, nonfinite=1)
    sick = dataclasses.replace(report, documents=(bad, *report.documents[1:]))
    sick.to_json(tmp_path / "sick.json")
    again = read_report(tmp_path / "sick.json")
    assert again.perplexity == math.inf
    assert again.interval is None


def test_what_is_printed_is_short() -> None:
    documents = sampled(chain(), [20] * 12)
    report = markov(0, documents)
    said = repr(report)
    assert said.startswith(f"PerplexityReport(perplexity={report.perplexity:.6g}, interval=(")
    assert "tokens=240, documents=12, protocol='window 8, stride 4" in said
    assert len(said) < 300
    both = repr(compare(report, markov(0, documents)))
    assert both.startswith("Comparison(a='Markov', b='Markov', unit='token', ratio=1, interval=(1, 1)")
    assert len(both) < 200


def test_what_an_earlier_run_scored_does_not_count_for_the_speed(tmp_path: Path) -> None:
    documents = sampled(chain(), [20] * 12)
    first, again = (markov(0, documents, resume=tmp_path / "journal") for _ in range(2))
    assert first.run["tokens_resumed"] == 0
    assert again.run["tokens_resumed"] == 240
    assert again.run["tokens_per_second"] == 0
