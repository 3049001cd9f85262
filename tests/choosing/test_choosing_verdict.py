"""A verdict says what the folds say: beaten, better, or not to be told apart."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from losskit.choosing.advice import Comparison, Scored
from losskit.choosing.prove.metric import Metric
from losskit.choosing.prove.verdict import any_beats, compared, scored, verdict

MAE = Metric("MAE", "lower is better", False, lambda guess, target: 0.0)
AUC = Metric("AUC", "higher is better", True, lambda guess, target: 0.0)


def said(*gaps: Comparison, avoid: Sequence[str] = (), models: Sequence[Scored] = ()) -> str:
    scores = models or (Scored("a", "linear", "MAE", 2.0, 1.0, 3.0, 10),)
    return verdict(scores, gaps, first="a", avoid=avoid, metric=MAE)


def gap(other: str, difference: float, half: float, metric: str = "MAE", model: str = "linear") -> Comparison:
    return Comparison(model, metric, "a", other, difference, difference - half, difference + half)


def test_a_first_choice_that_beats_another_and_is_not_beaten_agrees() -> None:
    assert said(gap("b", 2.0, 1.0), gap("c", 0.1, 1.0)) == (
        "agrees: a is better than b by 2 (1 to 3), and nothing is better than it (MAE 2 with the linear model)"
    )


def test_a_first_choice_that_is_beaten_disagrees_by_the_worst_gap() -> None:
    told = said(gap("b", -2.0, 1.0), gap("c", -4.0, 1.0), gap("d", 5.0, 1.0))
    assert told.startswith("disagrees: c is better than a by 4 (3 to 5)")


def test_intervals_that_hold_zero_decide_nothing() -> None:
    assert said(gap("b", 0.5, 1.0)).startswith("undecided: a cannot be told from b, 0.5 (-0.5 to 1.5)")
    both = said(gap("b", 0.5, 1.0), gap("wrong", 0.2, 1.0), avoid=["wrong"])
    assert both.startswith("undecided: a cannot be told from any of the two: b 0.5 (-0.5 to 1.5), wrong 0.2 (-0.8 to 1.2)")
    assert said().startswith("undecided: nothing could be compared with a")


def test_what_is_to_be_avoided_and_does_not_lose_is_named() -> None:
    told = said(gap("b", 2.0, 1.0), gap("wrong", 0.1, 1.0), avoid=["wrong"])
    assert told.startswith("agrees")
    assert "wrong, to be avoided, cannot be told from it here" in told


def test_the_model_that_does_better_decides() -> None:
    models = (Scored("a", "linear", "MAE", 2.0, 1.0, 3.0, 10), Scored("a", "mlp", "MAE", 1.0, 0.5, 1.5, 10))
    told = said(gap("b", -2.0, 1.0), gap("b", 2.0, 1.0, model="mlp"), models=models)
    assert told.startswith("agrees")
    assert told.endswith("(MAE 1 with the MLP)")


def test_another_figure_that_asks_for_another_loss_is_said_beside_it() -> None:
    assert said(gap("b", 2.0, 1.0), gap("b", -3.0, 1.0, metric="AUC")).endswith("; for AUC b is better by 3 (2 to 4)")


@pytest.mark.parametrize(("metric", "better"), [(MAE, 1.0), (AUC, 3.0)])
def test_a_candidate_beats_a_constant_in_the_direction_of_the_figure(metric: Metric, better: float) -> None:
    folds = {("a", "mlp"): {metric.name: [better, better]}, ("b", "mlp"): {}}
    assert any_beats(folds, [2.0, 2.0], metric, 0.25)
    assert not any_beats(folds, [better, better], metric, 0.25)
    assert not any_beats(folds, [2 * better - 2.0] * 2, metric, 0.25), "as far on the other side"


@pytest.mark.parametrize(("metric", "sign"), [(MAE, 1), (AUC, -1)])
def test_a_difference_is_positive_where_the_first_choice_is_better(metric: Metric, sign: int) -> None:
    folds = {("a", "linear"): {metric.name: [1.0, 2.0]}, ("b", "linear"): {metric.name: [2.0, 3.0]}}
    (found,) = compared(folds, [metric], "a", 0.25)
    assert found.difference == sign * 1.0
    assert found.low == found.high == found.difference, "the same in every fold"


def test_more_rivals_make_wider_intervals() -> None:
    one = {("a", "mlp"): {"MAE": [1.0, 2.0, 3.0]}, ("b", "mlp"): {"MAE": [2.0, 2.5, 5.0]}}
    three = {**one, ("c", "mlp"): {"MAE": [1.0, 1.0, 1.0]}, ("d", "mlp"): {"MAE": [1.0, 1.0, 1.0]}}
    alone, among = (next(c for c in compared(each, [MAE], "a", 0.25) if c.other == "b") for each in (one, three))
    assert among.difference == alone.difference
    assert among.high - among.low > 1.5 * (alone.high - alone.low)


def test_scores_are_means_over_folds() -> None:
    (found,) = scored({("a", "mlp"): {"MAE": [1.0, 3.0]}}, 0.25)
    assert (found.loss, found.model, found.metric, found.mean, found.folds) == ("a", "mlp", "MAE", 2.0, 2)
    assert found.low < 2 < found.high


def test_a_constant_is_beaten_by_the_same_share_in_folds_of_any_size() -> None:
    flat = [1.0, 2.0, 400.0, 3.0, 1.5]
    assert any_beats({("a", "mlp"): {"MAE": [0.5 * v for v in flat]}}, flat, MAE, 0.25)
    as_often_worse = [v * r for v, r in zip(flat, (0.9, 1.1, 1.0, 1.2, 0.8), strict=True)]
    assert not any_beats({("a", "mlp"): {"MAE": as_often_worse}}, flat, MAE, 0.25)


def test_a_constant_is_beaten_by_the_same_difference_in_folds_of_any_size() -> None:
    flat = [30.0, 110.0, 300.0, 31.0, 200.0]
    assert any_beats({("a", "mlp"): {"MAE": [v - 29 for v in flat]}}, flat, MAE, 0.25)
