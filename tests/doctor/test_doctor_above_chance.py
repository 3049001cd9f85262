"""D503 of a log: a loss that begins as a fresh model's does and stands above that of knowing nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from doctor_helpers_levels import a_run, codes, curve, noisy, told
from losskit.doctor.after.diagnosis import diagnose
from losskit.doctor.finding import Finding

CODES = ("D215", "D403", "D405", "D501", "D502", "D503", "D505", "D507", "D905")
THREE = {"num_classes": 3}
CHANCE = math.log(3)


def found_in(values: Tensor, *others: Any, facts: Any = THREE, only: tuple[str, ...] = CODES, **more: Any) -> tuple[Finding, ...]:
    objective = more.pop("objective", None)
    return told(a_run(values, *others, facts=facts, **more), only=only, objective=objective)


def from_chance_to(level: float, first: float = 1.1, **more: Any) -> Tensor:
    return torch.cat([torch.tensor([first], dtype=torch.float64), noisy(level, 299, **more)])


@pytest.mark.parametrize("rate", ["SGD", "AdamW"])
def test_a_run_ruined_by_its_learning_rate_is_never_healthy(rate: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    x = torch.randn(600, 10)
    y = (x @ torch.randn(10, 3) + torch.randn(600, 3)).argmax(1)
    model = nn.Linear(10, 3)
    optimizer = getattr(torch.optim, rate)(model.parameters(), lr=30)
    lines = []
    for i in range(300):
        rows = torch.randint(0, 600, (32,))
        loss = F.cross_entropy(model(x[rows]), y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        lines.append(f"step {i} loss {loss.item():.6g}\n")
    log = tmp_path / "hot.log"
    log.write_text("".join(lines))
    (case,) = diagnose(log, refs=THREE).cases
    assert not case.faults
    assert [one.code for one in case.findings if one.severity != "info"] == ["D503"]


def test_a_loss_that_begins_at_chance_and_stands_above_it_is_an_error() -> None:
    (found,) = found_in(from_chance_to(5.5, noise=0.3))
    assert (found.code, found.severity, found.hit.step) == ("D503", "error", 1)
    assert found.hit.numbers["chance"] == pytest.approx(CHANCE)
    assert found.hit.numbers["start"] == 1.1
    assert found.hit.numbers["median"] == pytest.approx(5.5, rel=0.02)


def test_a_peak_of_millions_at_the_start_hides_no_loss_above_chance() -> None:
    peak = torch.cat([torch.zeros(1), 1e7 * 0.5 ** torch.arange(299, dtype=torch.float64)])
    (found,) = found_in(from_chance_to(1.85, noise=0.1) + peak)
    assert (found.code, found.severity) == ("D503", "error")
    assert found.hit.numbers["median"] == pytest.approx(1.85, rel=0.02)


def test_a_fresh_model_with_wide_scores_that_gets_worse_is_a_warning() -> None:
    (found,) = found_in(from_chance_to(1.9, first=1.4))
    assert (found.code, found.severity) == ("D503", "warning")


def test_a_loss_that_falls_far_above_chance_has_lost_the_run() -> None:
    falling = torch.cat([torch.tensor([1.1]), 1000 * 0.98 ** torch.arange(299, dtype=torch.float64)])
    assert "D503" in codes(found_in(falling + noisy(0, 300)))
    assert float(falling[-1]) > 2 * CHANCE
    nearly = torch.cat([torch.tensor([1.1]), 3 - 1.6 * torch.arange(299, dtype=torch.float64) / 299])
    assert "D503" not in codes(found_in(nearly + noisy(0, 300)))  # it may yet come to chance


@pytest.mark.parametrize(
    ("values", "more"),
    [
        (from_chance_to(1.12), {}),  # within 3 % of chance: D403's, if of any
        (from_chance_to(1.85), {"facts": {}}),
        (from_chance_to(1.85), {"facts": {"loss": "my_own", "num_classes": 3}}),
        (from_chance_to(1.85), {"name": "ohem_loss"}),
        (from_chance_to(1.85), {"objective": "mining"}),
        (from_chance_to(1.85), {"objective": "adversarial"}),
        (from_chance_to(1.85, first=2.4), {}),  # more than this loss is added up there
        (torch.linspace(2.6, 1.2, 300).clamp(min=1.5) + noisy(0, 300), {}),  # a sum that has fallen
        (from_chance_to(1.9, noise=1.0), {}),  # negative somewhere
    ],
)
def test_where_the_loss_may_be_another_nothing_is_said_of_chance(values: Tensor, more: dict[str, Any]) -> None:
    assert "D503" not in codes(found_in(values, only=("D503",), **more))


def test_an_evaluation_below_chance_shows_that_the_model_knows_something() -> None:
    ruined = from_chance_to(1.85)
    below = curve(torch.linspace(1.1, 0.7, 10), "eval_loss")
    above = curve(torch.linspace(1.1, 1.9, 10), "eval_loss")
    assert found_in(ruined, below, only=("D503",)) == ()
    assert codes(found_in(ruined, above, only=("D503",))) == ["D503"]


def test_the_part_of_the_classes_is_held_against_chance_and_never_a_sum() -> None:
    total, part = from_chance_to(1.85), from_chance_to(0.8)
    assert found_in(total, curve(part, name="loss_cls"), curve(total - part, name="loss_box"), only=("D503",)) == ()
    ruined = from_chance_to(1.8)
    parts = (curve(ruined, name="loss_cls"), curve(noisy(0.2, 300), name="loss_box"))
    (found,) = found_in(ruined + 0.2, *parts, only=("D503",))
    assert found.hit.numbers["median"] == pytest.approx(1.8, rel=0.02)


def test_a_divergence_says_it_alone() -> None:
    soared = torch.cat([noisy(1.1, 20), noisy(30, 280)])
    assert codes(found_in(soared)) == ["D501"]


def test_a_jump_above_chance_is_folded_into_it() -> None:
    jump = torch.cat([noisy(0.9, 140), noisy(1.25, 160)])  # too little for D501
    (found,) = found_in(jump, only=("D501", "D503", "D507"))
    assert (found.code, [one.code for one in found.consequences]) == ("D503", ["D507"])


def test_one_lucky_evaluation_does_not_excuse_a_run_that_stands_above_chance() -> None:
    evaluations = noisy(2.5, 60)
    evaluations[14] = 0.98 * CHANCE
    (found,) = found_in(from_chance_to(1.9), curve(evaluations, "eval_loss"))
    assert found.code == "D503"
