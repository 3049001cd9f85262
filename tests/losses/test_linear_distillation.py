"""linear_kl_div and linear_js_div: what the losses on scores say, without the scores."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.ops import divergence_heads
from projections import off

N, D, E, C = 12, 8, 5, 40
LOSSES: dict[str, tuple[Callable[..., Tensor], Callable[..., Tensor], dict[str, Any]]] = {
    "forward": (losskit.linear_kl_div, losskit.kl_div_loss, {}),
    "reverse": (losskit.linear_kl_div, losskit.kl_div_loss, {"direction": "reverse"}),
    "js": (losskit.linear_js_div, losskit.js_div_loss, {"beta": 0.3}),
}
EACH = pytest.mark.parametrize("name", LOSSES)


def heads(
    n: int = N, c: int = C, dtype: torch.dtype = torch.float32, std: float = 1.0, near: float = 0.0, *, d: int = D, e: int = E
) -> list[Tensor]:
    """Student and teacher whose scores have this deviation; the same two but for a part of ``near``, if given."""
    generator = torch.Generator().manual_seed(n + c)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    x, w = normal(n, d), normal(c, d) * (std / math.sqrt(d))
    y, v = (x + near * normal(n, d), w.clone()) if near else (normal(n, e), normal(c, e) * (std / math.sqrt(e)))
    return [t.to(dtype).requires_grad_() for t in (x, w, y, v)]


def dense(name: str, tensors: list[Tensor], **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The loss of the scores in float64, and its gradients."""
    x, w, y, v = (wide := [t.detach().double().requires_grad_() for t in tensors])
    loss = LOSSES[name][1](x @ w.T, y @ v.T, **LOSSES[name][2], **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), wide)


def fused(name: str, tensors: list[Tensor], **options: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    loss = LOSSES[name][0](*tensors, **LOSSES[name][2], **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), tensors)


@EACH
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("memory", [None, 3000])
def test_it_is_the_loss_of_the_scores(name: str, reduction: str, memory: int | None) -> None:
    tensors, options = heads(), {"reduction": reduction, "temperature": 1.5, "weight": torch.linspace(0, 2, N)}
    value, slopes = fused(name, tensors, memory=memory, **options)
    right, wanted = dense(name, tensors, **options)
    assert off(value, right) < 5e-7
    for got, slope in zip(slopes, wanted, strict=True):
        assert slope.any()
        assert off(got, slope) < 1e-6


@EACH
@pytest.mark.parametrize("near", [0.3, 0.02])
def test_near_models_keep_the_digits_of_their_scores(name: str, near: float) -> None:
    """Value and gradient of the float32 scores are what the loss on those very scores says."""
    tensors = heads(near=near)
    x, w, y, v = tensors
    scores = x.detach() @ w.detach().T, y.detach() @ v.detach().T
    right = LOSSES[name][1](*(t.double() for t in scores), **LOSSES[name][2])
    value, slopes = fused(name, tensors)
    assert float(right) > 0
    assert off(value, right) < 1e-6
    first = scores[0].double().requires_grad_()
    (by,) = torch.autograd.grad(LOSSES[name][1](first, scores[1].double(), **LOSSES[name][2]), first)
    assert off(slopes[0], by @ w.detach().double()) < 1e-6


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_equal_models_cost_nothing_to_the_last_digit(name: str, dtype: torch.dtype) -> None:
    x, w, _, _ = heads(dtype=dtype, std=3.0)
    value, slopes = fused(name, [x, w, x.detach().clone().requires_grad_(), w.detach().clone().requires_grad_()])
    assert float(value) == 0
    assert not any(t.any() for t in slopes)
    moved = (x.detach() + 0.1).requires_grad_()
    value, slopes = fused(name, [moved, w, x.detach().requires_grad_(), w.detach().clone().requires_grad_()])
    assert float(value) > 0
    assert all(t.any() for t in slopes)


@EACH
def test_ignored_rows_are_dropped_before_the_first_product(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = heads()
    mask = torch.arange(N) % 3 != 1
    spoiled = [t.detach().clone() for t in tensors]
    spoiled[0][~mask], spoiled[2][~mask] = math.nan, math.inf
    rows: list[int] = []
    made = divergence_heads.projection
    monkeypatch.setattr(divergence_heads, "projection", lambda x, w: (rows.append(len(x)), made(x, w))[1])
    value, slopes = fused(name, [t.requires_grad_() for t in spoiled], mask=mask)
    assert set(rows) == {int(mask.sum())}
    some = [t.detach()[mask] if len(t) == N else t.detach() for t in tensors]
    right, wanted = dense(name, some)
    assert off(value, right) < 1e-6
    for got, slope in zip(slopes, wanted, strict=True):
        kept = got[mask] if len(got) == N else got
        assert slope.any()
        assert off(kept, slope) < 1e-6
    assert not slopes[0][~mask].any()
    assert not slopes[2][~mask].any()


@EACH
def test_micro_batches_with_a_normalizer_are_one_batch(name: str) -> None:
    tensors, mask = heads(), torch.arange(N) % 4 != 0
    whole, slopes = fused(name, tensors, mask=mask)
    total, pieces = 0.0, []
    for at in (slice(0, 3), slice(3, 10), slice(10, N)):
        some = [t[at] if len(t) == N else t for t in tensors]
        part = LOSSES[name][0](*some, **LOSSES[name][2], mask=mask[at], normalizer=mask.sum())
        pieces.append(torch.autograd.grad(part, tensors))
        total += float(part.detach())
    assert total == pytest.approx(float(whole), rel=1e-6)
    for got, right in zip(zip(*pieces, strict=True), slopes, strict=True):
        assert right.any()
        assert off(torch.stack(got).sum(0), right.double()) < 1e-6


@EACH
def test_backward_twice(name: str) -> None:
    tensors = heads()
    loss = LOSSES[name][0](*tensors, **LOSSES[name][2])
    once = torch.autograd.grad(loss, tensors, retain_graph=True)
    for a, b in zip(once, torch.autograd.grad(3 * loss, tensors), strict=True):
        assert a.any()
        assert torch.allclose(3 * a, b)


@EACH
def test_a_frozen_teacher_and_a_frozen_head(name: str) -> None:
    every = heads(dtype=torch.float64)
    slopes = fused(name, every)[1]
    for wanted in ((0, 1), (1,), (0,), (2, 3)):
        tensors = [t if i in wanted else t.detach() for i, t in enumerate(every)]
        for reduction in ("mean", "none"):
            loss = LOSSES[name][0](*tensors, **LOSSES[name][2], reduction=reduction).mean()
            for i, got in zip(wanted, torch.autograd.grad(loss, [tensors[i] for i in wanted]), strict=True):
                assert got.any()
                assert torch.allclose(got, slopes[i])


@EACH
@pytest.mark.parametrize(("std", "near"), [(1.0, 0.0), (3.0, 0.0), (3.0, 0.1)])
def test_bfloat16_is_right_but_for_the_last_rounding(name: str, std: float, near: float) -> None:
    """The scores keep their digits: with rounded ones the gradient of near models is 10 to 50 times as far off."""
    tensors = heads(256, 5000, torch.bfloat16, std, near, d=256, e=256)  # large enough for bfloat16 products
    value, slopes = fused(name, tensors, memory=8 << 20)
    right, wanted = dense(name, tensors)
    assert off(value, right) < 1e-5
    for got, slope in zip(slopes, wanted, strict=True):
        assert off(got, slope) < 4e-3


def test_a_common_offset_of_the_scores_costs_no_digits() -> None:
    tensors = heads()
    bias = torch.randn(C, generator=torch.Generator().manual_seed(0))
    near = losskit.linear_kl_div(*tensors, student_bias=bias, teacher_bias=bias.flip(0))
    far = losskit.linear_kl_div(*tensors, student_bias=(bias.double() + 2**20).float(), teacher_bias=bias.flip(0))
    rounded = (bias.double() + 2**20).float() - 2**20
    assert torch.allclose(far, losskit.linear_kl_div(*tensors, student_bias=rounded, teacher_bias=bias.flip(0)), rtol=1e-6)
    assert not torch.equal(near, far)


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_that_both_rule_out_do_not_exist(name: str, dtype: torch.dtype) -> None:
    x, w, y, v = heads(dtype=dtype)
    bias = torch.zeros(C, dtype=dtype)
    bias[30:] = -math.inf
    loss = LOSSES[name][0](x, w, y, v, **LOSSES[name][2], student_bias=bias, teacher_bias=bias)
    slopes = torch.autograd.grad(loss, (x, w, y, v))
    right, wanted = dense(name, [x, w[:30], y, v[:30]])
    assert off(loss.detach(), right) < 1e-6
    for got, slope in zip(slopes, wanted, strict=True):
        assert off(got[: len(slope)], slope) < 1e-6
        assert not got[len(slope) :].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_classes_that_one_of_the_two_rules_out(dtype: torch.dtype) -> None:
    x, w, y, v = heads(dtype=dtype)
    bias = torch.zeros(C, dtype=dtype)
    bias[30:] = -math.inf
    for options, wanted in (
        ({"student_bias": bias}, (math.inf, None, None)),
        ({"teacher_bias": bias}, (None, math.inf, None)),
    ):
        for (linear, plain, more), infinite in zip(LOSSES.values(), wanted, strict=True):
            loss = linear(x, w, y, v, **more, **options)
            own, other = (z.double() for z in (x @ w.T, y @ v.T))
            right = plain(own + options.get("student_bias", 0), other + options.get("teacher_bias", 0), **more)
            assert torch.allclose(loss.double(), right)
            assert (float(loss.detach()) == math.inf) == (infinite is not None)
            if infinite is None:
                for slope in torch.autograd.grad(loss, (x, w, y, v)):
                    assert slope.isfinite().all()
                    assert slope.any()


def test_each_model_in_its_own_precision() -> None:
    x, w, y, v = heads()
    half = y.detach().bfloat16()
    loss = losskit.linear_kl_div(x.detach().bfloat16().requires_grad_(), w, half, v.detach())
    assert loss.dtype == torch.float32
    (dw,) = torch.autograd.grad(loss, w)
    assert dw.dtype == torch.float32
    assert off(dw, dense("forward", [x.detach().bfloat16(), w.detach().bfloat16(), half, v.detach().bfloat16()])[1][1]) < 1e-2
    mixed = losskit.linear_kl_div(x, w, half, v.detach().bfloat16())
    assert off(mixed.detach(), dense("forward", [x, w, half, v.detach().bfloat16()])[0]) < 1e-6
    with pytest.raises(TypeError, match=r'"teacher_weight" has dtype torch\.bfloat16, expected torch\.float32'):
        losskit.linear_kl_div(x, w, y, v.bfloat16())


def test_scores_do_not_stay_in_memory() -> None:
    x, w, y, v = heads(300, 4000)
    saved: list[int] = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t.numel()) or t, lambda t: t):
        losskit.linear_kl_div(x, w, y.detach(), v.detach())
        losskit.linear_kl_div(x, w, y.detach(), v.detach(), reduction="none")
    assert saved
    assert max(saved) <= w.numel()


def test_layouts_do_not_matter_and_nothing_is_changed() -> None:
    tensors = heads(dtype=torch.float64)
    right, wanted = dense("forward", tensors)
    for change in (lambda t: t.T.contiguous().T, lambda t: torch.stack([t, t], -1)[..., 0]):
        other = [change(t.detach()).requires_grad_() for t in tensors]
        before = [t.detach().clone() for t in other]
        value, slopes = fused("forward", other, memory=3000)
        assert off(value, right) < 1e-12
        for got, slope in zip(slopes, wanted, strict=True):
            assert off(got, slope) < 1e-12
        assert all(torch.equal(a, b) for a, b in zip(other, before, strict=True))


def test_options_out_of_range() -> None:
    x, w, y, v = heads()
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"memory": 0}, '"memory" must be >= 1'),
        ({"temperature": 0.0}, '"temperature" must be > 0'),
        ({"teacher_softcap": 0.0}, '"teacher_softcap" must be > 0'),
        ({"direction": "both"}, "'forward' or 'reverse'"),
    ]
    for option, message in wrong:
        with pytest.raises(ValueError, match=message):
            losskit.linear_kl_div(x, w, y, v, **option)
    with pytest.raises(ValueError, match='"beta" must be in'):
        losskit.linear_js_div(x, w, y, v, beta=0.0)
    with pytest.raises(losskit.ShapeError, match=r'"teacher_weight" has shape \(39, 5\), expected \(40, 5\)'):
        losskit.linear_kl_div(x, w, y, v[:-1])
