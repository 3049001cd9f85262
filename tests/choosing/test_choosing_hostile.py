"""What people hand over by mistake: numbers of any size, columns of things, names that are not there, odd classes."""

from __future__ import annotations

import math
from datetime import time, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch

import losskit
from losskit.choosing.columns import read_columns
from losskit.cli import main

X = torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


# ------------------------------------------------------------------ columns


@pytest.mark.parametrize(
    "values",
    [
        pd.Series(pd.to_timedelta(range(60), unit="h")),
        [timedelta(hours=i) for i in range(60)],
        pl.Series([timedelta(hours=i) for i in range(60)]),
    ],
    ids=["pandas", "list", "polars"],
)
def test_durations_are_numbers_of_seconds(values: Any) -> None:
    column = read_columns({"d": values, "y": X}, target="y").inputs[0]
    assert (column.kind, column.values.tolist()) == ("number", [3600.0 * i for i in range(60)])


def test_a_time_with_a_zone_is_a_date() -> None:
    when = pd.date_range("2020-01-01", periods=60, tz="Europe/Berlin")
    column = read_columns({"d": pd.Series(when), "y": X}, target="y").inputs[0]
    assert column.kind == "date"
    assert column.values[1] - column.values[0] == 24 * 3600


def test_months_intervals_and_times_of_day_are_classes() -> None:
    months = pd.Series(pd.period_range("2020-01", periods=3, freq="M").repeat(20))
    for values in (months, pd.cut(pd.Series(X.numpy()), 3), [time(i % 3) for i in range(60)]):
        column = read_columns({"d": values, "y": X}, target="y").inputs[0]
        assert (column.kind, len(column.levels)) == ("text", 3)


@pytest.mark.parametrize("thing", [{"a": 1}, b"x", 1 + 2j], ids=["dict", "bytes", "complex"])
def test_an_input_that_nobody_can_read_does_not_spoil_the_others(thing: Any) -> None:
    table = {"thing": [thing] * 60, "x": X, "y": X}
    assert losskit.choose(table, target="y", task="regression").first is not None
    assert read_columns(table, target="y").features().left_out == {"thing": "neither numbers nor words"}
    with pytest.raises(ValueError, match=r'"target" is "thing".*expected numbers, words'):
        losskit.choose(table, target="thing")


def test_whole_numbers_beyond_every_type_are_read(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("y,a\n" + "".join(f"{i % 2},{10**25 + i}\n" for i in range(60)))
    assert losskit.choose(file, target="y").task == "binary"
    assert losskit.choose([10**400, 5, 7] * 10).task is not None


def test_a_structured_array_is_a_table() -> None:
    rows = np.array([(i, i % 2) for i in range(60)], dtype=[("a", float), ("y", int)])
    assert losskit.choose(rows, target="y").task == "binary"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": ["y", "y"]}, '"target" names "y" twice'),
        ({"target": "y", "inputs": ["x", "x"]}, '"inputs" names "x" twice'),
        ({"target": "y", "group": "y"}, '"group" is "y", which is the target'),
        ({"target": "y", "group": ["x", "y"]}, "expected one"),
        ({"target": "y", "group": [1, 2]}, '"group" has 2 rows, the table has 60'),
    ],
)
def test_a_column_has_one_part(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        losskit.choose({"x": X, "y": X > 0}, **options)


def test_a_target_beside_its_inputs_is_told_where_to_stand() -> None:
    with pytest.raises(TypeError, match=r"choose\(target, inputs=table\)"):
        losskit.choose({"x": X}, target=X > 0)
    with pytest.raises(ValueError, match=r"\.collect\(\)"):
        losskit.choose(pl.DataFrame({"x": X.numpy()}).lazy(), target="x")


@pytest.mark.parametrize("group", [torch.arange(60) // 5, np.arange(60) // 5, [f"q{i // 5}" for i in range(60)]])
def test_the_group_of_a_table_may_be_an_array(group: Any) -> None:
    assert losskit.choose({"x": X, "y": (X > 0).long()}, target="y", group=group).task == "ranking"


def test_options_of_data_without_data_are_an_error() -> None:
    wrong: dict[str, Any] = {"task": 3}
    with pytest.raises(ValueError, match='"target" is of data'):
        losskit.choose(task="binary", target="y")
    with pytest.raises(ValueError, match='"task" is 3'):
        losskit.choose(**wrong)


# ------------------------------------------------------------------ targets


@pytest.mark.parametrize("classes", [["T1", "T2", "N0"], ["1.0.2", "1.1.0", "2.0.0"], ["24.12.2021", "25.12.2021", "26.12.2021"]])
def test_words_with_digits_in_them_are_no_misspelt_numbers(classes: list[str]) -> None:
    assert losskit.choose(classes * 20).task == "multiclass"


def test_infinite_values_are_no_classes() -> None:
    advice = losskit.choose([1.0, math.inf, 2.5, -math.inf, math.nan] * 20)
    assert advice.task == "binary"
    assert "0 for '1', 1 for '2.5'" in advice.first.code if advice.first else False


@pytest.mark.parametrize("size", [1e300, 1e-300, 1.7e308])
@pytest.mark.parametrize("task", ["regression", "count"])
def test_targets_that_float32_cannot_hold_are_refused_with_what_to_divide_by(size: float, task: str) -> None:
    advice = losskit.choose((size * X.clamp(-1, 1).abs()), task=task)
    assert advice.first is None
    assert "float32" in advice.refusal
    assert "divided by 1e" in advice.refusal


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ([-1, 1] * 40, "# target: 0 for '-1', 1 for '1'"),
        (["no", "yes"] * 40, "# target: 0 for 'no', 1 for 'yes'"),
        ([1, 2, 3] * 40, "# target: 0 for '1', 1 for '2', 2 for '3'"),
        ([10**6, 10**6 + 1, 7] * 40, "# target: 0 for '7', 1 for '1000000', 2 for '1000001'"),
        (
            [f"class {chr(65 + i)}" for i in range(20)] * 9,
            "# target: 0 for 'class A', 1 for 'class B' and so on to 19 for 'class T'",
        ),
    ],
)
def test_the_code_says_which_class_is_which_number(values: list[Any], line: str) -> None:
    advice = losskit.choose(values)
    assert advice.first is not None
    assert line in advice.first.code.splitlines()
    assert all(line in one.code.splitlines() for one in (*advice.alternatives, *advice.avoid))


def test_classes_that_are_numbered_already_need_no_line() -> None:
    for values in ([0, 1] * 40, [0, 1, 2] * 40, [False, True] * 40):
        advice = losskit.choose(values)
        assert advice.first is not None
        assert "# target:" not in advice.first.code


def test_classes_that_differ_in_case_only_are_warned_of() -> None:
    assert any("one class or two" in w for w in losskit.choose(["Yes", "yes", "no"] * 30).warnings)


def test_two_rows_and_classes_that_come_once_are_refused() -> None:
    assert losskit.choose([0, 1]).first is None
    assert losskit.choose([3.5]).refusal == '"target" is 3.5 in its only row: there is nothing to learn.'
    assert "comes once" in losskit.choose(X, task="multiclass").refusal


@pytest.mark.parametrize("seed", range(5))
def test_counts_with_few_different_values_are_asked_about(seed: int) -> None:
    for mean in (0.1, 0.4, 1.0, 3.0):
        counts = torch.poisson(torch.full((80,), mean), generator=torch.Generator().manual_seed(seed))
        if len(counts.unique()) > 2:
            asked = losskit.choose(counts.long()).questions
            assert any("counts" in one.says for q in asked for one in q.answers)
    asked = losskit.choose([0] * 30 + [1] * 20 + [2] * 9 + [5]).questions
    assert any(one.says == "counts" for q in asked for one in q.answers)


def test_fractions_are_no_counts() -> None:
    assert any("amounts rather than counts" in w for w in losskit.choose(X.abs(), task="count").warnings)


def test_a_list_that_is_missing_is_said() -> None:
    table = {"q": [None] * 5 + [f"q{i // 5}" for i in range(55)], "y": (X > 0).long(), "x": X}
    assert any(
        "5 of 60 rows: together they count as one list" in w for w in losskit.choose(table, target="y", group="q").warnings
    )
    nowhere = losskit.choose({**table, "q": [None] * 60}, target="y", group="q")
    assert nowhere.task == "binary"
    assert any("missing in all rows" in w for w in nowhere.warnings)


@pytest.mark.parametrize("values", [X, X.sign().long()], ids=["numbers", "-1 and 1"])
def test_the_code_for_lists_of_negative_values_runs_on_them(values: torch.Tensor) -> None:
    advice = losskit.choose({"x": X, "y": values, "q": torch.arange(60) // 5}, target="y", group="q", task="ranking")
    assert advice.first is not None
    for one in (advice.first, *advice.alternatives):
        scores = X.roll(1).clone().requires_grad_()
        space: dict[str, Any] = {"scores": scores, "relevance": values.double(), "ids": torch.arange(60) // 5}
        exec(one.code, space)
        (gradient,) = torch.autograd.grad(space["loss"], scores)
        assert float(gradient.abs().sum()) > 0


# ------------------------------------------------------------------ the command


def test_the_place_of_the_page_is_looked_at_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for place, said in ((tmp_path, "a directory"), (tmp_path / "no" / "x.html", "make it first")):
        assert main(["choose", "--task", "binary", "--html", str(place)]) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert not shown.out
    assert not list(tmp_path.iterdir())


def test_a_target_without_data_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["choose", "--task", "binary", "--target", "y"]) == 2
    assert '"target" is of data' in capsys.readouterr().err
