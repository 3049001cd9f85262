"""``losskit perplexity``, ``compare`` and ``plan``: the numbers are the library's, and they read well at any width."""

from __future__ import annotations

import io
import json
import math
import re
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluate_helpers_cli import BIGRAM, NAMES, TEXTS, bigram, data, losskit, overall, result, without_run, zoo
from losskit.cli import perplexity
from losskit.cli.perplexity_load import load
from losskit.cli.perplexity_output import excerpts
from losskit.evaluate import Plan, compare, read_report, score_tokens
from losskit.evaluate import perplexity as evaluate
from losskit.evaluate.records import UNITS
from losskit.evaluate.side_by_side import NAMES as PROTOCOLS
from losskit.evaluate.text.readers import FORMATS


def test_the_parser_offers_what_the_library_knows() -> None:
    assert perplexity.FORMATS == FORMATS
    assert perplexity.UNITS == UNITS
    assert ["losskit", *perplexity.COMPAT] == list(PROTOCOLS)


def test_the_json_is_that_of_the_library(tmp_path: Path) -> None:
    given = ["--window", 32, "--stride", "quarter", "--bos", "first", "--truncate", 200, "--units", "byte,token", "--seed", 3]
    given += ["--interval", "bootstrap", "--level", 0.9, "--resamples", 50, "--precision", "float64", "--batch-tokens", 640]
    given += ["--id-field", "name", "--group-field", "kind", "--limit", 11]
    mine = result(tmp_path, zoo() / "llama", data(tmp_path), *given)
    model, words, _ = load(str(zoo() / "llama"))
    evaluate(
        model, words, Path(data(tmp_path)), window=32, stride="quarter", bos="first", truncate=200, units=("byte", "token"),
        seed=3, interval="bootstrap", level=0.9, resamples=50, precision="float64", batch_tokens=640, doc_id="name",
        group_by="kind", limit=11,
    ).to_json(tmp_path / "theirs.json")  # fmt: skip
    assert without_run(mine) == without_run(tmp_path / "theirs.json")
    assert set(json.loads(mine.read_text())["groups"]) == {"a", "b"}


def test_the_dtype_is_the_one_that_is_asked_for(tmp_path: Path) -> None:
    for dtype in ("float32", "bfloat16"):
        found = json.loads(result(tmp_path, zoo() / "llama", data(tmp_path), "--dtype", dtype, "--limit", 2).read_text())
        assert found["model"]["dtype"] == dtype
    assert json.loads(result(tmp_path, BIGRAM, data(tmp_path), "--dtype", "float16").read_text())["model"]["dtype"] == "float16"


def test_units_can_be_those_of_another_field(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps({"text": text, "whole": text * 2}) + "\n" for text in TEXTS))
    found = overall(result(tmp_path, BIGRAM, path, "--units-from", "whole"))
    assert found["bytes"] == 2 * sum(len(text.encode()) for text in TEXTS)
    assert json.loads((tmp_path / "a.json").read_text())["protocol"]["units_from"] == "whole"


def test_standard_input_is_one_text_that_can_be_read_again_for_its_tokens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXTS[3].encode())))
    found = result(tmp_path, BIGRAM, "-", "--tokens", tmp_path / "tokens.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "tokens.jsonl").read_text().splitlines()]
    assert math.fsum(line["nats"] for line in lines) == pytest.approx(overall(found)["nats"], rel=1e-12)


def test_token_ids_need_no_tokenizer(tmp_path: Path) -> None:
    path = tmp_path / "ids.jsonl"
    path.write_text("[1, 2, 3, 4]\n[5, 6]\n")
    found = overall(result(tmp_path, "evaluate_helpers_cli:mute", path, "--format", "tokens"))
    assert (found["tokens"], found.get("bytes")) == (4, None)
    losskit(BIGRAM, path, "--format", "tokens", "--tokens", tmp_path / "t", "--quiet", status=2)


def test_every_token_is_written_with_its_place_and_they_add_up(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.jsonl"
    given = ["--id-field", "name", "--tokens", tokens, "--truncate", 100, "--window", 32, "--precision", "float64"]
    found = json.loads(result(tmp_path, zoo() / "llama", data(tmp_path), *given).read_text())
    lines = [json.loads(line) for line in tokens.read_text().splitlines()]
    assert {"document", "id", "start", "end", "text", "nats", "rank", "entropy"} <= lines[0].keys()
    for one, text in zip(found["documents"], TEXTS, strict=True):
        own = [line for line in lines if line["document"] == one["id"]]
        assert math.fsum(line["nats"] for line in own) == pytest.approx(one["nats"], rel=1e-12)
        assert all(line["text"] == text[line["start"] : line["end"]] for line in own)


def test_a_saved_reference_is_the_model_that_made_it(tmp_path: Path) -> None:
    given = [zoo() / "llama", data(tmp_path)]
    result(tmp_path, *given, "--save-hidden", tmp_path / "hidden")
    for reference in (tmp_path / "hidden", zoo() / "llama"):
        agreement = json.loads(result(tmp_path, *given, "--reference", reference).read_text())["agreement"]
        assert agreement["mean"] == pytest.approx(0.0, abs=1e-6)
        assert agreement["same_top"] == 1.0
    rounded = json.loads(result(tmp_path, *given, "--reference", zoo() / "llama", "--dtype", "bfloat16").read_text())["agreement"]
    assert 1e-12 < rounded["mean"] < 1e-3


# --- pages


def test_the_page_has_the_worst_documents_as_heat_text(tmp_path: Path) -> None:
    pytest.importorskip("jinja2")
    page = tmp_path / "a.html"
    found = result(tmp_path, zoo() / "llama", data(tmp_path), "--html", page, "--id-field", "name")
    html = page.read_text()
    for one in read_report(found).worst(3):
        assert one.id in html
    assert re.search(r'class="h\d+', html)


@pytest.mark.parametrize("bos", ["every", "first", "none"])
def test_an_excerpt_has_the_scores_of_the_whole(bos: str, tmp_path: Path) -> None:
    model, words, _ = load(str(zoo() / "llama"))
    text = " ".join(TEXTS)
    arguments = Namespace(window=32, stride=8, bos=bos, precision="float64", batch_tokens=None)
    report = evaluate(model, words, [text], window=32, stride=8, bos=bos, precision="float64")
    ready = SimpleNamespace(model=model, tokenizer=words, documents=[SimpleNamespace(id="0", text=text)])
    ((name, found),) = excerpts(arguments, ready, report)
    whole = {one.start: one for one in score_tokens(model, words, text, window=32, stride=8, bos=bos, precision="float64")}
    worst = report.documents[0].worst
    assert (name, worst is not None) == ("0", True)
    assert len(found) in range(201, 405)
    # the first tokens of the piece may be cut otherwise, and what follows them has a token more or less before it
    exact = [one for one in found if one.nats == pytest.approx(whole[one.start].nats, rel=1e-9)]
    assert len(exact) >= len(found) - 1
    assert any(one.nats == pytest.approx(worst.nats, rel=1e-9) for one in found if worst is not None)
    assert all(text[one.start : one.end] == one.text for one in found)


# --- compare and plan


def test_compare_prints_and_writes_what_the_library_finds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a = result(tmp_path, BIGRAM, data(tmp_path))
    b = result(tmp_path, "evaluate_helpers_cli:better", data(tmp_path), name="b")
    capsys.readouterr()
    losskit("compare", a, b, "--unit", "byte", "--html", tmp_path / "c.html", "--json", tmp_path / "c.json")
    found, out = compare(a, b, unit="byte"), capsys.readouterr().out
    assert json.loads((tmp_path / "c.json").read_text()) == json.loads(json.dumps(found.as_dict()))
    assert (tmp_path / "c.html").stat().st_size > 1000
    for word in ("Bigram (a.json)", "Bigram (b.json)", f"A / B: {found.ratio:.3f}", "12 documents", "B is less unsure"):
        assert word in out
    losskit("compare", a, b, "--json", "-")
    assert json.loads(capsys.readouterr().out)["unit"] == "token"


def test_plan_tells_what_each_stride_costs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losskit("plan", "--tokens", 1000, "--window", 64, "--stride", "half,disjoint,5", "--json", "-")
    plans = json.loads(capsys.readouterr().out)["plans"]
    assert [one["stride"] for one in plans] == [63, 32, 5]
    for one in plans:
        windows, positions = Plan(64, one["stride"], "every").cost(1000)
        assert (one["windows"], one["positions"], one["multiplier"]) == (windows, positions, positions / 1000)
    losskit("plan", "--window", 64, data(tmp_path), "--tokenizer", zoo() / "plain")
    out = capsys.readouterr().out
    tokens = sum(len(text.encode()) for text in TEXTS)  # the tokenizer has a token for each byte
    assert f"12 documents of {tokens:,} tokens, window 64, bos none" in out


def test_a_plan_is_what_the_run_then_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losskit("plan", data(tmp_path), "--tokenizer", zoo() / "llama", "--window", 48, "--stride", "quarter", "--json", "-")
    (one,) = json.loads(capsys.readouterr().out)["plans"]
    found = json.loads(result(tmp_path, zoo() / "llama", data(tmp_path), "--window", 48, "--stride", "quarter").read_text())
    assert one["positions"] == found["cost"]["forward_tokens"]
    assert {name: one[name] for name in found["context"]} == found["context"]


# --- what a person sees


def shown(columns: int | None, *arguments: object, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    capsys.readouterr()
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", str(columns))
    losskit(*arguments)
    return str(capsys.readouterr().out).splitlines()


def views(folder: Path) -> list[Sequence[object]]:
    a = result(folder, BIGRAM, data(folder), "--group-field", "kind")
    b = result(folder, zoo() / "llama", data(folder), "--group-field", "kind", name="b")
    full = ["--quiet", "--group-field", "kind", "--reference", zoo() / "llama", "--explain", "--baseline", b]
    return [
        [zoo() / "llama", data(folder), *full],
        ["compare", a, b, "--unit", "byte"],
        ["plan", "--tokens", 1234567, "--window", 128],
    ]


@pytest.mark.parametrize("columns", [40, 60, 120])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_cut(
    columns: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in views(tmp_path):
        lines = shown(columns, *arguments, capsys=capsys, monkeypatch=monkeypatch)
        assert max(map(len, lines)) <= columns
        assert not any(line.rstrip().endswith("…") for line in lines)


@pytest.mark.claim("R33")
def test_the_table_has_every_figure_and_one_line_of_protocol(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = shown(
        None, BIGRAM, data(tmp_path), "--id-field", "name", "--top", 2, "--quiet", capsys=capsys, monkeypatch=monkeypatch
    )
    model, words = bigram()
    report = evaluate(model, words, Path(data(tmp_path)), doc_id="name")
    text = "\n".join(lines)
    assert lines[0] == "Perplexity of Bigram"
    for unit in UNITS:
        assert re.search(rf"^{unit} +\S", text, re.MULTILINE)
    assert f"{report.perplexity:.2f}" in text
    assert [name for name in NAMES if f"\n{name} " in text] == sorted(one.id for one in report.worst(2))
    (line,) = [line for line in lines if line.startswith("protocol: ")]
    assert line == (
        f"protocol: {report.protocol.line()}, 100 % of the tokens scored, "
        f"mean context {report.contexts.mean if report.contexts else 0:.1f}, float32"
    )


def test_foreign_text_moves_no_cursor_and_is_no_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "evil.jsonl"
    rows = [{"text": f"{i} \x1b[31m[bold]\n\t{TEXTS[0]}", "id": f"\x1b[2J[red]{i}", "g": "[/]\x1b[1m"} for i in range(12)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = [BIGRAM, path, "--id-field", "id", "--group-field", "g", "--quiet"]
    text = "\n".join(shown(100, *given, capsys=capsys, monkeypatch=monkeypatch))
    assert "\x1b" not in text
    assert "[red]" in text


def test_json_is_all_that_is_on_stdout_and_progress_is_on_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losskit(BIGRAM, data(tmp_path), "--json", "-")
    assert json.loads(capsys.readouterr().out)["schema"] == "losskit.perplexity/1"
    losskit(BIGRAM, data(tmp_path), "--quiet")
    assert capsys.readouterr().err == ""


def test_other_protocols_are_put_beside_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    losskit(zoo() / "llama", data(tmp_path), "--quiet", "--explain")
    out = capsys.readouterr().out
    assert all(f"\n{name}: " in out for name in PROTOCOLS)
    losskit(zoo() / "llama", data(tmp_path), "--quiet", "--compat", "gptq", "--compat", "hf-docs")
    out = capsys.readouterr().out
    assert [name for name in PROTOCOLS if f"\n{name}: " in out] == ["hf-docs", "gptq"]
