"""Logs that begin too late or end in between: what is said of their first step, their last, and what they may come to."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from doctor_helpers_levels import a_run, curve
from losskit.doctor import diagnose
from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.run import Run
from losskit.doctor.examine import examine
from losskit.doctor.finding import Finding, Hit, rules
from losskit.doctor.page.terminal import text
from losskit.doctor.report import Case, Report


def noise(count: int) -> Tensor:
    return torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def findings(run: Run, phase: Any = "after") -> tuple[Finding, ...]:
    found, faults = examine(Evidence(phase, run=run))
    assert faults == ()
    return found


def said_of(values: Tensor, **facts: Any) -> list[tuple[str, str]]:
    return [(one.code, one.severity) for one in findings(a_run(values, facts=facts))]


# ------------------------------------------------------------------ D501: from the first step on


def test_a_log_that_begins_after_the_explosion_is_no_healthy_one() -> None:
    (one,) = findings(a_run(1e9 * (1 + 0.1 * noise(200)), facts={"vocab_size": 50257}))
    assert (one.code, one.severity, one.hit.step) == ("D501", "warning", 0)
    assert one.hit.numbers["ratio"] == pytest.approx(1e9 / math.log(50257), rel=0.05)
    assert one.hit.level.startswith("ln 50257")
    assert one.hit.said.index("may be a sum") < one.hit.said.index("exploded")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (1e9 * torch.exp(-torch.arange(200) / 100), []),  # it comes down: a sum, or another loss
        (1.6e7 * (0.8 + 0.2 * torch.exp(-torch.arange(200) / 20)), []),  # a sum over 8e6 tokens, by a fifth
        (1.6e7 * (1 - 0.002 * torch.arange(100)) * (1 + 0.1 * noise(100)), []),  # by as much, in noise half as wide
        (5e4 * (1 + 0.1 * noise(200)), [("D501", "info")]),  # so many times chance may be a sum over tokens
        (5e4 * torch.exp(-torch.arange(200) / 100), []),  # and one that learns is one
        (8.0 * torch.exp(-torch.arange(200) / 100) + 0.2, []),
    ],
)
def test_a_loss_that_may_be_a_sum_is_no_explosion(values: Tensor, expected: list[tuple[str, str]]) -> None:
    assert said_of(values, vocab_size=50257) == expected


def test_without_a_level_no_height_is_too_high() -> None:
    assert said_of(1e9 * (1 + 0.1 * noise(200))) == []


def test_no_checkpoint_is_older_than_the_first_step_of_a_log() -> None:
    grown = 2.3 * torch.exp(torch.arange(300) / 30)
    early = next(f for f in findings(a_run(grown)) if f.code == "D501")
    late = next(f for f in findings(a_run(torch.cat([2.0 + 0.01 * noise(280), grown]))) if f.code == "D501")
    assert early.hit.step == 0
    assert "fresh weights" in early.fix
    assert "the checkpoint before" not in early.fix
    assert "Start again from the checkpoint before step 281" in late.fix  # 2.3 exp(1 / 30) is 1.19 times 2


# ------------------------------------------------------------------ D215: a whole multiple


def beside(factors: Tensor) -> list[Finding]:
    """The finding of an epoch log whose training loss is so many times its evaluation."""
    train = 2.3 * torch.exp(-torch.arange(40, dtype=torch.float64) / 15)
    run = a_run(train, curve(train / factors, "eval_loss"))
    return [one for one in findings(run) if one.code == "D215"]


def test_a_training_loss_that_is_twice_each_evaluation_may_be_a_sum() -> None:
    (one,) = beside(2 + 0.02 * noise(40))
    assert one.severity == "warning"
    assert one.hit.numbers["evaluations"] == 40
    assert "it may add up 2 micro-batches" in one.hit.said


def test_a_training_loss_that_is_twice_the_first_evaluations_alone_is_none() -> None:
    assert beside(torch.cat([torch.full((8,), 2.0), torch.linspace(2, 0.1, 32)])) == []


def test_a_log_that_begins_at_eight_times_chance_may_be_a_sum() -> None:
    values = 8 * (math.log(10) * torch.exp(-torch.arange(300) / 80) + 0.002 * noise(300)).abs()
    (one,) = findings(a_run(values, facts={"num_classes": 10}))
    assert (one.code, one.severity) == ("D215", "info")
    assert one.hit.numbers["factor"] == pytest.approx(8, rel=0.02)
    assert findings(a_run(values / 8, facts={"num_classes": 10})) == ()
    assert findings(a_run(values, facts={"loss": "triplet_margin_loss", "margin": 1.0})) == ()  # may begin where it likes


# ------------------------------------------------------------------ what the report says


def test_the_end_of_a_log_that_ends_in_nan_is_nan(tmp_path: Path) -> None:
    values = [*torch.linspace(2, 1, 30).tolist(), math.nan, math.nan]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"step": i, "loss": v}) + "\n" for i, v in enumerate(values)))
    (case,) = diagnose(tmp_path / "log.jsonl").cases
    assert case.facts["loss at the end"] == "NaN; the last finite one is 1 at step 29"
    (tmp_path / "log.jsonl").write_text("".join(json.dumps({"step": i, "loss": v}) + "\n" for i, v in enumerate(values[:30])))
    assert diagnose(tmp_path / "log.jsonl").cases[0].facts["loss at the end"] == pytest.approx(1.0)


def test_what_is_worth_knowing_is_called_info_everywhere(tmp_path: Path) -> None:
    found = Finding(rules()["D404"], Hit("stands at its floor, 0.5", {"level": 0.5}))
    report = Report((Case("a", "after", (found,), run=a_run(torch.linspace(2, 0.5, 100))),))
    assert "  info    D404  stands at its floor" in text(report, 100)
    assert report.to_json()["cases"][0]["findings"][0]["severity"] == "info"
    report.to_html(tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "info <code>D404</code>" in page
    assert ">note" not in page.lower()
