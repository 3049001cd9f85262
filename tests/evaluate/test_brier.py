"""The Brier score against its formula, and its decomposition, which adds up."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import evaluate_helpers_calibration as loops
from losskit.evaluate.calibration.brier import brier_decomposition, brier_score

Z, Y = loops.overconfident(300, 6)


def test_the_score_is_that_of_a_loop() -> None:
    target = Y.clone()
    target[::5] = -100
    found = brier_score(Z, target)
    assert found.dtype == torch.float64
    assert float(found) == pytest.approx(loops.brier(Z, target), rel=1e-12)
    assert float(brier_score(Z.softmax(-1), target, input_kind="probabilities")) == pytest.approx(float(found), rel=1e-12)


def test_a_confident_row_keeps_its_digits() -> None:
    """1 - p is what the other class has; taken from a float32 p it is 0."""
    z = torch.tensor([[20.0, 0.0]])
    p = math.exp(-20) / (1 + math.exp(-20))
    assert float(brier_score(z, torch.tensor([0]))) == pytest.approx(2 * p**2, rel=1e-12)
    assert float(brier_score(z[:, 0], torch.tensor([1]))) == pytest.approx(p**2, rel=1e-12)


def test_known_scores() -> None:
    sure = torch.tensor([[1e4, 0.0]])
    assert brier_score(sure, torch.tensor([0])) == 0
    assert brier_score(sure, torch.tensor([1])) == 2
    assert float(brier_score(torch.zeros(3, 4), torch.tensor([0, 1, 2]))) == 0.75**2 + 3 * 0.25**2
    assert float(brier_score(torch.zeros(3), torch.tensor([0, 1, 1]))) == 0.25


def test_two_classes_are_twice_the_binary_score() -> None:
    z, y = Z[:, 0], (Y == 0).long()
    two = torch.stack([torch.zeros_like(z), z], -1)
    assert torch.allclose(brier_score(two, y), 2 * brier_score(z, y), rtol=1e-12)
    with_p = brier_score(z.sigmoid(), y, input_kind="probabilities")
    assert torch.allclose(with_p, brier_score(z, y), rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.sampled_from(["equal_width", "equal_mass"]), st.booleans(), st.integers(0, 10**6))
def test_the_parts_add_up_for_any_bins(bins: int, binning: Any, binary: bool, seed: int) -> None:
    z, y = loops.overconfident(40, 3, seed=seed)
    weight = torch.rand(40, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).round(decimals=1)
    if binary:
        z, y = z[:, 0], (y == 0).long()
    found = brier_decomposition(z, y, bins=bins, binning=binning, weight=weight)
    total = found.reliability - found.resolution + found.uncertainty + found.spread - found.covariance
    assert torch.allclose(found.score, brier_score(z, y, weight=weight), rtol=1e-12)
    assert torch.allclose(found.score, total, rtol=1e-10)


def test_the_parts_are_murphys_where_each_bin_has_one_confidence() -> None:
    """0.2 three times with one yes, 0.8 twice with two: base rate 3/5."""
    p = torch.tensor([0.2, 0.2, 0.2, 0.8, 0.8], dtype=torch.float64)
    found = brier_decomposition(p, torch.tensor([1, 0, 0, 1, 1]), input_kind="probabilities")
    assert float(found.reliability) == pytest.approx(3 / 5 * (1 / 3 - 0.2) ** 2 + 2 / 5 * 0.2**2)
    assert float(found.resolution) == pytest.approx(3 / 5 * (1 / 3 - 3 / 5) ** 2 + 2 / 5 * (2 / 5) ** 2)
    assert float(found.uncertainty) == pytest.approx(3 / 5 * 2 / 5)
    assert float(found.spread) == pytest.approx(0, abs=1e-15)
    assert float(found.covariance) == pytest.approx(0, abs=1e-15)


def test_of_classes_each_part_is_the_sum_of_one_against_the_rest() -> None:
    whole = torch.stack(brier_decomposition(Z, Y, bins=7))
    p = Z.softmax(-1)
    each = [torch.stack(brier_decomposition(p[:, c], (c == Y).long(), bins=7, input_kind="probabilities")) for c in range(6)]
    assert torch.allclose(whole, sum(each[1:], each[0]), rtol=1e-10)


def test_rows_that_do_not_count_may_hold_anything() -> None:
    z, y = Z.clone(), Y.clone()
    z[0], y[0] = math.nan, -100
    for function in (brier_score, lambda *t: torch.stack(brier_decomposition(*t))):
        assert torch.allclose(function(z, y), function(Z[1:], Y[1:]), rtol=1e-12)
        with pytest.raises(ValueError, match="none counts"):
            function(z, torch.full_like(y, -100))
