"""Lines out of order, steps that come twice, logs of several losses: what is judged, and what is said of the rest."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from losskit.doctor import diagnose
from losskit.doctor.finding import Finding
from losskit.doctor.report import Case

N = 400
ORDERS = {
    "shuffled": random.Random(0).sample(range(N), N),
    "swapped": [i + 1 if i % 2 == 0 else i - 1 for i in range(N)],
    "newest first": list(reversed(range(N))),
    "in pieces": [*range(N // 2, N), *range(N // 2)],
}


def fall(step: int) -> float:
    return 2 * math.exp(-step / 50) + 0.3


def csv(folder: Path, rows: Iterable[tuple[object, ...]], header: str = "step,loss") -> Path:
    path = folder / "log.csv"
    path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]))
    return path


def case(path: Path, refs: Mapping[str, Any] | None = None) -> Case:
    [only] = diagnose(path, refs=refs).cases
    return only


def found(path: Path, refs: Mapping[str, Any] | None = None) -> dict[str, Finding]:
    return {finding.code: finding for finding in case(path, refs).findings}


@pytest.mark.parametrize("order", ORDERS)
def test_lines_out_of_order_are_sorted_and_none_is_lost(tmp_path: Path, order: str) -> None:
    looked = case(csv(tmp_path, [(i, fall(i)) for i in ORDERS[order]]))
    assert looked.run is not None
    assert looked.run.series[0].values.tolist() == [fall(i) for i in range(N)]
    assert looked.findings == ()
    assert looked.run.reading.unsorted
    assert "the lines were not in the order of their steps: they are sorted" in looked.looked_at


def test_a_counter_that_goes_down_from_0_counts_the_other_way(tmp_path: Path) -> None:
    looked = case(csv(tmp_path, [(-i, fall(i)) for i in range(N)]))
    assert looked.run is not None
    assert looked.run.series[0].values.tolist() == [fall(i) for i in range(N)]


def test_a_restart_that_logs_at_other_steps_is_still_a_restart(tmp_path: Path) -> None:
    looked = case(csv(tmp_path, [(10 * i, fall(i)) for i in range(100)] + [(10 * i + 5, fall(i)) for i in range(90, 200)]))
    assert looked.run is not None
    assert looked.run.reading.restarts == (905,)
    assert len(looked.run.series[0]) == 91 + 110


@pytest.mark.parametrize(("again", "severity"), [(300, "info"), (0, "warning")])
def test_what_a_restart_replaces_is_counted_and_a_lot_of_it_is_an_alarm(tmp_path: Path, again: int, severity: str) -> None:
    finding = found(csv(tmp_path, [(i, fall(i)) for i in [*range(350), *range(again, 400)]]))["D902"]
    assert finding.severity == severity
    assert finding.hit.numbers["repeated"] == 350 - again
    assert finding.hit.numbers["points"] == 350 + 400 - again


def test_two_processes_in_one_log_are_told(tmp_path: Path) -> None:
    finding = found(csv(tmp_path, [(i, fall(i) + 0.3 * rank) for i in range(N) for rank in range(2)]))["D902"]
    assert (finding.severity, finding.hit.numbers) == ("info", {"repeated": N, "points": 2 * N})


def test_the_curve_that_the_user_names_is_the_loss_whatever_else_there_is(tmp_path: Path) -> None:
    path = csv(tmp_path, [(i, fall(i), 2 * fall(i)) for i in range(N)], "step,loss_cls,loss")
    run = case(path, {"train_loss": "loss_cls"}).run
    assert run is not None
    assert [series.name for series in run.of("train_loss")] == ["loss_cls", "loss"]


def test_a_name_that_no_curve_has_is_a_problem_that_lists_the_names(tmp_path: Path) -> None:
    path = csv(tmp_path, [(i, fall(i), 2) for i in range(N)], "step,loss_cls,loss")
    assert case(path, {"train_loss": "loss_clss"}).problem == (
        "refs name curves that the log does not have: loss_clss (it has loss_cls, loss)"
    )


PARTS = "step,loss_cls,loss_box,total_loss"


def noisy(value: float, step: int) -> float:
    return value + 0.01 * math.sin(37.0 * step * step)


def test_a_total_that_happens_to_stand_at_chance_is_not_stuck(tmp_path: Path) -> None:
    rows = [(i, 0.3 + fall(i), 1.4026 + fall(i), noisy(1.7026 + 2 * fall(i) - 0.0, i)) for i in range(1000)]
    assert rows[-1][-1] == pytest.approx(math.log(10), abs=0.02)
    assert "D403" not in found(csv(tmp_path, rows, PARTS), {"num_classes": 10})
    alone = [(step, total) for step, _, _, total in rows]
    assert "D403" in found(csv(tmp_path, alone), {"num_classes": 10})


def test_a_part_that_stands_at_chance_is_stuck_though_the_total_falls(tmp_path: Path) -> None:
    rows = [(i, noisy(math.log(10), i), fall(i), noisy(math.log(10), i) + fall(i)) for i in range(1000)]
    finding = found(csv(tmp_path, rows, PARTS), {"num_classes": 10})["D403"]
    assert finding.hit.where == "loss_cls"
    assert finding.hit.numbers["level"] == pytest.approx(math.log(10))


def test_losses_of_which_none_is_of_classes_stand_at_no_level(tmp_path: Path) -> None:
    rows = [(i, noisy(math.log(10), i), fall(i)) for i in range(1000)]
    assert "D403" not in found(csv(tmp_path, rows, "step,loss_depth,loss_normals"), {"num_classes": 10})


def test_chance_among_classes_is_no_matter_of_tokens(tmp_path: Path) -> None:
    path = csv(tmp_path, [(i, noisy(math.log(10), i)) for i in range(1000)])
    assert next(iter(found(path, {"num_classes": 10, "vocab_size": 32000}))) == "D403"
    tokens = csv(tmp_path, [(i, noisy(math.log(32000), i)) for i in range(1000)])
    assert next(iter(found(tokens, {"vocab_size": 32000}))) == "D804"


def rising(step: int) -> float:
    return noisy(0.2 + 0.01 * step, step)


@pytest.mark.parametrize(
    "header",
    [
        "step,policy_loss",
        "step,td_loss",
        "step,loss,ep_rew_mean",
        "step,loss,episode_return",
        "step,critic_loss",
        "step,loss/G,loss/D",
        "step,loss,loss_gen,loss_critic",
    ],
)
def test_losses_of_policies_and_of_networks_against_each_other_may_rise(tmp_path: Path, header: str) -> None:
    rows = [(i, *[rising(i)] * header.count(",")) for i in range(1000)]
    looked = case(csv(tmp_path, rows, header))
    assert looked.findings == ()
    assert any("only NaN and what is sure were looked for" in said for said in looked.looked_at)


@pytest.mark.parametrize("header", ["step,loss", "step,loss,rewards/chosen", "step,loss,stock_return", "step,loss,d_model"])
def test_a_loss_that_should_fall_and_rises_is_named_beside_other_names(tmp_path: Path, header: str) -> None:
    rows = [(i, *[rising(i)] * header.count(",")) for i in range(1000)]
    assert "D501" in found(csv(tmp_path, rows, header))


def test_a_nan_of_a_policy_is_named_all_the_same(tmp_path: Path) -> None:
    rows = [(i, 0.5 if i < 700 else math.nan, i) for i in range(1000)]
    assert "D301" in found(csv(tmp_path, rows, "step,policy_loss,reward"))


def test_evaluations_that_get_worse_are_told_where_the_log_has_no_training_loss(tmp_path: Path) -> None:
    rows = [(100 * i, fall(5 * i) + 0.05 * max(0, i - 25)) for i in range(80)]
    finding = found(csv(tmp_path, rows, "step,val_loss"))["D601"]
    assert finding.severity == "warning"
    assert finding.hit.numbers["best"] == min(value for _, value in rows)
    assert "no training loss" in finding.hit.said
    assert "D601" not in found(csv(tmp_path, [(100 * i, fall(5 * i)) for i in range(80)], "step,val_loss"))


def test_one_is_not_plural(tmp_path: Path) -> None:
    looked = case(csv(tmp_path, [(1, 2.0)]))
    assert looked.looked_at[0] == "1 point of 1 curve, read as csv from 1 file"
    assert "has 1 point;" in looked.findings[0].hit.said


def test_a_negative_loss_is_called_as_the_config_calls_it(tmp_path: Path) -> None:
    path = csv(tmp_path, [(i, -0.01 * i) for i in range(N)])
    assert found(path, {"loss": "nll_loss"})["D405"].hit.said.endswith("and nll_loss is never negative")
