"""Curves in the terminal."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.doctor.evidence.calls import Level
from losskit.doctor.evidence.run import Series
from losskit.doctor.page.braille import draw
from losskit.doctor.page.thin import thin


def test_a_thinned_curve_keeps_its_extremes_and_its_nan() -> None:
    values = torch.zeros(100_000, dtype=torch.float64)
    values[12_345], values[77_777], values[50_000] = 9.0, -9.0, math.nan
    steps, kept = thin(Series("x", "train_loss", torch.arange(100_000), values), 300)
    assert len(kept) < 400
    assert {12_345, 50_000, 77_777, 0, 99_999} <= set(steps.tolist())
    assert float(kept.nan_to_num().max()) == 9


@pytest.mark.parametrize("values", [[], [1.0], [math.nan] * 5, [2.0] * 9, [1.0, math.inf, 3.0], [-1e300, 1e300]])
def test_a_curve_of_any_values_can_be_drawn(values: list[float]) -> None:
    series = Series("x", "train_loss", torch.arange(len(values)), torch.tensor(values, dtype=torch.float64))
    lines = draw(series, (Level("two", 2.0, "chance"),), width=60)
    assert len(lines) in (0, 7)
    assert all(len(line) <= 60 for line in lines)


def test_a_peak_far_above_the_rest_is_drawn_over_the_logarithm() -> None:
    values = torch.full((300,), 1.5, dtype=torch.float64)
    values[1] = 1e7
    values[5] = 1e3
    lines = draw(Series("loss", "train_loss", torch.arange(300), values), (Level("ln 3", 1.0986, "chance"),), width=60)
    assert lines[0].split()[0] == "1e+07"
    assert lines[-1].split() == ["log,", "step", "0", "299"]
    assert lines[-2].endswith("ln 3")
    drawn = [i for i, line in enumerate(lines[:-1]) if any(0x2801 <= ord(letter) <= 0x28FF for letter in line)]
    assert len(drawn) > 2, "the smaller peak has a height of its own"


def test_a_loss_that_touches_zero_keeps_its_axis() -> None:
    values = torch.cat([torch.zeros(1), torch.full((99,), 1.0), torch.full((1,), 1e6)]).double()
    assert draw(Series("loss", "train_loss", torch.arange(101), values), width=60)[-1].split()[0] == "step"
