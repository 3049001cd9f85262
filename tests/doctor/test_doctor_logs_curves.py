"""Points of a log become curves: names, steps, restarts, epochs."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.doctor.after.logs.curves import curves_of
from losskit.doctor.after.logs.names import kind_of, number
from losskit.doctor.after.logs.table import MOST_CURVES, Table
from losskit.doctor.evidence.run import Series


def table(rows: list[dict[str, object]]) -> Table:
    made = Table()
    made.add_rows(rows)
    return made


def curve(rows: list[dict[str, object]], name: str = "loss") -> Series:
    return next(s for s in curves_of(table(rows)).series if s.name == name)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("loss", "train_loss"),
        ("train/loss", "train_loss"),
        ("trainLoss", "train_loss"),
        ("lm loss", "train_loss"),
        ("train_loss_epoch", "train_loss"),
        ("nll", "train_loss"),
        ("eval_loss", "eval_loss"),
        ("val/cross_entropy", "eval_loss"),
        ("Loss/validation", "eval_loss"),
        ("learning_rate", "lr"),
        ("lr-AdamW/pg1", "lr"),
        ("grad_norm", "grad_norm"),
        ("grad norm", "grad_norm"),
        ("grad_2.0_norm_total", "grad_norm"),
        ("grad_2.0_norm/layer1.weight", "metric"),
        ("gnorm", "grad_norm"),
        ("loss_scale", "loss_scale"),
        ("loss scale", "loss_scale"),
        ("eval/ppl", "perplexity"),
        ("perplexity", "perplexity"),
        ("epoch", "epoch"),
        ("train/epoch", "epoch"),
        ("accuracy", "metric"),
        ("loss_weight", "metric"),
        ("best_loss", "metric"),
        ("glossary", "metric"),
        ("", "metric"),
    ],
)
def test_the_kind_of_a_curve_is_told_by_its_name(name: str, kind: str) -> None:
    assert kind_of(name) == kind


@pytest.mark.parametrize(
    ("cell", "value"),
    [("1e-3", 1e-3), ("Infinity", math.inf), (7, 7.0), (10**400, math.inf), (-(10**400), -math.inf)]
    + [(cell, None) for cell in (True, None, "1.2.3", "", [1], "x" * 1000)],
)
def test_a_cell_is_a_number_or_it_is_not(cell: object, value: float | None) -> None:
    assert number(cell) == value


def test_the_main_curve_is_the_whole_loss_step_by_step() -> None:
    rows: list[dict[str, object]] = [
        {"step": i, "loss_kl": 1, "train_loss_epoch": 1, "loss": 1, "train_loss_ema": 1} for i in range(5)
    ]
    names = [s.name for s in curves_of(table(rows)).series]
    assert names[0] == "loss"


def test_a_restart_replaces_what_came_after_it() -> None:
    rows: list[dict[str, object]] = [{"step": i, "loss": 1.0} for i in range(10)] + [
        {"step": i, "loss": 2.0} for i in range(6, 12)
    ]
    made = curves_of(table(rows))
    assert made.restarts == (6,)
    assert made.series[0].steps.tolist() == list(range(12))
    assert made.series[0].values.tolist() == [1.0] * 6 + [2.0] * 6


def test_a_stray_record_at_the_end_is_no_restart() -> None:
    rows: list[dict[str, object]] = [{"step": i, "loss": 1.0} for i in range(100)] + [{"step": 0, "loss": 9.0}]
    made = curves_of(table(rows))
    assert len(made.series[0]) == 100
    assert made.skipped == 1
    assert made.restarts == ()


def test_of_two_values_at_one_step_the_later_counts() -> None:
    assert curve([{"step": 1, "loss": 1.0}, {"step": 2, "loss": 5.0}, {"step": 2, "loss": 2.0}]).values.tolist() == [1.0, 2.0]


def test_a_counter_that_begins_again_each_epoch_goes_on() -> None:
    rows: list[dict[str, object]] = [{"epoch": e, "step": s, "loss": 3 - e - s / 10} for e in range(3) for s in range(0, 10, 2)]
    rows.insert(5, {"epoch": 0, "val_loss": 1.0})
    made = {s.name: s for s in curves_of(table(rows)).series}
    assert made["loss"].steps.tolist() == list(range(0, 30, 2))
    assert made["val_loss"].steps.tolist() == [8]


def test_without_an_epoch_equal_lengths_that_go_on_falling_are_epochs_and_that_begin_anew_are_runs() -> None:
    falling: list[dict[str, object]] = [{"step": s, "loss": 3.0 - e - s / 30} for e in range(3) for s in range(20)]
    again: list[dict[str, object]] = [{"step": s, "loss": 3.0 - s / 10} for _ in range(3) for s in range(20)]
    assert len(curve(falling)) == 60
    assert len(curve(again)) == 20


def test_rows_without_steps_count_by_whole_epochs_or_by_their_place() -> None:
    assert curve([{"epoch": e, "loss": 1.0} for e in (1, 2, 3)]).steps.tolist() == [1, 2, 3]
    assert curve([{"epoch": e, "loss": 1.0} for e in (0.5, 1.0, 1.5)]).steps.tolist() == [0, 1, 2]
    assert curve([{"loss": 1.0} for _ in range(3)]).steps.tolist() == [0, 1, 2]


def test_train_and_validation_without_steps_share_one_axis() -> None:
    rows: list[dict[str, object]] = [
        row for e in range(3) for row in ({"loss": 1.0}, {"loss": 1.0}, {"val_loss": 2.0, "epoch": e})
    ]
    made = {s.name: s.steps.tolist() for s in curves_of(table(rows)).series}
    assert made["loss"] == [0, 1, 3, 4, 6, 7]
    assert made["val_loss"] == [2, 5, 8]


@pytest.mark.parametrize(
    "steps", [[0, 0, 0], ["a", "b", "c"], [float("nan")] * 3, [1e300, 2e300, 3e300], [0.1, 0.2, 0.3], [None] * 3]
)
def test_steps_that_count_nothing_are_replaced_by_places(steps: list[object]) -> None:
    assert curve([{"step": step, "loss": 1.0} for step in steps]).steps.tolist() == [0, 1, 2]


def test_steps_as_text_floats_and_below_zero_are_steps() -> None:
    assert curve([{"step": step, "loss": 1.0} for step in ("-5", 2.0, 7)]).steps.tolist() == [-5, 2, 7]


def test_means_since_the_last_point_say_over_how_many_steps() -> None:
    made = curves_of(table([{"step": s, "loss": 1.0, "lr": 1.0} for s in (10, 20, 30)]), means=frozenset({"train_loss"}))
    assert {s.name: s.every for s in made.series} == {"loss": 10, "lr": 1}


def test_rows_with_other_keys_in_between_stay_in_order() -> None:
    rows: list[dict[str, object]] = [{"step": s, "loss": float(s), **({"lr": 1.0} if s % 3 else {})} for s in range(50)]
    made = curve(rows)
    assert made.steps.tolist() == list(range(50))
    assert torch.equal(made.values, made.steps.double())


def test_nested_rows_are_joined_by_a_slash() -> None:
    assert curve(
        [{"step": 1, "train": {"loss": 2.0, "deep": {"x": 1}}}, {"step": 2, "train": {"loss": 3.0}}], "train/loss"
    ).values.tolist() == [2, 3]


def test_a_log_with_a_name_a_line_is_cut_off() -> None:
    made = Table()
    for i in range(MOST_CURVES + 10):
        made.add(f"name {i}", 0, 1.0)
    assert len(made.points) == MOST_CURVES
    assert made.skipped == 10


def test_no_point_is_no_curve() -> None:
    assert curves_of(Table()).series == ()
