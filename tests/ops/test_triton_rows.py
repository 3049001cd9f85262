"""The row kernels of CUDA, run by Triton's interpreter on CPU."""

from __future__ import annotations

import importlib.util
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import interpreted
import pytest
import torch
from interpreted import EVERYTHING, Case, Seen, agree, drawn, eager, truth

import losskit
from losskit.ops.rows import Coefficients
from projections import off

pytestmark = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="Triton is not made for this platform")
Run = Callable[[Case], Seen]
INF = math.inf


@pytest.fixture(scope="module")
def call() -> Iterator[Callable[..., Any]]:
    with interpreted.process(TRITON_INTERPRET="1") as call:
        yield call


@pytest.fixture(scope="module")
def run(call: Callable[..., Any]) -> Run:
    return lambda case: call(interpreted.triton, case)


FEATURES = list(itertools.product((False, True), (1.0, 0.7), (None, 5.0), (False, True), (False, True), (False, True)))


@pytest.mark.parametrize(("bias", "scale", "softcap", "tilt", "entropy", "top"), FEATURES)
def test_every_combination_is_the_formula_and_the_eager_pass(
    run: Run, bias: bool, scale: float, softcap: float | None, tilt: bool, entropy: bool, top: bool
) -> None:
    case = drawn(3, 129, bias=bias, scale=scale, softcap=softcap, tilt=tilt, entropy=entropy, top=top)
    got, other = run(case), eager(case)
    agree(case, got)
    for mine, its in zip(got.found, other.found, strict=True):
        assert (mine is None) == (its is None)
        assert mine is None or torch.allclose(mine, its, rtol=1e-6, atol=3e-6)
    assert torch.allclose(got.gradient, other.gradient, rtol=1e-5, atol=1e-6)
    assert torch.allclose(got.slope, other.slope, rtol=1e-5, atol=1e-5)


SIZES = [*itertools.product((0, 1, 7), (1, 2, 127, 128, 129, 5003)), (2, 32769)]


@pytest.mark.parametrize(("n", "v"), SIZES)
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_any_number_of_rows_and_classes(run: Run, n: int, v: int, options: dict[str, Any]) -> None:
    case = drawn(n, v, **options)
    agree(case, run(case))


def test_one_visit_sees_every_row_and_none_gives_the_block_back(run: Run) -> None:
    case = drawn(5, 129)._replace(by=None)
    got = run(case)
    assert got.visits == [slice(0, 5)]
    assert torch.equal(got.gradient, case.block)
    assert torch.equal(got.found.rest, run(drawn(5, 129)).found.rest)


@pytest.mark.parametrize("shift", [0.0, 1e4, -1e4, 1e6])
@pytest.mark.parametrize("std", [0.01, 3.0, 30.0])
def test_rest_is_relative_to_the_largest_score(run: Run, shift: float, std: float) -> None:
    case = drawn(2, 32769, std=std, entropy=True)
    case = case._replace(block=case.block + shift)
    got, (found, _) = run(case), truth(case)
    assert ((got.found.rest - found.rest).abs() / found.rest.abs().clamp(min=1)).max() < 5e-7
    # what a head makes of it is the difference of two scores: the offset must not take its digits
    assert (got.found.rest - found.rest).abs().max() < 5e-7
    agree(case, got)


def test_confident_rows_keep_the_digits_of_the_others(run: Run) -> None:
    case = drawn(7, 5003, std=1.0, softcap=30.0)
    case.block.scatter_add_(1, case.index.unsqueeze(1), torch.full((7, 1), 26.0))
    got, (found, _) = run(case), truth(case)
    agree(case, got)
    own = case.block.double().gather(1, case.index.unsqueeze(1)).squeeze(1)
    own = 30 * torch.tanh(own / 30)
    sure, right = (torch.sigmoid(rest - own) for rest in (got.found.rest, found.rest))
    assert right.max() < 1e-4
    assert torch.allclose(sure, right, rtol=1e-6, atol=0)


@pytest.mark.parametrize("softcap", [0.01, 0.5, 5.0, 1e3])
def test_both_tails_of_the_softcap_are_exact(run: Run, softcap: float) -> None:
    case = drawn(1, 9001, softcap=softcap)
    case = case._replace(block=torch.linspace(-40, 40, 9001).unsqueeze(0) * softcap)
    got, (_, gradient) = run(case), truth(case)
    assert off(got.gradient, gradient) < 1e-6
    steep = torch.cosh(case.block.double() / softcap) ** -2
    far = case.block.abs() > 15 * softcap
    assert steep[far].max() < 1e-12
    assert torch.allclose(got.gradient[far].double(), gradient[far], rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("softcap", [0.5, 1e3])
def test_the_softcap_keeps_the_digits_of_every_score(run: Run, softcap: float) -> None:
    x = torch.logspace(-6, 1, 40)
    case = Case(
        torch.stack([x, -x], 1).reshape(-1, 1).expand(80, 2).contiguous() * softcap, torch.zeros(80).long(), softcap=softcap
    )
    assert torch.allclose(run(case).found.rest, softcap * torch.tanh(case.block[:, 1].double() / softcap), rtol=4e-7, atol=0)


def masked(case: Case, where: Any, value: float = -INF) -> Case:
    case.block[:, where] = value
    return case


@pytest.mark.parametrize("value", [-INF, torch.finfo(torch.float32).min])
@pytest.mark.parametrize("v", [129, 9000])
@pytest.mark.parametrize("where", ["a third", "the leading tiles", "all but one"])
def test_classes_that_are_ruled_out_have_no_share(run: Run, v: int, where: str, value: float) -> None:
    places = {"a third": slice(None, None, 3), "the leading tiles": slice(0, v - 100), "all but one": slice(1, v)}[where]
    case = masked(drawn(7, v, entropy=True, top=True), places, value)
    case = case._replace(index=case.index.clamp(min=1))
    got = run(case)
    agree(case, got)
    out = torch.zeros(7, v, dtype=torch.bool)
    out[:, places] = True
    assert not got.gradient[out.scatter(1, case.index.unsqueeze(1), False)].any()


@pytest.mark.parametrize("v", [1, 2, 5003])
@pytest.mark.parametrize("options", [{}, EVERYTHING | {"softcap": None, "tilt": False}], ids=["plain", "everything"])
def test_without_other_classes_rest_is_the_lowest_float(run: Run, v: int, options: dict[str, Any]) -> None:
    case = drawn(7, v, **options)
    own = case.block.gather(1, case.index.unsqueeze(1))
    case = case._replace(block=torch.full((7, v), -INF).scatter(1, case.index.unsqueeze(1), own))
    got = run(case)
    agree(case, got)
    assert (got.found.rest == torch.finfo(torch.float32).min).all()
    assert torch.equal(got.gradient, truth(case)[1].float())


@pytest.mark.parametrize("place", [0, 4500, 8999])
@pytest.mark.parametrize("value", [math.nan, INF])
@pytest.mark.parametrize("options", [{}, {"entropy": True, "top": True, "tilt": True}], ids=["plain", "everything"])
def test_nan_shows_in_its_row_and_in_no_other(run: Run, place: int, value: float, options: dict[str, Any]) -> None:
    case = drawn(3, 9000, **options)
    clean = run(case)
    case.block[1, place] = value
    got = run(case)
    for name in ("rest", "spread", "drift") if options else ("rest",):
        mine, without = getattr(got.found, name), getattr(clean.found, name)
        assert mine[1].isnan() or (name == "drift" and mine[1].isinf())
        assert torch.equal(mine[::2], without[::2])
    if options:
        assert not got.found.peak[1].isfinite()
    assert got.gradient[1].isnan().any()
    assert torch.equal(got.gradient[::2], clean.gradient[::2])


def test_nan_in_the_targets_own_score_is_the_callers_business(run: Run) -> None:
    case = drawn(3, 129)
    clean = run(case)
    case.block.scatter_(1, case.index.unsqueeze(1), math.nan)
    got = run(case)
    assert torch.equal(got.found.rest, clean.found.rest)
    assert torch.equal(got.gradient, clean.gradient)


def test_the_first_of_equal_scores_is_the_top(run: Run) -> None:
    case = drawn(2, 9000, top=True)._replace(index=torch.tensor([0, 8999]))
    case.block[:, [17, 18, 4096 + 3, 4096 + 17]] = 99.0  # in one tile; in a lane to the left of it; in the same lane
    assert run(case).found.top.tolist() == [17, 17]


@pytest.mark.parametrize("result", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("n", "v"), [(1, 1), (7, 2), (7, 129), (3, 5003), (2, 20000)])
@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_a_narrow_gradient_lies_in_the_blocks_own_bytes(
    run: Run, result: torch.dtype, n: int, v: int, options: dict[str, Any]
) -> None:
    case = drawn(n, v, **options)
    wide = run(case).gradient
    got = run(case._replace(result=result))
    assert got.gradient.dtype == result
    assert got.shared
    assert got.gradient.stride() == (2 * v, 1)
    if result == torch.float16:
        assert torch.equal(got.gradient, wide.half())
    else:  # the interpreter cuts bfloat16 off where a GPU rounds: see test_triton_compiled.py
        assert ((got.gradient - wide).abs() <= wide.abs() * 2**-7).all()
    assert torch.equal(got.slope, got.gradient.sum(0, dtype=torch.float32))
    agree(case, run(case))


@pytest.mark.parametrize("result", [torch.float32, torch.float16])
@pytest.mark.parametrize("index", [None, -1, 129, 2**40, -(2**40)])
def test_no_foreign_memory_is_touched(run: Run, result: torch.dtype, index: int | None) -> None:
    """A block in the middle of a larger one, its rows further apart than they are long."""
    case = drawn(3, 129, **EVERYTHING)
    if index is not None:
        case = case._replace(index=torch.tensor([5, index, 7]))
    around = torch.full((5, 160), 77.0)
    around[1:4, 8:137] = case.block
    got = run(case._replace(block=around[1:4, 8:137], result=result))
    agree(case, run(case))
    assert torch.allclose(got.gradient.float(), truth(case)[1].float(), rtol=1e-3, atol=1e-5)
    assert torch.allclose(got.found.rest, truth(case)[0].rest)
    after = got.memory.reshape(5, 160)
    after[1:4, 8:137] = 77.0
    assert (after == 77.0).all()


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["plain", "everything"])
def test_the_targets_share_may_be_left_to_the_caller(run: Run, options: dict[str, Any]) -> None:
    case = drawn(7, 129, **options)
    assert case.by is not None
    case = case._replace(by=case.by._replace(own=None))
    got = run(case)
    agree(case, got)
    shares = got.gradient.gather(1, case.index.unsqueeze(1))
    assert shares.any() if options else not shares.any()


def test_views_and_expanded_operands_are_read_as_they_are(run: Run) -> None:
    case = drawn(7, 129, tilt=True)
    assert case.by is not None
    by = Coefficients(*(None if t is None else torch.stack([t, t])[:, :].T[:, 0] for t in case.by))
    strided = case._replace(index=torch.stack([case.index, -case.index], 1)[:, 0], tilt=torch.tensor(0.5).expand(129), by=by)
    agree(strided, run(strided))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_blocks_go_to_the_eager_pass(run: Run, dtype: torch.dtype) -> None:
    case = drawn(5, 129, entropy=True)
    case = case._replace(block=case.block.to(dtype), result=dtype)
    got, other = run(case), eager(case)
    assert got.visits == other.visits != [slice(0, 5)]
    assert torch.equal(got.gradient, other.gradient)
    assert torch.equal(got.found.rest, other.found.rest)


HEADS: list[tuple[str, dict[str, Any], str]] = [
    ("linear_cross_entropy", {}, ""),
    ("linear_cross_entropy", {"softcap": 4.0, "label_smoothing": 0.1, "z_loss": 0.01, "logit_scale": 0.5}, ""),
    ("linear_cross_entropy", {"label_smoothing": 0.1}, ""),
    ("linear_focal_loss", {"gamma": 2.0}, ""),
    ("linear_log_probs", {"entropy": True}, "log_prob logsumexp entropy"),
]


@pytest.mark.parametrize(("name", "options", "outputs"), HEADS)
@pytest.mark.parametrize("bias", [False, True])
def test_a_whole_head_is_float64_autograd(
    call: Callable[..., Any], name: str, options: dict[str, Any], outputs: str, bias: bool
) -> None:
    n, d, v = 11, 7, 150
    generator = torch.Generator().manual_seed(n)
    x, w, b = (torch.randn(shape, generator=generator) for shape in ((n, d), (v, d), (v,)))
    y = torch.randint(v, (n,), generator=generator)
    y[3] = -100
    blocks = {"memory": 8 * v * 4}
    operands = [x, w, y]
    given = {**options, **blocks} | ({"linear_bias": b} if bias else {})
    value, gradients, count = call(interpreted.whole, name, operands, given, outputs)
    wide = [t.double().requires_grad_() if t.is_floating_point() else t for t in operands]
    out = getattr(losskit, name)(*wide, **options, **({"linear_bias": b.double()} if bias else {}))
    right = sum(getattr(out, part).sum() for part in outputs.split()) if outputs else out
    assert count > 1
    assert off(value, right.detach()) < 5e-7
    for got, wanted in zip(gradients, torch.autograd.grad(right, [t for t in wide if t.requires_grad]), strict=True):
        assert wanted.any()
        assert off(got, wanted) < 1e-6
