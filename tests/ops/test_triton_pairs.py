"""The kernels of pair statistics, run by Triton's interpreter on CPU."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Iterator
from typing import Any

import interpreted
import pair_kernels
import pytest
import torch
from pair_kernels import Found, crowd, drawn, everybody

from losskit.ops.pair_tiles import Call

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not made for this platform")
Run = Callable[..., Found]


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[..., Any]]:
    with interpreted.process(TRITON_INTERPRET="1") as call:
        yield call


@pytest.fixture(scope="module")
def run(call: Callable[..., Any]) -> Run:
    return lambda *given: call(pair_kernels.swept, *given)


def agree(got: Found, wanted: Found, tolerance: float = 2e-6) -> None:
    for name, mine, right in zip(Found._fields, got, wanted, strict=True):
        assert mine.shape == right.shape, name
        torch.testing.assert_close(mine.double(), right, rtol=tolerance, atol=tolerance * (1 + _size(right)), msg=name)


def _size(values: torch.Tensor) -> float:
    finite = values[values.isfinite()]
    return float(finite.abs().max()) if len(finite) else 0.0


@pytest.mark.parametrize("columns", [True, False])
@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 129), (33, 128), (40, 300), (70, 31)])
@pytest.mark.parametrize("memory", [1, 1 << 20])
def test_any_number_of_rows_and_columns(run: Run, n: int, m: int, columns: bool, memory: int) -> None:
    x, y, *by = drawn(n, m)
    call = Call(x, y, everybody(n, m, x.device), memory)
    agree(run(call, *by, columns), pair_kernels.truth(call, *by, columns))


@pytest.mark.parametrize("kinds", [1, 3, 1000])
@pytest.mark.parametrize("same", [True, False])
def test_ids_and_slots_say_who_counts(run: Run, kinds: int, same: bool) -> None:
    x, y, *by = drawn(40, 140)
    call = Call(x, y, crowd(40, 140, kinds, same), 1)
    wanted = pair_kernels.truth(call, *by, True)
    assert (wanted.rows == -math.inf).any()
    agree(run(call, *by, True), wanted)


@pytest.mark.parametrize("size", [1e-3, 100.0, 1e4])
def test_scores_of_any_size(run: Run, size: float) -> None:
    x, y, *by = drawn(40, 140, size=size)
    call = Call(x, y, everybody(40, 140, x.device), 1)
    agree(run(call, *by, True), pair_kernels.truth(call, *by, True), 3e-6 * max(1, size / 100))


def test_a_nan_is_shown(run: Run) -> None:
    x, y, *by = drawn(40, 140)
    x[3, 0] = math.nan
    got = run(Call(x, y, everybody(40, 140, x.device), 1), *by, True)
    assert got.rows[3].isnan()
    assert got.rows.isnan().sum() == 1
    assert got.cols.isnan().all()


@pytest.mark.parametrize(("n", "m"), [(0, 5), (5, 0), (0, 0)])
def test_nothing_has_no_statistics(run: Run, n: int, m: int) -> None:
    x, y, *by = drawn(n, m)
    got = run(Call(x, y, everybody(n, m, x.device), 1), *by, True)
    assert (got.rows.shape, got.cols.shape, got.dx.shape, got.dy.shape) == ((n,), (m,), x.shape, y.shape)
    assert (got.rows == -math.inf).all()
    assert not got.dx.any()


def test_one_row_far_below_its_neighbours_keeps_its_digits(run: Run) -> None:
    """Their common peak would leave nothing of it."""
    x, y, *by = drawn(40, 140, 2, size=1.0)
    y[:, 0], y[:, 1] = 1.0, 0.01 * torch.arange(140)
    x[:, 0], x[:, 1] = 200.0, 1.0
    x[5, 0] = -200.0
    call = Call(x, y, everybody(40, 140, x.device), 1)
    agree(run(call, *by, True), pair_kernels.truth(call, *by, True), 2e-5)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (7, 129), (40, 300), (0, 5), (5, 0)])
@pytest.mark.parametrize("kinds", [3, 1000])
def test_sums_of_softplus(call: Callable[..., Any], n: int, m: int, kinds: int) -> None:
    x, y, by, _ = drawn(n, m)
    t = torch.linspace(-30, 5, n)
    given = Call(x, y, crowd(n, m, kinds, False), 1)
    *got, alone = call(pair_kernels.summed, given, t, by, [True, True, True, False])
    for mine, right in zip(got, pair_kernels.summed_truth(given, t, by), strict=True):
        torch.testing.assert_close(mine.double(), right.double(), rtol=2e-6, atol=2e-6 * (1 + _size(right)))
    torch.testing.assert_close(alone, got[0], rtol=1e-12, atol=0)


def test_the_smallest_softplus_keeps_its_digits(call: Callable[..., Any]) -> None:
    x, y, by, _ = drawn(8, 16, size=0.1)
    t = torch.full((8,), -60.0)
    got = call(pair_kernels.summed, Call(x, y, everybody(8, 16, x.device), 1), t, by, [False] * 4)[0]
    exact = (x.double() @ y.double().T - 60).exp().sum(1)
    torch.testing.assert_close(got, exact, rtol=5e-6, atol=0)
