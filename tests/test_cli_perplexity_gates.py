"""Gates of ``losskit perplexity``: figures that must not be, and a baseline that must not be much better."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate_helpers_cli import BIGRAM, TEXTS, data, overall, result
from losskit.cli import main
from losskit.evaluate import compare


def test_a_gate_fails_with_1_and_the_result_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = data(tmp_path)
    value = overall(result(tmp_path, BIGRAM, text))["perplexity"]
    for gate, status in ((f">{value + 1}", 0), (f">{value - 1}", 1), (f"<={value}", 1), (f"<{value}", 0), (f" >= {value}", 1)):
        found = result(tmp_path, BIGRAM, text, "--fail-if", "tokens<1", "--fail-if", f"perplexity{gate}", name="b", status=status)
        assert overall(found)["perplexity"] == value
        found.unlink()
        assert capsys.readouterr().err.count("gate failed: perplexity is") == status


def test_a_figure_that_is_not_known_fails_its_gate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "ids.jsonl"
    path.write_text("[1, 2, 3, 4]\n")
    result(tmp_path, BIGRAM, path, "--format", "tokens", "--fail-if", "bits_per_byte>100", status=1)
    assert "bits_per_byte is not known" in capsys.readouterr().err


def test_worse_than_the_baseline_is_judged_by_the_lower_bound_on_one_side(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = data(tmp_path)
    before = result(tmp_path, "evaluate_helpers_cli:better", text, name="better")
    one = compare(result(tmp_path, BIGRAM, text), before, level=0.9)
    assert one.interval is not None
    assert one.interval[0] > 1
    for factor, status in ((0.99, 1), (1.01, 0)):
        allowed = 100 * factor * (one.interval[0] - 1)
        result(tmp_path, BIGRAM, text, "--baseline", before, "--fail-if-worse", f"{allowed}%", name="c", status=status)
        assert ("is allowed" in capsys.readouterr().err) == bool(status)
    result(tmp_path, "evaluate_helpers_cli:better", text, "--baseline", before, "--fail-if-worse", "0%", name="c")
    assert "Both find the text equally likely." in capsys.readouterr().out


def test_one_document_is_judged_by_the_ratio_itself(tmp_path: Path) -> None:
    text = tmp_path / "one.txt"
    text.write_text(TEXTS[0])
    before = result(tmp_path, "evaluate_helpers_cli:better", text, name="better")
    ratio = compare(result(tmp_path, BIGRAM, text), before).ratio
    for factor, status in ((0.999, 1), (1.001, 0)):
        allowed = f"{100 * (ratio * factor - 1)}%"
        result(tmp_path, BIGRAM, text, "--baseline", before, "--fail-if-worse", allowed, name="c", status=status)


def test_a_baseline_of_other_documents_is_refused_before_the_model_is_loaded(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = result(tmp_path, BIGRAM, data(tmp_path), "--limit", 3, name="before")
    status = main(["perplexity", "no/such/model", str(data(tmp_path)), "--baseline", str(before), "--fail-if-worse", "1%"])
    assert status == 2
    assert "is of other documents" in capsys.readouterr().err
