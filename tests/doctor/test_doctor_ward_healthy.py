"""Healthy runs: the doctor hears them before, during and after, and says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from ward.healthy_all import HEALTHY, PHASES, SEEDS, alarms, looked_at

FEW = ("noisy_labels", "curriculum", "label_smoothing", "adversaries", "frozen_backbone", "padded_language_model")


def _said(name: str, seed: int, folder: Path) -> list[str]:
    reports = looked_at(name, seed, folder)
    for phase in PHASES:
        case = reports[phase].cases[0]
        assert not case.faults, f"{name}, seed {seed}, {phase}: {case.faults}"
        assert not case.problem, f"{name}, seed {seed}, {phase}: {case.problem}"
    found = [(phase, one) for phase in PHASES for one in alarms(reports[phase])]
    return [f"{name}, seed {seed}, {phase}: {one.code} {one.severity}: {one.hit.said}" for phase, one in found]


@pytest.mark.parametrize("name", FEW)
def test_a_healthy_run_hears_nothing(name: str, tmp_path: Path) -> None:
    assert _said(name, 0, tmp_path) == []


def test_there_are_enough_healthy_runs() -> None:
    assert len(HEALTHY) >= 44


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_hears_nothing_with_five_seeds(name: str, tmp_path: Path) -> None:
    assert [said for seed in SEEDS for said in _said(name, seed, tmp_path)] == []
