"""The fused head on a real GPU: the compiled row pass, accuracy, memory, and what a call does not wait for."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from interpreted import EVERYTHING, Case, agree, seen, truth
from interpreted import drawn as drawn_case
from torch import Tensor

import losskit
from losskit.ops.linear_margin import Head, Projected, linear_margin, linear_total
from losskit.ops.rows import Coefficients, Found
from projections import drawn, off

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DTYPES = [torch.float32, torch.bfloat16, torch.float16]
# loss, dX, dW; plain torch at the same precision may be further off, and then so may we
BARS = {torch.float32: (5e-7, 1e-6, 1e-6), torch.bfloat16: (1e-5, 2.5e-3, 2.5e-3), torch.float16: (1e-5, 1e-3, 1e-3)}
# bfloat16 rounds the gradient of a score, and the sum of these: 2^-9 each at most. Over hundreds of rows the first averages out,
# over 7 it does not: 3.1e-3 for 7 rows of 2 classes (H100), where plain torch, which rounds as often, is 2.4e-3 off
FEW = BARS | {torch.bfloat16: (1e-5, 2**-8, 2**-8)}


@contextmanager
def watched(mode: str) -> Iterator[None]:
    """torch on the look-out for waits; that it does so as a prototype it says in a warning."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.cuda.set_sync_debug_mode(mode)
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def moved(values: Any, device: str) -> Any:
    """A case, what was seen, or any tuple of tensors, on another device."""
    if isinstance(values, Tensor):
        return values.to(device)
    if isinstance(values, (Case, Coefficients, Found)):
        return type(values)(*(moved(v, device) for v in values))
    return values


def swept(case: Case) -> Any:
    """A sweep of the compiled kernels, brought back."""
    from losskit.ops.triton.rows import sweep

    got = seen(sweep, moved(case._replace(block=case.block.clone()), DEVICE))
    return got._replace(**{name: moved(getattr(got, name), "cpu") for name in ("found", "gradient", "slope", "memory")})


@pytest.mark.parametrize(("n", "v"), [(7, 1), (7, 129), (3, 5003), (2, 128256)])
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_cuda_row_pass_is_float64(n: int, v: int, options: dict[str, Any]) -> None:
    case = drawn_case(n, v, **options)
    agree(case, swept(case), slack=3)  # a GPU's own exponential is 2e-7 off


@pytest.mark.parametrize("shift", [1e4, -1e4, 1e6])
def test_the_cuda_row_pass_is_relative_to_the_largest_score(shift: float) -> None:
    case = drawn_case(2, 32769, entropy=True)
    case = case._replace(block=case.block + shift)
    agree(case, swept(case), slack=3)


@pytest.mark.parametrize("result", [torch.bfloat16, torch.float16])
def test_the_narrow_cuda_gradient_is_the_wide_one_rounded(result: torch.dtype) -> None:
    """Rows written over their own scores: were a score overwritten before it is read, thousands of values would differ."""
    case = drawn_case(300, 50257, bias=True)
    wide, got = swept(case), swept(case._replace(result=result))
    assert got.gradient.dtype == result
    assert got.shared
    assert ((got.gradient - wide.gradient).abs() <= wide.gradient.abs() * 1.01 * 2**-8 + 1e-7).all()


def test_the_cuda_row_pass_takes_infinities_and_shows_nan() -> None:
    case = drawn_case(4, 9000, entropy=True, top=True)
    case = case._replace(index=torch.tensor([1, 8999, -1, 2**40]))
    case.block[0, 2:] = -math.inf
    case.block[0, 0] = -math.inf
    case.block[1, :8200] = -math.inf
    got, (found, gradient) = swept(case), truth(case)
    assert got.found.rest[0] == torch.finfo(torch.float32).min
    assert torch.allclose(got.found.rest[1:], found.rest[1:], rtol=2e-6)
    assert torch.allclose(got.gradient.double(), gradient, rtol=1e-4, atol=1e-6)
    case.block[2, 8500] = math.nan
    poisoned = swept(case)
    assert poisoned.found.rest.isnan().tolist() == [False, False, True, False]
    assert poisoned.found.peak.isnan().tolist() == [False, False, True, False]
    assert torch.equal(poisoned.gradient[3], got.gradient[3])


def test_the_cuda_row_pass_needs_no_second_buffer() -> None:
    case = moved(drawn_case(512, 32768, result=torch.bfloat16), DEVICE)
    seen(_sweep(), case)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    seen(_sweep(), case)
    assert torch.cuda.max_memory_allocated() - before < case.block.nbytes // 50


def _sweep() -> Any:
    from losskit.ops.triton.rows import sweep

    return lambda *given: sweep(*given[:5], None)  # no column sums: they are torch's own


def test_cuda_rows_beyond_two_to_the_31_scores_are_their_own() -> None:
    if torch.cuda.mem_get_info()[0] < 14 << 30:
        pytest.skip("2^31 float32 scores take 8.6 GB, and this test 5 more")
    n, v = 17000, 128256
    block = torch.empty(n, v, device=DEVICE).normal_()
    last = drawn_case(2, v)
    block[-2:] = last.block.to(DEVICE)
    index, by = (torch.cat([t.new_zeros(n - 2), t]) for t in (last.index, last.by.others))
    case = Case(block, index.to(DEVICE), Coefficients(by.to(DEVICE), None), result=torch.bfloat16)
    got = seen(_sweep(), case)
    found, gradient = truth(last._replace(by=last.by._replace(own=None)))
    assert torch.allclose(got.found.rest[-2:].cpu(), found.rest, rtol=2e-6)
    assert off(got.gradient[-2:].cpu(), gradient) < 3e-3


def operands(n: int, d: int, v: int, dtype: torch.dtype, **options: Any) -> tuple[Tensor, Tensor, Tensor]:
    x, w, y = drawn(n, d, v, dtype, **options)
    return x.detach().to(DEVICE).requires_grad_(), w.detach().to(DEVICE).requires_grad_(), y.to(DEVICE)


def scores(x: Tensor, w: Tensor, bias: Tensor | None = None, softcap: float | None = None) -> Tensor:
    z = x @ w.T
    z = z if bias is None else z + bias
    return z if softcap is None else softcap * torch.tanh(z / softcap)


def compared(x: Tensor, w: Tensor, y: Tensor, memory: int | None, **options: Any) -> None:
    """Value and gradients of the mean, no worse than the bars or than plain torch at the same precision."""
    form = {n: options.pop(n) for n in ("linear_bias", "softcap") if n in options}
    loss = losskit.linear_cross_entropy(x, w, y, memory=memory, **form, **options)
    got = (loss.detach(), *torch.autograd.grad(loss, (x, w)))
    shape = {"bias": form.get("linear_bias"), "softcap": form.get("softcap")}

    def plainly(dtype: torch.dtype) -> tuple[Tensor, ...]:
        leaves = [t.detach().to(dtype).requires_grad_() for t in (x, w)]
        wide = {"bias": None if shape["bias"] is None else shape["bias"].to(dtype), "softcap": shape["softcap"]}
        loss = F.cross_entropy(scores(*leaves, **wide).to(torch.promote_types(dtype, torch.float32)), y, **options)
        return (loss.detach(), *torch.autograd.grad(loss, leaves))

    right, plain = plainly(torch.float64), plainly(x.dtype)
    for mine, its, wanted, bar in zip(got, plain, right, (BARS if len(x) >= 64 else FEW)[x.dtype], strict=True):
        assert wanted.any()
        assert off(mine, wanted) < max(bar, off(its, wanted)), (off(mine, wanted), off(its, wanted))


SHAPES = [(7, 31, 2), (64, 129, 1031), (513, 256, 50257), (1024, 512, 32768)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d", "v"), SHAPES)
@pytest.mark.parametrize("trained", [False, True])
def test_cuda_value_and_gradients_are_float64(dtype: torch.dtype, n: int, d: int, v: int, trained: bool) -> None:
    compared(*operands(n, d, v, dtype, trained=trained), None)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 5, 200])
def test_cuda_gradients_do_not_depend_on_the_blocks(dtype: torch.dtype, rows: int) -> None:
    compared(*operands(300, 64, 5003, dtype), rows * 5003 * 4 + (8 << 20))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{"softcap": 5.0}, {"label_smoothing": 0.1}, {"softcap": 5.0, "label_smoothing": 0.1}])
def test_cuda_options_are_those_of_the_scores(dtype: torch.dtype, options: dict[str, Any]) -> None:
    bias = torch.randn(1031, generator=torch.Generator().manual_seed(0)).to(DEVICE, dtype)
    compared(*operands(257, 64, 1031, dtype), 100 * 1031 * 4, linear_bias=bias, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_rows_that_are_ignored_may_be_nan_and_get_nothing(dtype: torch.dtype) -> None:
    x, w, y = operands(64, 32, 1031, dtype)
    kept = torch.arange(64, device=DEVICE) % 3 != 0
    alone = losskit.linear_cross_entropy(x[kept], w, y[kept])
    dx, dw = torch.autograd.grad(alone, (x, w))
    holed = torch.where(kept[:, None], x.detach(), math.nan).requires_grad_()
    loss = losskit.linear_cross_entropy(holed, w, torch.where(kept, y, -100))
    got = torch.autograd.grad(loss, (holed, w))
    assert dx.any()
    assert torch.equal(loss, alone)
    assert torch.equal(got[0], dx)
    assert torch.equal(got[1], dw)
    nobody = losskit.linear_cross_entropy(holed, w, torch.full_like(y, -100))
    assert nobody == 0
    assert not torch.autograd.grad(nobody, w)[0].any()


@pytest.mark.parametrize("wrong", [1031, -7, 2**40])
def test_a_cuda_target_out_of_range_makes_its_row_nan(wrong: int) -> None:
    x, w, y = operands(9, 32, 1031, torch.bfloat16)
    right = losskit.linear_cross_entropy(x, w, y, reduction="none")
    bad = y.clone()
    bad[4] = wrong
    loss = losskit.linear_cross_entropy(x, w, bad, reduction="none")
    others = torch.arange(9, device=DEVICE) != 4
    assert loss.isnan().tolist() == (~others).tolist()
    assert torch.equal(loss[others], right[others])
    assert losskit.linear_cross_entropy(x, w, bad).isnan()
    scored = losskit.linear_log_probs(x, w, bad).log_prob
    assert scored.isnan().tolist() == (~others).tolist()
    torch.cuda.synchronize()  # a fault would surface here


@pytest.mark.parametrize("dtype", DTYPES)
def test_cuda_log_probs_and_entropy_are_those_of_the_scores(dtype: torch.dtype) -> None:
    x, w, y = operands(65, 48, 5003, dtype)
    found = losskit.linear_log_probs(x, w, y, entropy=True, memory=20 * 5003 * 4)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    log_p = scores(*wide).log_softmax(-1)
    right = (
        log_p.gather(1, y[:, None])[:, 0], scores(*wide).logsumexp(-1), -(log_p.exp() * log_p).sum(-1),
    )  # fmt: skip
    bar = BARS[dtype][1]
    for got, wanted in zip((found.log_prob, found.logsumexp, found.entropy), right, strict=True):
        assert off(got.detach(), wanted.detach()) < 1e-5
        slopes = [torch.autograd.grad((t * torch.linspace(-1, 2, 65, device=DEVICE)).sum(), by, retain_graph=True)
                  for t, by in ((got, (x, w)), (wanted, wide))]  # fmt: skip
        for mine, its in zip(*slopes, strict=True):
            assert its.any()
            assert off(mine, its) < max(bar, 3e-6)
    best = scores(*wide).detach()
    assert torch.allclose(best.gather(1, found.argmax[:, None])[:, 0], best.amax(1), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cuda_head_without_ignored_rows_never_waits(dtype: torch.dtype) -> None:
    x, w, y = operands(64, 32, 1031, dtype)
    bias = torch.zeros(1031, device=DEVICE, dtype=dtype, requires_grad=True)
    call = Projected(x, w, bias, y, None, 0.7, 5.0, 20 * 1031 * 4)
    tilt, weight = torch.full((1031,), 1e-4, device=DEVICE), torch.ones(64, device=DEVICE)

    def step() -> None:
        linear_total(call, Head("nll", (), weight, tilt, 0.1)).backward()
        linear_total(call._replace(softcap=None), Head("focal", (2.0,), weight)).backward()
        found = linear_margin(call, tilt=tilt, entropy=True, top=True)
        (found.own + found.rest + found.drift + found.entropy).sum().backward()

    step()  # kernels are compiled and libraries set up
    torch.cuda.synchronize()
    with watched("error"):
        step()
    assert x.grad.any()


def test_a_cuda_step_waits_once_for_what_is_ignored_and_for_nothing_else() -> None:
    x, w, y = operands(64, 32, 1031, torch.bfloat16)
    losskit.linear_cross_entropy(x, w, y).backward()
    torch.cuda.synchronize()
    with watched("warn"), warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter("always")
        losskit.linear_cross_entropy(x, w, y).backward()
    assert len(waits) <= 1, [str(w.message) for w in waits]


def test_the_cuda_head_compiles_whole() -> None:
    x, w, y = operands(64, 32, 1031, torch.bfloat16)
    y[::3] = -100
    eagerly = losskit.linear_cross_entropy(x, w, y, label_smoothing=0.1)
    whole = torch.compile(losskit.linear_cross_entropy, fullgraph=True)(x, w, y, label_smoothing=0.1)
    slopes = [torch.autograd.grad(loss, (x, w)) for loss in (eagerly, whole)]
    assert torch.allclose(eagerly, whole)
    for mine, its in zip(*slopes, strict=True):
        assert its.any()
        assert off(mine, its.double()) < 1e-2


def test_the_cuda_workspace_stays_within_its_bytes() -> None:
    x, w, y = operands(2048, 64, 65536, torch.bfloat16)
    budget = 64 << 20

    def step() -> None:
        torch.autograd.grad(losskit.linear_cross_entropy(x, w, y, memory=budget), (x, w))

    step()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    step()
    gradients = 6 * (x.numel() + w.numel())  # gathered in float32, given in bfloat16
    assert torch.cuda.max_memory_allocated() - before < 1.1 * budget + gradients + (8 << 20)
