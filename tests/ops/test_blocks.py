"""Blocks of rows within a budget: what they cover, what they cost, and that nobody sees them."""

from __future__ import annotations

import copy
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

import losskit
from losskit.ops.blocks import row_blocks
from projections import drawn, off

HEADS: dict[str, Callable[..., Tensor]] = {
    "mean": losskit.linear_cross_entropy,
    "none": lambda *t, **o: losskit.linear_cross_entropy(*t, reduction="none", label_smoothing=0.1, **o).mean(),
    "focal": losskit.linear_focal_loss,
    "log_probs": lambda *t, **o: _summed(losskit.linear_log_probs(*t, entropy=True, **o)),
}
EVERY = pytest.mark.parametrize("name", HEADS)


def _summed(found: losskit.TokenScores) -> Tensor:
    assert found.entropy is not None
    return (0.1 * found.logsumexp + 0.1 * found.entropy - found.log_prob).mean()


def slopes(name: str, x: Tensor, w: Tensor, y: Tensor, **options: object) -> list[Tensor]:
    """The value, and the gradients of input and weight."""
    value = HEADS[name](x, w, y, **options)
    return [value.detach(), *torch.autograd.grad(value, (x, w))]


def same(got: list[Tensor], right: list[Tensor], tolerance: float) -> None:
    for a, b in zip(got, right, strict=True):
        assert b.any()
        assert a.shape == b.shape
        assert off(a, b.double()) < tolerance


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(st.integers(0, 5000), st.integers(1, 1000), st.integers(-50, 10**6))
@example(101, 1, 10)
def test_blocks_cover_the_rows_within_the_budget(rows: int, row_bytes: int, memory: int) -> None:
    blocks = list(row_blocks(rows, row_bytes, memory))
    assert [i for b in blocks for i in range(b.start, b.stop)] == list(range(rows))
    sizes = [b.stop - b.start for b in blocks]
    assert all(size == 1 or size * row_bytes <= memory for size in sizes)
    if rows:
        fit = max(1, memory // row_bytes)
        assert len(blocks) == -(-rows // min(fit, rows))
        assert sizes[0] == max(sizes), "the first one is what a buffer is made for"
        assert max(sizes) - min(sizes) <= 1


@EVERY
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_the_budget_changes_nothing(name: str, dtype: torch.dtype) -> None:
    """One row a block, a few, all of them, and more than the machine has."""
    x, w, y = drawn(37, 24, 301, dtype, 2.0)
    y[5:9] = -100
    right = slopes(name, *(t.detach().double().requires_grad_() for t in (x, w)), y)
    tolerance = {torch.float64: 1e-12, torch.float32: 4e-6, torch.bfloat16: 2.5e-3, torch.float16: 1e-3}[dtype]
    for memory in (1, 2000, 5000, None, 2**62):
        value, *rest = slopes(name, x, w, y, memory=memory)
        assert off(value, right[0]) < min(tolerance, 1e-6)
        same(rest, right[1:], tolerance)


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize("blocks", [2, 32, 1024])
def test_bfloat16_gradients_do_not_feel_the_number_of_blocks(name: str, blocks: int) -> None:
    n, v = 1024, 4096
    x, w, y = drawn(n, 128, v, torch.bfloat16)
    got = slopes(name, x, w, y, memory=n * v * 2 // blocks + v * 4)
    right = slopes(name, *(t.detach().double().requires_grad_() for t in (x, w)), y)
    assert off(got[0], right[0]) < 1e-5
    same(got[1:], right[1:], 2.5e-3)


def memories(t: Tensor) -> dict[str, Tensor]:
    """The same numbers, laid out otherwise, each in memory of its own."""
    rows, columns = t.shape
    wide = torch.full((2 * rows, 3 * columns), 7.0, dtype=t.dtype)
    wide[::2, 1::3] = t
    window = torch.cat([t, t], 1)
    return {"transposed": t.T.contiguous().T, "strided": wide[::2, 1::3], "a window": window[:, columns:], "plain": t.clone()}


@EVERY
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layouts_do_not_matter_and_inputs_are_left_alone(name: str, dtype: torch.dtype) -> None:
    x, w, y = (t.detach() for t in drawn(9, 12, 40, dtype))
    right = slopes(name, x.clone().requires_grad_(), w.clone().requires_grad_(), y)
    for (one, a), (two, b) in zip(memories(x).items(), reversed(memories(w).items()), strict=True):
        target = torch.stack([y, y], 1)[:, 0]
        whole = [t if t._base is None else t._base for t in (a, b, target)]
        before, versions = [t.clone() for t in whole], [t._version for t in whole]
        same(slopes(name, a.requires_grad_(), b.requires_grad_(), target), right, 1e-5 if dtype == torch.float32 else 4e-3)
        assert [t._version for t in whole] == versions, (one, two)
        assert all(torch.equal(t.detach(), u.detach()) for t, u in zip(whole, before, strict=True)), (one, two)


@EVERY
def test_one_row_for_all_and_one_class_for_all(name: str) -> None:
    """Expanded operands: the gradient of the one is the sum over all."""
    _, w, y = drawn(9, 12, 40, torch.float64)
    row = torch.randn(1, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    pair = [torch.autograd.grad(HEADS[name](x, w, y), row) for x in (row.expand(9, 12), row.repeat(9, 1))]
    same(*pair, 1e-12)
    column = w.detach()[:1].clone().requires_grad_()
    x = row.detach().repeat(9, 1)
    views = column.expand(40, 12), column.repeat(40, 1)
    assert torch.allclose(*(torch.autograd.grad(HEADS[name](x, t, y), column)[0] for t in views), atol=1e-12)


@EVERY
def test_any_leading_axes_and_any_integer_dtype(name: str) -> None:
    x, w, y = drawn(12, 5, 100, torch.float64)
    right = slopes(name, x, w, y)
    for dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64):
        same(slopes(name, x, w, y.to(dtype)), right, 1e-12)
    cube = x.detach().reshape(2, 3, 2, 5).requires_grad_()
    value, dx, dw = slopes(name, cube, w, y.reshape(2, 3, 2))
    same([value, dx.reshape(12, 5), dw], right, 1e-12)
    single = x.detach()[0].clone().requires_grad_()
    value, dx, dw = slopes(name, single, w, y[0])
    assert (value.shape, dx.shape) == ((), (5,))
    same([dx], [slopes(name, x[:1], w, y[:1])[1][0]], 1e-12)


@EVERY
def test_no_features_at_all(name: str) -> None:
    """(N, 0) times (C, 0): every score is zero."""
    x, w = torch.zeros(3, 0, requires_grad=True), torch.zeros(4, 0, requires_grad=True)
    value = HEADS[name](x, w, torch.tensor([0, 1, 3]))
    plain = HEADS[name](torch.zeros(3, 2), torch.zeros(4, 2), torch.tensor([0, 1, 3]))
    assert torch.allclose(value, plain)
    assert [t.shape for t in torch.autograd.grad(value, (x, w))] == [(3, 0), (4, 0)]


@pytest.mark.parametrize("name", ["mean", "focal"])
def test_pieces_with_a_normalizer_are_the_whole(name: str) -> None:
    """Half of the rows ignored, in pieces of different counts; one piece has nothing to learn."""
    x, w, y = drawn(60, 16, 100, torch.float32)
    y[torch.rand(60, generator=torch.Generator().manual_seed(1)) < 0.5] = -100
    y[20:26] = -100
    right = slopes(name, x, w, y)
    count, part = losskit.count_valid(y), torch.arange(60) // 20
    pieces = [slopes(name, x, w, torch.where(part == i, y, -100), normalizer=count) for i in range(3)]
    same([sum(t) for t in zip(*pieces, strict=True)], right, 1e-6)
    kept = y != -100
    clean = slopes(name, x.detach()[kept].requires_grad_(), w, y[kept])
    same([right[0], right[1][kept], right[2]], clean, 1e-6)
    assert not right[1][~kept].any()


@EVERY
def test_four_threads_get_the_answer_of_one(name: str) -> None:
    calls = [drawn(20 + i, 8, 50, torch.float32) for i in range(4)]
    alone, found = [slopes(name, *c, memory=3000) for c in calls], {}

    def work(i: int) -> None:
        for _ in range(10):
            found[i] = slopes(name, *calls[i], memory=3000)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for i in range(4):
        assert all(torch.equal(a, b) for a, b in zip(found[i], alone[i], strict=True))


def test_modules_are_pickled_and_copied_with_their_tensors() -> None:
    x, w, y = drawn(6, 5, 9, torch.float32)
    for module in (losskit.LinearCrossEntropyLoss, losskit.LinearFocalLoss, losskit.LinearLogProbs):
        made = module(linear_bias=torch.arange(9.0), softcap=3.0, memory=500)
        for twin in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
            assert repr(twin) == repr(made)
            found = [m(x, w, y) for m in (twin, made)]
            assert torch.equal(*(f if isinstance(f, Tensor) else f.log_prob for f in found))


# What a call adds to the resident memory of a process, in MiB: Linux counts the peak, and forgets it on request.
CHILD = """
    import sys, torch, losskit
    what, dtype, memory = sys.argv[1], getattr(torch, sys.argv[2]), int(sys.argv[3]) << 20
    torch.set_num_threads(1)
    x = torch.randn(2048, 64).to(dtype).requires_grad_()
    w = (torch.randn(32768, 64) * (3 / 8)).to(dtype).requires_grad_()  # steep: rounded products need their lost digits
    y = torch.randint(32768, (2048,))

    def run(x, w, y):
        if what == "plain":
            return torch.nn.functional.cross_entropy(x @ w.T, y).backward()
        if what == "log_probs":
            found = losskit.linear_log_probs(x, w, y, memory=memory, entropy=True)
            return (found.log_prob + found.entropy).sum().backward()
        loss = losskit.linear_cross_entropy(x, w, y, memory=memory, reduction="none" if what == "none" else "mean")
        return None if what == "forward" else loss.sum().backward()

    def kib(key):
        return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(key))

    run(torch.randn(4, 64, dtype=dtype, requires_grad=True), torch.randn(8, 64, dtype=dtype, requires_grad=True), y[:4] % 8)
    open("/proc/self/clear_refs", "w").write("5")
    before = kib("VmRSS")
    run(x, w, y)
    print((kib("VmHWM") - before) / 1024)
"""


def peak(what: str, dtype: str, memory: int) -> float:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
    call = [sys.executable, "-c", textwrap.dedent(CHILD), what, dtype, str(memory)]
    found = subprocess.run(call, env=environment, check=True, capture_output=True, text=True, timeout=300)
    return float(found.stdout)


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads the peak of a process from Linux's /proc")
@pytest.mark.parametrize("what", ["mean", "log_probs", "forward"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_budget_is_obeyed(what: str, dtype: str) -> None:
    """32 MiB for scores of 2048 x 32768, which are 256 MiB in float32; torch holds three times that.

    Above the budget are the gradients, in float32 and in their own dtype, and 30 MiB: gathered rows of the targets (8 MiB of
    them in float64, and as much for a product), what BLAS packs, and pages that the allocator has not given back.
    """
    gradients = 0 if what == "forward" else (2048 + 32768) * 64 * (4 + (dtype != "float32") * 2) / 2**20
    assert peak(what, dtype, 32) < 32 + gradients + 30


@pytest.mark.slow
@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="reads the peak of a process from Linux's /proc")
def test_plain_torch_needs_the_scores_several_times() -> None:
    assert peak("plain", "float32", 1) > 512
