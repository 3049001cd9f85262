"""The doctor's ward: each sick run is named, each healthy one hears nothing, and the other demos are healthy."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from losskit.demos import generator
from losskit.demos.sick_runs import Plan, rightly, sick_runs
from losskit.demos.sick_runs_patients import PATIENTS
from losskit.demos.sick_runs_ward import Patient, Seen, examined
from losskit.demos.watched import Training, ward, watching
from test_demos import NAMES, SMALL, silent, small

BY_NAME = {patient.name: patient for patient in PATIENTS}
SICK = [patient for patient in PATIENTS if not patient.healthy]
HEALTHY = [patient for patient in PATIENTS if patient.healthy]


@functools.cache
def seen_of(name: str) -> Seen:
    return examined(BY_NAME[name])


def names(patients: Sequence[Patient]) -> list[str]:
    return [patient.name for patient in patients]


def test_the_ward_has_ten_sick_runs_and_a_healthy_one_on_each_data_set() -> None:
    assert len(SICK) >= 10
    assert {patient.data for patient in SICK} <= {patient.data for patient in HEALTHY}
    assert len({patient.key for patient in PATIENTS}) == len(BY_NAME) == len(PATIENTS)


@pytest.mark.claim("R26", "R27", "R28")
@pytest.mark.parametrize("name", names(SICK))
def test_a_sick_run_is_named_first_thing(name: str) -> None:
    seen = seen_of(name)
    first = seen.first()
    assert first is not None
    assert rightly(BY_NAME[name], seen), [(one.finding.code, one.step) for one in seen.said]
    assert first.finding.hit.numbers
    assert seen.when(first) != "from the log"


@pytest.mark.claim("R26", "R27")
@pytest.mark.parametrize("name", names(HEALTHY))
def test_a_healthy_run_hears_nothing(name: str) -> None:
    seen = seen_of(name)
    assert seen.alarms == []
    assert len(seen.losses) == seen.steps
    assert seen.losses[-1] < 0.6 * seen.losses[0]


@pytest.mark.claim("R30")
def test_a_loss_at_its_smoothing_floor_is_told_that_it_is_there() -> None:
    """Of ten classes and epsilon 0.1: the entropy of 0.91 and nine times 0.01."""
    first = seen_of("smoothing floor").first()
    assert first is not None
    assert (first.finding.code, first.finding.severity) == ("D404", "info")
    floor = -0.91 * math.log(0.91) - 9 * 0.01 * math.log(0.01)
    assert f"stands at {floor:.4f}" in first.finding.hit.said


def test_what_one_batch_tells_is_said_before_the_first_step() -> None:
    for name in ("softmax twice", "another's optimizer", "wrong sign", "(N, 1) against (N,)"):
        first = seen_of(name).first()
        assert first is not None
        assert seen_of(name).when(first) == "before the first step"


def test_a_missing_measurement_is_found_in_the_step_that_meets_it() -> None:
    seen = seen_of("NaN in a feature")
    first = seen.first()
    assert first is not None
    assert first.step == 1 + next(i for i, value in enumerate(seen.losses) if math.isnan(value))
    assert first.finding.hit.where == "batch[0]"


def test_pairs_that_do_not_belong_together_end_at_ln_n() -> None:
    seen = seen_of("pairs shuffled")
    assert sum(seen.losses[-50:]) / 50 == pytest.approx(math.log(64), rel=0.02)
    assert "D702" in {one.finding.code for one in seen.said}


def test_looking_at_a_run_changes_no_digit_of_it() -> None:
    """The same training without a doctor."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        run = BY_NAME["healthy digits"].make(generator(0))
        assert run.loss_fn is not None
        run.batch(0)  # as for check()
        losses: list[float] = []
        for i in range(20):
            images, labels = run.batch(i)
            run.optimizer.zero_grad()
            loss = run.loss_fn(run.model(images), labels)
            loss.backward()
            run.optimizer.step()
            losses.append(float(loss.detach()))
    assert seen_of("healthy digits").losses[:20] == losses


@pytest.mark.claim("R36")
def test_the_demo_says_what_it_measured() -> None:
    result = sick_runs(silent, Plan(("softmax twice", "wrong sign", "NaN in a feature", "healthy diabetes")))
    found = result.facts
    assert (found["sick"], found["named"], found["before"], found["during"], found["after"]) == (3, 3, 2, 1, 0)
    assert (found["healthy"], found["alarms"]) == (1, 0)
    assert "name all 3 sick runs: it spoke 2 before the first step, 1 while it trained" in result.answer
    assert "the 1 healthy runs beside them heard nothing. " in result.answer
    assert [row[1:] for row in result.tables[1].rows] == [["nothing", "", "nothing"]]
    assert str(result.tables[0].rows[2][2]).endswith("of 300, batch[0]")
    assert not any(key.startswith("doctor_") for key in found)


def test_the_answer_counts_what_the_last_column_shows() -> None:
    """Of a wrong sign the log shows what followed, a negative loss."""
    result = sick_runs(silent, Plan(("wrong sign", "learning rate 10", "NaN in a feature", "(N, 1) against (N,)")))
    shown = [str(row[-1]) for row in result.tables[0].rows]
    assert shown == ["(D405)", "D501", "nothing", "D301"]
    named = sum(one.startswith("D") for one in shown)
    assert result.answer.endswith(
        f"alone it names {named} of the {len(shown)}, and of {shown.count('(D405)')} more it says what followed."
    )
    assert (result.facts["log_named"], result.facts["log_other"]) == (named, 1)


def test_a_run_that_is_not_named_is_admitted(monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(BY_NAME["wrong sign"], codes=("D999",))
    monkeypatch.setattr("losskit.demos.sick_runs.PATIENTS", (other,))
    result = sick_runs(silent)
    assert result.facts["named"] == 0
    assert result.facts["misnamed"] == 1
    assert "name 0 of 1 sick runs" in result.answer
    assert "not right were its words on wrong sign" in result.answer


def test_a_chart_has_the_level_that_the_doctor_names() -> None:
    result = sick_runs(silent, Plan(("softmax twice", "pairs shuffled")))
    marks = [mark for chart in result.figures[0].charts for mark in chart.marks]
    levels = [mark.value for mark in marks if mark.axis == "y"]
    for wanted in (math.log(10), math.log(math.e + 9) - 1, math.log(64)):
        assert any(value == pytest.approx(wanted) for value in levels)


# the doctor beside the other demos


@pytest.mark.parametrize("name", [name for name in NAMES if name != "sick-runs"])
def test_the_doctor_watches_the_trainings_of_every_demo_and_finds_nothing(name: str) -> None:
    result = small(name)
    assert result.facts["doctor_trainings"] >= 1
    assert result.facts["doctor_steps"] >= 20
    assert result.facts["doctor_findings"] == 0
    assert f"all {result.facts['doctor_trainings']:.0f} trainings ({result.facts['doctor_steps']:.0f} steps" in result.method
    assert result.method.endswith("found nothing wrong.")
    assert name in SMALL


def trained(saw: Training, values: Sequence[float]) -> None:
    for value in values:
        saw(torch.tensor(value, requires_grad=True))


def test_a_training_that_diverges_is_named_with_its_numbers() -> None:
    with ward() as patients:
        trained(watching("one"), [math.exp(0.05 * i) for i in range(200)])
        trained(watching("other", models=2), [2 * math.exp(-0.05 * i) + 0.2 for i in range(200)])
    said, counted = patients.judged()
    assert counted == {"doctor_trainings": 2, "doctor_steps": 400, "doctor_findings": 1}
    assert "3 models side by side" in said
    assert "one: D501, " in said
    assert "other" not in said


def test_the_curve_of_models_side_by_side_is_their_mean() -> None:
    saw = watching("four", models=4)
    trained(saw, [8.0, 4.0])
    assert saw.losses == [2.0, 1.0]


def test_a_training_outside_of_a_demo_is_nobodys_patient() -> None:
    with ward() as patients:
        pass
    trained(watching("alone"), [1.0])
    assert patients.judged() == ("", {})
