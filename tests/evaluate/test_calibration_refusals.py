"""What losskit.Calibration refuses of states, merges and weights, and what it takes on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import evaluate_helpers_calibration as loops
from losskit.evaluate.calibration.error import expected_calibration_error, reliability_table
from losskit.evaluate.calibration.stream import Calibration

Z, Y = loops.overconfident(120, 4)
Y[::9] = -100


def counted() -> Calibration:
    metric = Calibration(bins=10)
    metric.update(Z, Y)
    return metric


def test_a_metric_is_not_merged_with_itself_nor_twice() -> None:
    metric, other = counted(), counted()
    before = metric.result()
    with pytest.raises(ValueError, match='"others" holds this metric itself'):
        metric.merge_state([metric])
    with pytest.raises(ValueError, match='"others" holds the same metric twice'):
        metric.merge_state([other, other])
    with pytest.raises(TypeError, match='"others" is a Calibration, expected several Calibration'):
        metric.merge_state(other)
    with pytest.raises(TypeError, match=r'"others" holds a dict, expected Calibration only'):
        metric.merge_state([other, other.state_dict()])
    assert metric.result().rows == before.rows


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda state: {}, ValueError, '"state" has no "kind"'),
        (lambda state: None, TypeError, '"state" is a NoneType'),
        (lambda state: {**state, "kind": "of classes"}, ValueError, '"state" has kind'),
        (lambda state: {**state, "rows": state["rows"].double()}, ValueError, '"state" has rows'),
        (lambda state: {**state, "rows": -state["rows"]}, ValueError, '"state" has rows'),
        (lambda state: {**state, "rows": state["rows"].tolist()}, ValueError, '"state" has rows'),
        (lambda state: {**state, "sums": state["sums"][:4]}, ValueError, '"state" has sums'),
        (lambda state: {**state, "sums": state["sums"][:, :4]}, ValueError, '"state" has sums'),
        (lambda state: {**state, "sums": state["sums"].long()}, ValueError, '"state" has sums'),
        (lambda state: {**state, "kind": ""}, ValueError, '"state" has kind'),
    ],
)
def test_a_state_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], Any], error: type[Exception], message: str
) -> None:
    metric = counted()
    before = metric.compute()
    with pytest.raises(error, match=message):
        metric.load_state_dict(change(metric.state_dict()))
    assert torch.equal(metric.compute(), before)


def test_questions_of_any_number_of_answers_and_probabilities_are_the_same_claim() -> None:
    """That the answer is right: rows of 4 and of 3 classes, scores and probabilities, are binned as one set of rows."""
    few, fits = Z[:, :3].softmax(-1), torch.where(Y < 3, Y, -100)
    metric, other = counted(), Calibration(bins=10, input_kind="probabilities")
    other.update(few, fits)
    rows = loops.top_rows(Z, Y) + loops.top_rows(few.log(), fits)
    assert float(metric.merge_state([other]).compute()) == pytest.approx(loops.error(rows, 10), rel=1e-12)
    changing = counted()
    changing.update(Z[:, :3], fits)
    assert torch.allclose(changing.compute(), metric.compute(), rtol=1e-12)


@pytest.mark.parametrize("times", [1e-200, 1e200])
def test_weights_whose_squares_are_no_floats_are_refused(times: float) -> None:
    metric = counted()
    before = metric.compute()
    for call in (metric.update, expected_calibration_error, reliability_table):
        with pytest.raises(ValueError, match=r'"weight" has a bin of rows between .* and .*, expected 0 or 1e-100 to 1e.100'):
            call(Z, Y, weight=torch.full((120,), times, dtype=torch.float64))
    assert torch.equal(metric.compute(), before)


@pytest.mark.parametrize("times", [1e-90, 1e90])
def test_weights_that_are_far_from_1_count_as_many_rows_as_ones(times: float) -> None:
    weight = torch.full((120,), times, dtype=torch.float64)
    weight[0], target = 1e300, Y.clone()
    target[0] = -100  # what is ignored may weigh anything
    found = reliability_table(Z, target, weight=weight)
    assert torch.allclose(found.effective, reliability_table(Z, target).effective, rtol=1e-12)
