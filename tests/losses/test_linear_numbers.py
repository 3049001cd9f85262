"""The fused heads against the plain formula in float64: random calls, ruled-out classes, confident rows, broken rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, note, settings
from hypothesis import strategies as st
from torch import Tensor

import losskit
from projections import drawn, off

FLOATS = {torch.float64: 1e-11, torch.float32: 4e-6, torch.bfloat16: 6e-3, torch.float16: 1e-3}
Slopes = tuple[Tensor, list[Tensor]]


def plain(x: Tensor, w: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:
    """Cross-entropy as it is taught, in float64, from scores that are all kept."""
    o = options
    classes, bias = len(w), o.get("linear_bias")
    z = x.double() @ w.double().T
    z = o.get("logit_scale", 1.0) * (z if bias is None else z + bias.double())
    z = o["softcap"] * torch.tanh(z / o["softcap"]) if o.get("softcap") else z
    weight = torch.ones(classes, dtype=torch.float64) if o.get("weight") is None else o["weight"].double()
    soft = target.is_floating_point()
    seen = torch.ones(len(x), dtype=torch.bool) if soft else target != o.get("ignore_index", -100)
    wanted = target.double() if soft else F.one_hot(torch.where(seen, target, 0), classes).double()
    eps = o.get("label_smoothing", 0.0)
    pull = ((1 - eps) * wanted + eps / classes) * weight
    each = torch.where(pull == 0, 0, pull * -z.log_softmax(-1)).sum(-1) + o.get("z_loss", 0.0) * z.logsumexp(-1) ** 2
    each = torch.where(seen, each, 0)
    if o.get("reduction", "mean") == "none":
        return each
    count = seen.double().sum() if o.get("weight") is None else ((wanted * weight).sum(-1) * seen).sum()
    by = o["normalizer"] if o.get("normalizer") is not None else torch.where(count == 0, 1, count)
    return each.sum() / by if o.get("reduction", "mean") == "mean" else each.sum()


def slopes(loss: Callable[..., Tensor], x: Tensor, w: Tensor, target: Tensor, options: dict[str, Any]) -> Slopes:
    """The loss, and its gradients for input, weight and bias under a fixed random upstream with a zero in it."""
    options = dict(options)
    leaves = [t.detach().clone().requires_grad_() for t in (x, w)]
    if options.get("linear_bias") is not None:
        options["linear_bias"] = options["linear_bias"].detach().clone().requires_grad_()
        leaves.append(options["linear_bias"])
    value = loss(leaves[0], leaves[1], target, options)
    by = torch.linspace(0, 1.5, max(value.numel(), 2))[: value.numel()].reshape(value.shape)
    by = by if value.ndim else torch.tensor(1.25)
    return value.detach(), list(torch.autograd.grad((value * by).sum(), leaves))


def agree(got: Slopes, right: Slopes, tolerance: float, size: float = 1e-12) -> None:
    """Relative in the norm; ``size`` is what counts as nothing."""
    assert float((got[0].double() - right[0]).norm()) <= tolerance * float(right[0].norm()) + size
    for a, b in zip(got[1], right[1], strict=True):
        assert a.shape == b.shape
        assert float((a.double() - b.double()).norm()) <= tolerance * float(b.double().norm()) + size


def fused(x: Tensor, w: Tensor, target: Tensor, options: dict[str, Any]) -> Tensor:
    return losskit.linear_cross_entropy(x, w, target, **options)


@st.composite
def calls(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, dict[str, Any], float]:
    """A call with any options together; all random numbers come from the seed that is drawn."""
    seed, n, d, v = draw(st.integers(0, 2**31)), draw(st.integers(0, 9)), draw(st.integers(1, 7)), draw(st.integers(1, 13))
    dtype = draw(st.sampled_from(list(FLOATS)))
    generator = torch.Generator().manual_seed(seed)
    x, w = torch.randn(n, d, generator=generator).to(dtype), torch.randn(v, d, generator=generator).to(dtype)
    target = torch.randint(v, (n,), generator=generator)
    options: dict[str, Any] = {
        "label_smoothing": draw(st.sampled_from([0.0, 0.1, 1.0])),
        "z_loss": draw(st.sampled_from([0.0, 0.01, 1.0])),
        "logit_scale": draw(st.sampled_from([1.0, 0.3, 2.5])),
        "memory": draw(st.sampled_from([1, 100, 500, None, 2**40])),
        "reduction": draw(st.sampled_from(["mean", "sum", "none"])),
        "normalizer": draw(st.sampled_from([None, 3.5])),
    }
    if draw(st.booleans()):
        options["weight"] = torch.rand(v, generator=generator) * (torch.rand(v, generator=generator) < 0.8)
    if draw(st.booleans()):
        options["linear_bias"] = torch.randn(v, generator=generator).to(dtype)
    if draw(st.booleans()):
        target = torch.rand(n, v, generator=generator).softmax(-1)
    else:
        options["softcap"] = draw(st.sampled_from([None, 1.5, 30.0]))
        options["ignore_index"] = draw(st.sampled_from([-100, 0, v - 1, 2**40]))
        target[torch.rand(n, generator=generator) < 0.3] = options["ignore_index"]
    note(f"seed={seed} n={n} d={d} v={v} {dtype} soft={target.is_floating_point()} {options}")
    return x, w, target, options, FLOATS[dtype]


@settings(max_examples=300, derandomize=True, deadline=None, database=None)
@given(calls())
def test_any_call_is_the_plain_formula(call: tuple[Tensor, Tensor, Tensor, dict[str, Any], float]) -> None:
    x, w, target, options, tolerance = call
    got, right = slopes(fused, x, w, target, options), slopes(plain, x, w, target, options)
    value = (1e-11, 1e-13) if x.dtype == torch.float64 else (2e-6, 1e-6)  # float32 inside: only gradients are rounded
    agree((got[0], []), (right[0], []), *value)
    apart = target.is_floating_point() or (options["reduction"] == "none" and options["label_smoothing"] > 0)
    if not (apart and x.dtype.itemsize == 2):
        agree(got, right, tolerance, {torch.float64: 1e-13, torch.float32: 1e-6}.get(x.dtype, 2e-4))


FUSED: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor]]] = {
    "mean": (losskit.linear_cross_entropy, losskit.cross_entropy),
    "none": (
        lambda *t, **o: losskit.linear_cross_entropy(*t, reduction="none", **o).mean(),
        lambda *t, **o: losskit.cross_entropy(*t, reduction="none", **o).mean(),
    ),
    "smoothed": (
        lambda *t, **o: losskit.linear_cross_entropy(*t, label_smoothing=0.1, z_loss=1e-4, **o),
        lambda *t, **o: losskit.cross_entropy(*t, label_smoothing=0.1, z_loss=1e-4, **o),
    ),
    "focal": (losskit.linear_focal_loss, losskit.focal_loss),
    "log_prob": (
        lambda *t, **o: -losskit.linear_log_probs(*t, **o).log_prob.mean(),
        lambda *t, **o: losskit.cross_entropy(*t, reduction="none", **o).mean(),
    ),
    "logsumexp": (
        lambda *t, **o: losskit.linear_log_probs(*t, **o).logsumexp.mean(),
        lambda z, y, ignore_index=-100: torch.where(y == ignore_index, 0, z.logsumexp(-1)).mean(),
    ),
    "entropy": (
        lambda *t, **o: losskit.linear_log_probs(*t, entropy=True, **o).entropy.mean(),
        lambda z, y, ignore_index=-100: torch.where(y == ignore_index, 0, torch.special.entr(z.softmax(-1)).sum(-1)).mean(),
    ),
}
EVERY = pytest.mark.parametrize("name", FUSED)


def against(name: str, x: Tensor, w: Tensor, y: Tensor, bias: Tensor | None = None, **options: Any) -> list[float]:
    """Relative errors of the value and of the gradients of input and weight, against the scores in float64."""
    fused, loss = FUSED["mean" if name == "probabilities" else name]
    got = fused(x, w, y, **({} if bias is None else {"linear_bias": bias}), **options)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    z = wide[0] @ wide[1].T
    options.pop("memory", None)
    right = loss(z if bias is None else z + bias.double(), y, **options)
    assert got.dtype == (torch.float64 if x.dtype == torch.float64 else torch.float32)
    found = (got.detach(), *torch.autograd.grad(got, (x, w)))
    wanted = (right.detach(), *torch.autograd.grad(right, wide))
    assert all(t.any() for t in wanted)
    return [off(a, b) for a, b in zip(found, wanted, strict=True)]


@EVERY
@pytest.mark.parametrize("n", [0, 1, 7, 513])
@pytest.mark.parametrize("d", [1, 31, 123, 129])
def test_shapes_that_fit_no_block(name: str, n: int, d: int) -> None:
    for v in (1, 2, 127, 128, 129):
        x, w, y = drawn(n, d, v, torch.float32)
        if n and v > 1:
            for memory in (1, 5000, None):
                assert max(against(name, x, w, y, memory=memory)) < 1e-5, (v, memory)
            continue
        got = FUSED[name][0](x, w, y)
        slopes = torch.autograd.grad(got.nan_to_num(), (x, w))  # the mean of no numbers is NaN
        assert [t.shape for t in slopes] == [x.shape, w.shape]
        assert all(t.isfinite().all() for t in slopes)


def within(name: str, errors: list[float]) -> None:
    """The bars of the issue; the slopes of these two are sums that cancel, in torch too."""
    assert errors[0] < 5e-7
    assert max(errors) < (5e-6 if name in ("logsumexp", "entropy") else 1e-6)


@EVERY
@pytest.mark.parametrize(("n", "d", "v"), [(7, 4096, 129), (17, 123, 32769)])
def test_long_rows_and_many_classes(name: str, n: int, d: int, v: int) -> None:
    within(name, against(name, *drawn(n, d, v, torch.float32), memory=v * 4 * 3))


@pytest.mark.slow
@EVERY
@pytest.mark.parametrize(("n", "d", "v"), [(2, 4096, 32769), (513, 123, 50257), (65, 129, 151936)])
def test_large_vocabularies(name: str, n: int, d: int, v: int) -> None:
    within(name, against(name, *drawn(n, d, v, torch.float32), memory=64 << 20))


@EVERY
@pytest.mark.parametrize("margin", [10.0, 18.0, 26.0])
def test_confident_rows_keep_their_digits(name: str, margin: float) -> None:
    x, w, y = drawn(40, 512, 1000, torch.float32, 0.3)
    with torch.no_grad():
        x.copy_(0.03 * x + w[y] * (margin + math.log(1000)) / w[y].square().sum(1, keepdim=True))
    within(name, against(name, x, w, y))


@pytest.mark.parametrize("name", [*FUSED, "probabilities"])
@pytest.mark.parametrize("shift", [1e4, -1e4, 1e6])
def test_a_bias_that_shifts_every_score_costs_no_digits(name: str, shift: float) -> None:
    x, w, y = drawn(32, 16, 300, torch.float32)
    generator = torch.Generator().manual_seed(0)
    bias = shift + torch.randn(300, generator=generator).round(decimals=1)
    if name == "probabilities":
        y = torch.randn(32, 300, generator=generator).softmax(-1)
    assert max(against(name, x, w, y, bias)) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_gradient_of_a_student_near_its_teacher(dtype: torch.dtype) -> None:
    """q - p is small there: the gradients of its two parts must not be rounded before they meet."""
    x, w, _ = drawn(64, 32, 300, dtype)
    z = (x.float() @ w.float().T).detach()
    target = (z + 0.3 * torch.randn(z.shape, generator=torch.Generator().manual_seed(1))).softmax(-1)
    got = torch.autograd.grad(losskit.linear_cross_entropy(x, w, target, reduction="sum"), (x, w))
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    right = torch.autograd.grad(losskit.cross_entropy(wide[0] @ wide[1].T, target.double(), reduction="sum"), wide)
    for a, b in zip(got, right, strict=True):
        assert b.any()
        assert off(a, b) < (3e-6 if dtype == torch.float32 else 2.5e-3)


@pytest.mark.parametrize("name", ["mean", "none", "focal", "log_prob"])
def test_float16_classes_that_never_occur_keep_their_digits(name: str) -> None:
    x, w, y = drawn(512, 64, 3000, torch.float16, 0.5)
    y = y % 100
    fused, loss = FUSED[name]
    (got,) = torch.autograd.grad(2.0**15 * fused(x, w, y), w)  # as a gradient scaler does
    wide = w.detach().double().requires_grad_()
    (right,) = torch.autograd.grad(2.0**15 * loss(x.detach().double() @ wide.T, y), wide)
    assert right[100:].any()
    assert off(got[100:], right[100:]) < 1e-3


def test_a_broken_row_costs_its_neighbours_no_digits() -> None:
    """A NaN is shown in its own row; bfloat16 products of the others keep the digits that rounding took."""
    x, w, y = drawn(300, 256, 4096, torch.bfloat16, 3.0)
    broken = torch.arange(300) % 10 == 0
    right = losskit.cross_entropy(x.double() @ w.double().T, y, reduction="none").detach()
    x = torch.where(broken[:, None], math.nan, x.detach())
    got = losskit.linear_cross_entropy(x, w, y, reduction="none").detach()
    assert torch.equal(got.isnan(), broken)
    assert off(got[~broken], right[~broken]) < 1e-5


@EVERY
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_broken_is_shown_where_it_counts_and_hidden_where_it_does_not(name: str, bad: float) -> None:
    x, w, y = drawn(8, 5, 20, torch.float64)
    x = x.detach().clone()
    x[3, 0] = bad
    assert not FUSED[name][0](x, w, y).isfinite()
    y[3] = -100
    right = against(name, torch.where(torch.arange(8)[:, None] == 3, 0, x).requires_grad_(), w, y)
    x.requires_grad_()
    slopes = torch.autograd.grad(FUSED[name][0](x, w, y), (x, w))
    assert max(right) < 1e-10
    assert all(t.isfinite().all() for t in slopes)
    assert slopes[0].any(1).tolist() == [i != 3 for i in range(8)]


PADDING = torch.where(torch.arange(9) < 4, 0.0, -math.inf).double()


@pytest.mark.parametrize("name", ["mean", "none", "focal", "log_prob", "logsumexp", "entropy"])
def test_classes_that_are_ruled_out_are_not_there(name: str) -> None:
    x, w, drawn_classes = drawn(6, 5, 9, torch.float64)
    for classes in (4, 1):
        y = drawn_classes % classes
        bias = torch.where(torch.arange(9) < classes, PADDING[:1], -math.inf)
        got, right = FUSED[name][0](x, w, y, linear_bias=bias), FUSED[name][1](x @ w[:classes].T, y)
        assert torch.allclose(got, right)
        for a, b in zip(torch.autograd.grad(got, (x, w)), torch.autograd.grad(right, (x, w)), strict=True):
            assert b.any() or classes == 1
            assert torch.allclose(a, b)


@pytest.mark.parametrize("name", ["mean", "none", "focal", "log_prob"])
def test_a_target_that_is_ruled_out_costs_inf_and_spoils_nothing(name: str) -> None:
    x, w, y = drawn(6, 5, 9, torch.float64)
    right = torch.autograd.grad(FUSED[name][0](x, w, y % 4, linear_bias=PADDING), x)[0]
    value = FUSED[name][0](x, w, torch.where(torch.arange(6) == 2, 7, y % 4), linear_bias=PADDING)
    dx, dw = torch.autograd.grad(value, (x, w))
    assert float(value.detach()) == math.inf
    assert torch.cat([dx, dw]).isfinite().all()
    assert right.any(1).all()
    assert torch.allclose(dx[[0, 1, 3, 4, 5]], right[[0, 1, 3, 4, 5]])


@pytest.mark.parametrize("soft", [True, False])
def test_a_ruled_out_class_that_nobody_wants_costs_nothing(soft: bool) -> None:
    """Not wanted: probability 0, or weight 0 under label smoothing."""
    x, w, y = drawn(6, 5, 9, torch.float64)
    target = F.pad(torch.randn(6, 4).double().softmax(-1), (0, 5)) if soft else y % 4
    options: dict[str, Any] = {} if soft else {"label_smoothing": 0.2, "weight": (PADDING == 0).double()}
    right = plain(x, w, target, {**options, "linear_bias": PADDING})
    assert right.isfinite()
    for reduction in ("mean", "none"):
        got = losskit.linear_cross_entropy(x, w, target, linear_bias=PADDING, reduction=reduction, **options).mean()
        assert torch.allclose(got, right)
