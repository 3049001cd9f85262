"""Sick runs: the doctor names what is wrong first, and never names something else."""

from __future__ import annotations

from collections import Counter

import pytest
from ward.sick_all import SICK, Sick, examined

NAMED = 0.9  # of the runs: the right code comes first
LEAST = {"D1": 14, "D2": 10, "D3": 10, "D4": 6, "D5": 7, "D6": 4, "D7": 5, "D8": 5, "D9": 4}
FEW = (
    "softmax_layer_and_cross_entropy",
    "column_against_row",
    "optimizer_of_a_copy",
    "missing_value_in_a_feature",
    "log_that_never_falls",
    "labels_shifted_before_a_model_that_shifts",
    "trainer_that_writes_zero_for_nan",
)


def _by_name(name: str) -> Sick:
    return next(one for one in SICK if one.name == name)


@pytest.mark.parametrize("name", FEW)
def test_a_sick_run_is_named(name: str) -> None:
    outcome = examined(_by_name(name))
    assert outcome.verdict == "right", [(f.code, f.hit.said) for f in outcome.findings]


def test_every_family_of_findings_has_its_sick_runs() -> None:
    found = Counter(one.codes[0][:2] for one in SICK)
    assert {family: found[family] for family, count in LEAST.items() if found[family] < count} == {}
    assert len({one.name for one in SICK}) == len(SICK) >= 66


@pytest.mark.slow
def test_nine_sick_runs_of_ten_are_named_first_and_none_is_misnamed() -> None:
    outcomes = [examined(one) for one in SICK]
    counted = Counter(one.verdict for one in outcomes)
    said = {o.case.name: (o.verdict, [f.code for f in o.findings]) for o in outcomes if o.verdict != "right"}
    assert counted["right"] >= NAMED * len(SICK), said
    assert counted["misnamed"] == 0, said
