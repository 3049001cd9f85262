"""Calibration over batches and ranks: any split gives what the whole gives, and nothing is counted twice."""

from __future__ import annotations

import copy
import math
import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import evaluate_helpers_calibration as loops
from losskit.evaluate.calibration.brier import brier_score
from losskit.evaluate.calibration.error import expected_calibration_error, reliability_table
from losskit.evaluate.calibration.stream import Calibration

Z, Y = loops.overconfident(120, 4)
Y[::9] = -100
PIECES = ((0, 50), (50, 50), (50, 120))  # the second rank has nothing, the others not as much as each other


def over(z: Tensor, y: Tensor, cuts: list[int]) -> Calibration:
    metric = Calibration(bins=10)
    for a, b in zip([0, *cuts], [*cuts, len(z)], strict=True):
        metric.update(z[a:b], y[a:b])
    return metric


def test_the_stream_says_what_a_loop_says() -> None:
    result = over(Z, Y, [40, 41]).result()
    rows = loops.top_rows(Z, Y)
    assert result.rows == len(rows)
    assert result.error == pytest.approx(loops.error(rows, 10), rel=1e-12)
    assert result.largest == pytest.approx(loops.error(rows, 10, "max"), rel=1e-12)
    assert result.brier == pytest.approx(loops.brier(Z, Y), rel=1e-12)
    assert result.confidence == pytest.approx(sum(p for p, _ in rows) / len(rows), rel=1e-12)
    assert result.accuracy == pytest.approx(sum(hit for _, hit in rows) / len(rows), rel=1e-12)
    assert result.if_calibrated is not None
    assert result.error > result.if_calibrated.high


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 120), max_size=6))
def test_any_split_gives_what_the_whole_gives(cuts: list[int]) -> None:
    metric, table = over(Z, Y, sorted(cuts)), reliability_table(Z, Y, bins=10)
    assert torch.allclose(metric.compute(), expected_calibration_error(Z, Y, bins=10), rtol=1e-12)
    found = metric.result().table
    assert found is not None
    assert torch.equal(found.rows, table.rows)
    for mine, whole in zip(found[3:-1], table[3:-1], strict=True):
        assert torch.allclose(mine, whole, rtol=1e-12, equal_nan=True)


@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
def test_compute_follows_the_norm(norm: str) -> None:
    metric = Calibration(norm=norm)
    metric.update(Z, Y)
    assert torch.equal(metric.compute(), expected_calibration_error(Z, Y, norm=norm))


def test_options_reach_the_batches() -> None:
    z, y = Z[:, 0].float(), (Y == 0).long()
    binary, top = Calibration(), Calibration(confidence="top", input_kind="probabilities", ignore_index=-1)
    binary.update(z, y)
    top.update(z.sigmoid(), y)
    assert torch.equal(binary.compute(), expected_calibration_error(z, y))
    assert torch.equal(top.compute(), expected_calibration_error(z.sigmoid(), y, confidence="top", input_kind="probabilities"))
    layout, weight = Calibration(class_dim=1), torch.rand(2, 60, generator=torch.Generator().manual_seed(0))
    layout.update(Z.reshape(2, 60, 4).movedim(-1, 1), Y.reshape(2, 60), weight=weight)
    assert torch.equal(layout.compute(), expected_calibration_error(Z, Y, weight=weight.flatten()))
    assert layout.result().brier == pytest.approx(float(brier_score(Z, Y, weight=weight.flatten())), rel=1e-12)


def test_nothing_is_an_error_or_none() -> None:
    metric = Calibration()
    metric.update(Z[:0], Y[:0])
    metric.update(Z, torch.full_like(Y, -100))
    with pytest.raises(ValueError, match="no row to go by"):
        metric.compute()
    assert metric.result() == (0, *[None] * 8)


def test_a_batch_that_raises_adds_nothing() -> None:
    metric = over(Z, Y, [])
    before = metric.compute()
    for z, y in ((Z, Y + 4), (Z[:, 0], (Y == 0).long()), (Z, Y[:3])):
        with pytest.raises((IndexError, ValueError)):
            metric.update(z, y)
    assert torch.equal(metric.compute(), before)


def test_a_nan_is_not_hidden() -> None:
    metric = over(Z, Y, [])
    metric.update(torch.full((1, 4), math.nan), torch.tensor([0]))
    assert metric.compute().isnan()
    result = metric.result()
    assert result.rows == int((Y != -100).sum()) + 1
    assert math.isnan(result.error or 0)


def test_merging_adds_and_leaves_the_others_alone() -> None:
    first, second, third = over(Z[:30], Y[:30], []), over(Z[30:], Y[30:], []), Calibration(bins=10)
    alone = second.compute()
    assert torch.allclose(first.merge_state([second, third]).compute(), over(Z, Y, []).compute(), rtol=1e-12)
    assert torch.equal(second.compute(), alone)
    assert torch.allclose(third.merge_state([first]).compute(), first.compute())
    with pytest.raises(ValueError, match='"bins" is 15 in one and 10 in the other'):
        first.merge_state([Calibration()])
    binary = Calibration(bins=10)
    binary.update(Z[:, 0], (Y == 0).long())
    with pytest.raises(ValueError, match="positive of binary in one and top of classes"):
        first.merge_state([binary])


def test_a_saved_state_goes_on_where_it_was(tmp_path: Path) -> None:
    first, whole = over(Z[:70], Y[:70], []), over(Z, Y, [70])
    torch.save(first.state_dict(), tmp_path / "state.pt")
    again = Calibration(bins=10).load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for metric in (again, copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        metric.update(Z[70:], Y[70:])
        assert torch.equal(metric.compute(), whole.compute())
    saved = again.state_dict()
    assert again.reset().result().rows == 0
    assert int(saved["rows"].sum()) == whole.result().rows
    with pytest.raises(ValueError, match='"bins"'):
        Calibration().load_state_dict(saved)


def test_updates_in_and_out_of_inference_mode_add_up() -> None:
    metric = Calibration(bins=10)
    with torch.inference_mode():
        metric.update(Z[:60], Y[:60])
    metric.update(Z[60:].clone().requires_grad_(), Y[60:])
    assert not metric.compute().requires_grad
    assert torch.allclose(metric.compute(), over(Z, Y, []).compute(), rtol=1e-12)


def test_a_hundred_million_rows_are_counted_exactly() -> None:
    """Float32 counts stop at 2^24."""
    metric = over(Z, Y, [])
    state = metric.state_dict()
    big = {"kind": state["kind"], "rows": state["rows"] * 1_000_000, "sums": state["sums"] * 1_000_000}
    metric = Calibration(bins=10).load_state_dict(big)
    metric.update(Z[:2], torch.tensor([-100, 1]))
    assert metric.result().rows == 1_000_000 * int((Y != -100).sum()) + 1


def test_an_update_looks_at_no_value() -> None:
    """On meta tensors, which have none: whatever would wait for a device raises."""
    z, y = Z.to("meta"), Y.to("meta")
    for metric, first, second in (
        (Calibration(), z, y),
        (Calibration(input_kind="probabilities"), z, y),
        (Calibration(), z[:, 0], y),
        (Calibration(confidence="top", input_kind="probabilities"), z[:, 0], y.double()),
    ):
        metric.update(first, second, weight=torch.ones(120, device="meta"), mask=torch.ones(120, device="meta").bool())
        metric.update(first, second)
        assert metric._own.sums.is_meta


def test_a_wrong_row_shows_where_nobody_can_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on CUDA: the arguments' values are not looked at."""
    for place in ("losskit.evaluate.calibration.confidence", "losskit.ops.margin"):
        monkeypatch.setattr(f"{place}.peek", lambda condition: None)
    monkeypatch.setattr("losskit.core.call._inside", lambda domain, value: True)
    p, y = Z.softmax(-1), torch.where(Y == -100, 0, Y)
    fine = (p, y), (Z, y), (p[:, 0], y.clamp(max=1))
    outside, halved = p.index_fill(0, torch.tensor([3]), 2.0), torch.cat([p[:1] / 2, p[1:]])
    wrong = (outside, y), (halved, y), (p, y + 1), (Z, y + 1), (p[:, 0] + 1, y.clamp(max=1)), (p[:, 0], y), (p[:, 0], y + 0.5)
    for z, target in (*fine, *wrong):
        metric = Calibration(input_kind="logits" if z is Z else "probabilities")
        metric.update(z, target)
        assert bool(metric.compute().isnan()) == any(z is a and target is b for a, b in wrong)
        metric = Calibration(input_kind="logits" if z is Z else "probabilities")
        metric.update(z, target, mask=torch.zeros(120, dtype=torch.bool))
        assert metric.result().rows == 0


def test_without_a_process_group_sync_does_nothing() -> None:
    assert torch.equal(over(Z, Y, []).sync().compute(), over(Z, Y, []).compute())


def ranks_agree(rank: int) -> dict[str, Tensor]:
    a, b = PIECES[rank]
    metric = Calibration(bins=10)
    if a < b:
        metric.update(Z[a:b], Y[a:b])
    found = {"once": metric.sync().compute(), "twice": metric.sync().compute()}
    if rank == 1:
        metric.update(Z[:5], Y[:5])
    found["more"] = metric.sync().compute()
    other = Calibration(bins=10 + rank)
    try:
        other.sync()
    except ValueError as problem:
        assert '"bins" is' in str(problem)  # noqa: PT017  # in a child process: the parent sees it fail
        found["refused"] = torch.ones(())
    return found


def work(rank: int, folder: str, job: Callable[[int], dict[str, Tensor]]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=len(PIECES), timeout=timedelta(seconds=60)
    )
    torch.save(job(rank), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads now and then abort an interpreter that shuts down


@pytest.mark.skipif(not dist.is_available(), reason="this torch is built without torch.distributed")
def test_ranks_with_many_rows_and_with_none_say_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    mp.spawn(work, args=(str(tmp_path), ranks_agree), nprocs=len(PIECES))
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(PIECES))]
    whole, more = over(Z, Y, []), over(torch.cat([Z, Z[:5]]), torch.cat([Y, Y[:5]]), [])
    for found in ranks:
        assert torch.equal(found["once"], ranks[0]["once"])
        assert torch.equal(found["more"], ranks[0]["more"])
        assert torch.equal(found["once"], found["twice"])
        assert torch.allclose(found["once"], whole.compute(), rtol=1e-12)
        assert torch.allclose(found["more"], more.compute(), rtol=1e-12)
        assert found["refused"]
