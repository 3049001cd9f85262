"""What is said of values that are not finite where no batch could be run again: logs, counts of a live run, the wiring."""

from __future__ import annotations

import math

import pytest
import torch
from doctor_causes import (
    found,
)

from losskit.doctor.evidence import Evidence
from losskit.doctor.evidence.probes import Look, Probes
from losskit.doctor.evidence.replay import Replay
from losskit.doctor.evidence.run import Reading, Run, Series
from losskit.doctor.evidence.wiring import Parameter, Wiring


def log(values: list[float], *, evaluations: list[tuple[int, float]] = ()) -> Run:
    series = [Series("loss", "train_loss", torch.arange(len(values)), torch.tensor(values, dtype=torch.float64))]
    if evaluations:
        steps, losses = zip(*evaluations, strict=True)
        series.append(Series("eval_loss", "eval_loss", torch.tensor(steps), torch.tensor(losses, dtype=torch.float64)))
    return Run("run", tuple(series), Reading("jsonl"))


def test_a_log_that_turns_nan_names_the_first_step() -> None:
    (first,) = found(Evidence("after", run=log([2.3, 2.2, 2.1, math.nan, math.nan])))
    assert (first.code, first.severity, first.hit.step) == ("D301", "error", 3)
    assert first.hit.numbers == {"step": 3.0, "bad": 2.0, "after": 2.0}
    assert "2.1" in first.hit.said
    assert "learning rate" not in first.fix


def test_a_log_with_one_skipped_step_is_a_warning() -> None:
    (first,) = found(Evidence("after", run=log([1.0] * 50 + [math.inf] + [1.0] * 50)))
    assert (first.code, first.severity) == ("D301", "warning")


def test_an_evaluation_that_is_nan_is_an_error_of_its_own() -> None:
    (first,) = found(Evidence("after", run=log([1.0] * 9, evaluations=[(4, 1.0), (8, math.nan)])))
    assert first.hit.where == "eval_loss"


@pytest.mark.parametrize(
    "run",
    [
        log([2.0, 1.0, 0.5]),
        log([2.0, math.nan, 1.0, math.nan, 0.5], evaluations=[(1, 1.0), (3, 1.0)]),
        log([]),
        log([1.0]),
    ],
)
def test_a_log_without_a_fault_is_silent(run: Run) -> None:
    assert not found(Evidence("after", run=run))


def parameter(*, finite: bool = True, grad: str = "finite", moved: float | None = None) -> Parameter:
    return Parameter("head.weight", 12, True, True, grad, 1.0, 1.0, finite, "float32", moved)


def test_a_live_run_without_a_batch_to_replay_still_names_the_step() -> None:
    (first,) = found(Evidence("during", probes=Probes(first_bad=(41, "loss"))))
    assert (first.code, first.hit.step) == ("D301", 41)
    (first,) = found(Evidence("during", probes=Probes(first_bad=(41, "gradient"))))
    assert (first.code, first.hit.step) == ("D304", 41)


def test_a_gradient_scaler_that_searches_its_factor_is_silent() -> None:
    scale = Series("scale", "loss_scale", torch.arange(2), torch.tensor([65536.0, 32768.0], dtype=torch.float64))
    run = Run("run", (scale,), Reading("live"))
    assert not found(Evidence("during", run=run, probes=Probes(first_bad=(0, "gradient"))))


def test_weights_that_break_before_anything_else_are_the_cause() -> None:
    looks = (Look(10, parameters=(parameter(),)), Look(20, parameters=(parameter(finite=False),)))
    (first,) = found(Evidence("during", probes=Probes(looks=looks, first_bad=(25, "loss"))))
    assert (first.code, first.hit.step) == ("D302", 20)
    assert [one.code for one in first.consequences] == ["D301"]


def test_weights_that_break_after_the_loss_are_not_the_cause() -> None:
    looks = (Look(20, parameters=(parameter(finite=False),)),)
    (first,) = found(Evidence("during", probes=Probes(looks=looks, first_bad=(15, "loss"))))
    assert first.code == "D301"


def test_a_step_that_breaks_weights_is_seen_in_the_wiring() -> None:
    spoilt = Wiring((parameter(), parameter(moved=math.nan)), loss_requires_grad=True)
    (first,) = found(Evidence("before", wiring=spoilt, total=1.0))
    assert (first.code, first.hit.numbers) == ("D302", {"weights": 1.0, "of": 2.0})
    gone = Wiring((parameter(grad="non-finite", moved=math.nan),), loss_requires_grad=True)
    (first,) = found(Evidence("before", wiring=gone, total=1.0))
    assert first.code == "D304"
    assert not found(Evidence("before", wiring=Wiring((parameter(moved=0.1),), loss_requires_grad=True), total=1.0))


def test_no_evidence_is_no_finding() -> None:
    for phase in ("before", "during", "after"):
        assert not found(Evidence(phase))
    assert not found(Evidence("during", replay=Replay(3, "not reproduced")))
