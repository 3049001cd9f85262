"""Simulated healthy curves, seen live and afterwards by every rule."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    sys.path.insert(0, str(FOLDER))
    try:
        return importlib.import_module("doctor_alarms")
    finally:
        sys.path.remove(str(FOLDER))


@pytest.mark.parametrize("seed", [0, 7, 10, 13, 19, 31])
def test_no_rule_speaks_of_a_simulated_healthy_run(benchmark: Any, seed: int) -> None:
    steps = 20_000
    run = benchmark.simulated(list(benchmark.SHAPES)[seed // 4 % len(benchmark.SHAPES)], seed, steps)
    assert run.levels
    told, _ = benchmark.alarms(run, steps)
    assert told == {"during": [], "after": []}
