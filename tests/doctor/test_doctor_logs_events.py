"""TensorBoard event files, byte by byte."""

from __future__ import annotations

import math
import struct
from pathlib import Path

import torch
from doctor_logs_written import event, only, scalar, trainer_state


def test_event_files_are_read_whatever_the_steps_tags_and_values(tmp_path: Path) -> None:
    steps = [0, 1, 127, 128, 129, 16_383, 16_384, 2**31, 2**40]
    values = [1.0, math.nan, math.inf, -math.inf, 0.5, 0.25, -2.0, 3.0, 1e-30]
    pairs = list(zip(steps, values, strict=True))
    data = b"".join(event(scalar(s, v)) + event(scalar(s, 2 * v, b"eval")) + event(scalar(s, v, b"eval_loss")) for s, v in pairs)
    (tmp_path / "events.out.tfevents.1.host").write_bytes(event(b"\x1a\x0dbrain.Event:2") + data)
    run = only(tmp_path)
    for kind in ("train_loss", "eval_loss"):
        series = run.main(kind)
        assert series is not None
        assert series.steps.tolist() == steps
        torch.testing.assert_close(series.values, torch.tensor(values).double(), equal_nan=True, rtol=0, atol=0)
        assert series.walls is not None
        assert set(series.walls.tolist()) == {5.0}
    assert run.reading.skipped == 0


def test_a_damaged_event_is_left_out_and_a_cut_off_tail_is_truncated(tmp_path: Path) -> None:
    records = [event(scalar(s, float(s))) for s in range(100)]
    records[50] = event(scalar(50, 50.0), checksum=0)
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(b"".join(records)[:-5])
    run = only(path)
    assert run.series[0].steps.tolist() == [s for s in range(99) if s != 50]
    assert run.reading.truncated
    assert run.reading.skipped == 1


def test_a_wrong_length_ends_an_event_file(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1.host"
    path.write_bytes(b"".join(event(scalar(s, 1.0)) for s in range(10)) + struct.pack("<QI", 2**62, 0) + bytes(100))
    run = only(path)
    assert len(run.series[0]) == 10
    assert run.reading.truncated


def test_the_file_that_was_begun_later_counts_where_both_have_a_step(tmp_path: Path) -> None:
    (tmp_path / "events.out.tfevents.9.host").write_bytes(b"".join(event(scalar(s, 1.0)) for s in range(10)))
    (tmp_path / "events.out.tfevents.10.host").write_bytes(b"".join(event(scalar(s, 2.0)) for s in range(5, 12)))
    run = only(tmp_path)
    assert run.series[0].values.tolist() == [1.0] * 5 + [2.0] * 7
    assert run.reading.restarts == (5,)


def test_events_of_several_lengths_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    steps = [*range(100, 200), *range(120, 140)]
    data = b"".join(event(scalar(s, float(i))) for i, s in enumerate(steps))
    (tmp_path / "events.out.tfevents.1.host").write_bytes(data)
    run = only(tmp_path)
    assert run.reading.restarts == (120,)
    assert run.series[0].values.tolist() == [float(i) for i in (*range(20), *range(100, 120))]


def test_what_tensorboard_knows_beyond_the_last_checkpoint_is_read_too(tmp_path: Path) -> None:
    trainer_state(tmp_path, 3, checkpoint=30)
    (tmp_path / "runs" / "host").mkdir(parents=True)
    data = b"".join(event(scalar(s, math.nan if s > 40 else 1.0, b"train/loss")) for s in range(10, 60, 10))
    (tmp_path / "runs" / "host" / "events.out.tfevents.1.host").write_bytes(data)
    run = only(tmp_path)
    assert run.series[0].name == "loss"
    assert run.series[0].steps.tolist() == [10, 20, 30, 40, 50]
    assert run.series[0].values.isnan().tolist() == [False] * 4 + [True]
