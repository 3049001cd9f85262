"""The fitted temperature is the minimum of cross-entropy, and there is an error where there is none."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

import evaluate_helpers_calibration as loops
from losskit.evaluate.calibration.error import expected_calibration_error
from losskit.evaluate.calibration.temperature import fit_temperature

Z, Y = loops.overconfident(500, 5)


def loss(temperature: float) -> float:
    return float(F.cross_entropy(Z / temperature, Y))


@pytest.mark.parametrize("by", [1e-290, 1e-200, 1e-8, 0.3, 1.0, 2.0, 50.0, 1e12, 1e200, 1e290])
def test_scores_times_a_number_have_that_number_times_the_temperature(by: float) -> None:
    assert fit_temperature(by * Z, Y) == pytest.approx(by * fit_temperature(Z, Y), rel=1e-9, abs=0)


def test_no_temperature_beside_it_is_better() -> None:
    best = fit_temperature(Z, Y)
    assert 1.5 < best < 2.7
    assert loss(best) < min(loss(best * 1.001), loss(best / 1.001), loss(1.0))
    sharpness = torch.tensor(1 / best, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F.cross_entropy(Z * sharpness, Y), sharpness)
    assert abs(float(slope)) < 1e-12


def test_of_one_score_and_one_rate_it_is_a_formula() -> None:
    """sigmoid(4 / T) = 3/4, so T = 4 / ln 3."""
    z, y = torch.full((4,), 4.0), torch.tensor([1, 1, 1, 0])
    assert fit_temperature(z, y) == pytest.approx(4 / math.log(3), rel=1e-12)
    assert fit_temperature(torch.stack([torch.zeros(4), z], -1), y) == pytest.approx(4 / math.log(3), rel=1e-12)
    assert fit_temperature(z, y, weight=torch.tensor([1.0, 0, 0, 1 / 3])) == pytest.approx(4 / math.log(3), rel=1e-6)


def test_it_mends_an_overconfident_model_on_rows_it_has_not_seen() -> None:
    z, y = loops.overconfident(20000, 5, by=3.0, seed=1)
    temperature = fit_temperature(z[:10000], y[:10000])
    assert temperature == pytest.approx(3, rel=0.05)
    assert expected_calibration_error(z[10000:] / temperature, y[10000:]) < 0.02
    assert expected_calibration_error(z[10000:], y[10000:]) > 0.2


def test_layout_masks_and_ruled_out_classes_do_not_matter() -> None:
    wanted = fit_temperature(Z, Y)
    assert fit_temperature(Z.reshape(5, 100, 5).movedim(-1, 1), Y.reshape(5, 100), class_dim=1) == wanted
    more = torch.cat([Z, torch.full((1, 5), math.nan, dtype=torch.float64)]), torch.cat([Y, torch.tensor([-100])])
    assert fit_temperature(*more) == pytest.approx(wanted, rel=1e-12)
    out = F.pad(Z, (0, 1), value=-math.inf)
    assert fit_temperature(out, Y) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("z", "y", "message"),
    [
        (Z, Z.argmax(-1), "it goes to 0"),
        (Z, Z.argmin(-1), "goes to infinity"),
        (torch.zeros(4, 3), torch.zeros(4).long(), "goes to infinity"),
        (Z, torch.full_like(Y, -100), "none counts"),
        (Z.masked_fill(F.one_hot(Y, 5).bool(), -math.inf), Y, "rules its target out"),
        (Z * math.nan, Y, "nan"),
        (Z * math.inf, Y, "nan"),
    ],
)
def test_where_no_temperature_is_the_best_the_error_says_why(z: torch.Tensor, y: torch.Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit_temperature(z, y)


def test_a_class_masked_by_the_lowest_float_is_as_good_as_ruled_out() -> None:
    out = F.pad(Z, (0, 1), value=torch.finfo(torch.float32).min)
    assert fit_temperature(out, Y) == pytest.approx(fit_temperature(Z, Y), rel=1e-9)


def test_a_search_that_does_not_end_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("losskit.evaluate.calibration.temperature._STEPS", 2)
    with pytest.raises(ValueError, match=r'"input" has scores .* no temperature was found in 2 steps'):
        fit_temperature(Z, Y)
