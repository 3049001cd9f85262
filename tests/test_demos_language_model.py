"""The language model demo: its memory is measured, and every number that it says is a fact."""

from __future__ import annotations

import contextlib
import functools
import io
import math
import re
import subprocess
import sys
from pathlib import Path

import pytest

from losskit.demos import Result, Table, judged, peak
from losskit.demos.corpus import split
from losskit.demos.gpt import Course, Shape
from losskit.demos.language_model import HEADS, Plan, language_model
from losskit.demos.peak import OURS, PLAIN, TIGHT, Case, Peak


def fake(case: Case) -> Peak:
    return Peak({PLAIN: 300, OURS: 200, TIGHT: 100}[case.head] << 20, 11.25)


def silent(share: float) -> None:
    assert 0 <= share <= 1


@functools.cache
def small() -> Result:
    plan = Plan(300, Shape(16, 1, 2, 64), Course(steps=30, rows=4, micro=2, rate=0.02), every=10, peak=fake)
    return language_model(silent, plan)


def table(result: Result, title: str) -> Table:
    (found,) = (one for one in result.tables if one.title == title)
    return found


# the memory


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux tells the resident memory at its highest")
def test_the_plain_head_keeps_its_scores_and_the_other_its_budget() -> None:
    plain, tight = (peak.peak(Case(head, 2048, 16, 16384)) for head in (PLAIN, TIGHT))
    scores = 4 * 2048 * 16384
    assert plain.bytes is not None
    assert tight.bytes is not None
    assert plain.bytes > 2.5 * scores  # the scores, their softmax and the gradient
    assert tight.bytes < scores
    assert plain.loss == pytest.approx(tight.loss, rel=1e-6)
    assert plain.loss == pytest.approx(math.log(16384), rel=0.1)


@pytest.mark.parametrize("limit", [60.0, 0.01])
def test_a_child_that_dies_or_takes_too_long_is_not_measured(limit: float) -> None:
    assert peak.peak(Case("no such head", 1, 1, 1), limit) == Peak(None, None)


def test_a_mark_is_found_without_proc_and_nothing_is_claimed_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peak, "_status", lambda field: None)
    marks = iter([1000, 1500, None, None])
    monkeypatch.setattr(peak, "_mark", lambda: next(marks))
    assert peak.rise(lambda: None) == 500
    assert peak.rise(lambda: None) is None


def test_memory_that_is_touched_is_seen() -> None:
    code = "import losskit.demos.peak as p; print(p.rise(lambda: bytearray(b'1') * (64 << 20)))"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert said == "None" or 60 << 20 < int(said) < 80 << 20


# what the demo says


def test_every_number_of_the_answer_is_a_fact() -> None:
    result = small()
    found, answer = result.facts, result.answer
    said = [
        f"a perplexity of {found['perplexity_model']:.0f}: it is as unsure as among {found['perplexity_model']:.0f} equally",
        f"equally likely tokens, of {found['vocabulary']:.0f}.",
        judged.said(found),
        f"the model needs {found['bits_per_byte_model']:.2f} bits per byte;",
        f"token frequencies need {found['bits_per_byte_unigram']:.2f}",
        f"xz with the training text to copy from {found['bits_per_byte_xz']:.2f}.",
        f"its loss off by {100 * abs(found['loss_off_means']):.1f} %",
        f"its gradient by {100 * found['gradient_off_means']:.0f} %",
        "For 4096 tokens and 32768 classes the plain head needs 300 MiB at its peak, linear_cross_entropy 200 MiB",
    ]
    assert [one for one in said if one not in answer] == []
    numbers = re.findall(r"\d+(?:\.\d+)?", answer)
    assert sorted(numbers) == sorted(number for one in said for number in re.findall(r"\d+(?:\.\d+)?", one))


def test_the_units_of_the_facts_agree_with_each_other() -> None:
    found = small().facts
    for who in ("chance", "untrained", "unigram", "xz", "model"):
        assert found[f"perplexity_{who}"] == pytest.approx(math.exp(found[f"loss_{who}"]))
        nats = found[f"loss_{who}"] * found["tokens_held"]
        assert found[f"bits_per_byte_{who}"] == pytest.approx(nats / math.log(2) / found["bytes_held"])
    assert found["loss_chance"] == pytest.approx(math.log(found["vocabulary"]))
    assert found["loss_untrained"] == pytest.approx(found["loss_chance"], rel=0.02)
    assert found["bytes_held"] == sum(map(len, split(0)[1].values()))
    assert found["bytes_learned"] == sum(map(len, split(0)[0].values()))


def test_the_evaluation_at_the_end_is_the_last_look_with_its_error() -> None:
    """Windows that do not overlap are the pieces that the score was taken in."""
    result = small()
    found = result.facts
    assert found["loss_disjoint"] == pytest.approx(found["loss_model"], rel=1e-6)
    assert found["bits_per_byte_disjoint"] == pytest.approx(found["bits_per_byte_model"], rel=1e-6)
    assert found["perplexity_low_disjoint"] < found["perplexity_model"] < found["perplexity_high_disjoint"]
    assert found["topics_held"] == len(split(0)[1])
    # tokens of a topic go together
    assert found["standard_error_disjoint"] > 1.5 * found["iid_standard_error_disjoint"]
    assert [row[0] for row in table(result, "How sure, and with how much context").rows] == ["disjoint", "half", "quarter"]
    assert {str(row[0]) for row in table(result, "The hardest topics").rows} <= split(0)[1].keys()
    assert [chart.name for chart in result.figures[1].charts] == ["context"]


def test_the_last_lines_of_the_code_give_the_perplexity_of_chance() -> None:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(small().code, {})
    level, low, high = map(float, re.findall(r"\d+\.\d+", out.getvalue().splitlines()[-1]))
    assert (level, low, high) == pytest.approx((1000, 1000, 1000))


def test_what_is_the_same_is_the_same_and_the_usual_mistake_is_not() -> None:
    found = small().facts
    for name in ("plain", "counted"):
        assert abs(found[f"loss_off_{name}"]) < 1e-6
        assert found[f"gradient_off_{name}"] < 1e-5
    assert abs(found["loss_off_means"]) > 1e-4
    assert found["gradient_off_means"] > 0.1
    assert found["loss_off_4096_by_32768"] == 0


def test_the_loss_falls_and_the_charts_are_one_measurement_in_three_units() -> None:
    result = small()
    bits, perplexity, loss = ([series.y for series in chart.series] for chart in result.figures[0].charts)
    assert loss[1][-1] < loss[1][0] - 0.5
    assert loss[0][-1] < loss[0][0] - 0.5
    for i in (0, 1):
        assert perplexity[i] == pytest.approx([math.exp(value) for value in loss[i]])
    per_token = result.facts["bytes_held"] / result.facts["tokens_held"] * math.log(2)
    assert loss[1] == pytest.approx([value * per_token for value in bits[1]])
    assert result.figures[0].charts[0].series[1].x == [0, 10, 20, 30]


def test_memory_that_could_not_be_measured_is_not_made_up() -> None:
    plan = Plan(260, Shape(8, 1, 1, 32), Course(steps=1, rows=2, micro=1), heads=HEADS[:2], peak=lambda case: Peak(None, None))
    result = language_model(silent, plan)
    assert "How much memory the head takes could not be measured here." in result.answer
    heads = table(result, "Peak memory of a training step's head")
    assert [list(row[3:]) for row in heads.rows] == [["not measured", "not measured"]] * 2
    assert not any(key.startswith("loss_off_1536") for key in result.facts)


@pytest.mark.claim("R36")
@pytest.mark.slow
def test_what_the_whole_demo_claims_is_what_it_measured() -> None:
    result = language_model(silent)
    found = result.facts
    order = [found[f"bits_per_byte_{who}"] for who in ("model", "xz", "unigram", "chance")]
    assert order == sorted(order)
    assert found["table_share"] > 0.5
    assert found["gradient_off_means"] > 0.2
    peaks = [row[3] for row in table(result, "Peak memory of a training step's head").rows]
    assert "not measured" not in peaks or sys.platform != "linux"
    if "not measured" not in peaks:
        plain, ours, tight = (float(str(one)) for one in peaks[2:])
        assert plain > 4 * ours > 8 * tight / 2
    assert abs(found["loss_off_4096_by_32768"]) < 1e-6
