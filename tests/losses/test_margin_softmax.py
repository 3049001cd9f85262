"""Margin softmax against a loop over classes and angles, at the ends of the circle, and with sub-centres."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.losses.margin_softmax import margin_softmax_loss

MARGINS = pytest.mark.parametrize(
    "margins",
    [
        {"angular": 0.5},
        {"angular": 1.9},
        {"additive": 0.35},
        {"multiplicative": 4.0},
        {"multiplicative": 1.35, "angular": 0.3, "additive": 0.2},
    ],
)


def drawn(rows: int, classes: int, features: int, centres: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows + classes)
    x = torch.randn(rows, features, generator=generator, dtype=torch.float64).requires_grad_()
    w = torch.randn(classes, centres, features, generator=generator, dtype=torch.float64)
    return x, (w if centres > 1 else w[:, 0]).requires_grad_(), torch.randint(classes, (rows,), generator=generator)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).sum() / ((a * a).sum() * (b * b).sum()).sqrt()


def bent(c: Tensor, multiplicative: float = 1.0, angular: float = 0.0, additive: float = 0.0) -> Tensor:
    """By the angle itself."""
    angle = multiplicative * torch.acos(c) + angular
    turns = int(float(angle.detach()) // math.pi)
    if multiplicative == 1 and turns:
        return c - angular * math.sin(angular) - additive
    return (-1) ** turns * torch.cos(angle) - 2 * turns - additive


def by_loops(x: Tensor, w: Tensor, y: Tensor, scale: float, margins: dict[str, float]) -> Tensor:
    """-log(e^own / (e^own + sum of the others)), row by row, class by class, centre by centre."""
    rows = []
    for n in range(len(x)):
        scores = []
        for c in range(len(w)):
            centres = w[c] if w.ndim == 3 else w[c : c + 1]
            best = max((cosine(x[n], centre) for centre in centres), key=lambda c: float(c.detach()))
            scores.append(scale * (bent(best, **margins) if c == int(y[n]) else best))
        rows.append(torch.logsumexp(torch.stack(scores), 0) - scores[int(y[n])])
    return torch.stack(rows)


@MARGINS
@pytest.mark.parametrize("centres", [1, 3])
@pytest.mark.parametrize("memory", [None, 100])
def test_value_and_gradient_are_those_of_loops(margins: dict[str, float], centres: int, memory: int | None) -> None:
    x, w, y = drawn(9, 5, 3, centres)
    got = margin_softmax_loss(x, w, y, logit_scale=6.0, reduction="none", memory=memory, **margins)
    wanted = by_loops(x, w, y, 6.0, margins)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(got.sum(), (x, w)), torch.autograd.grad(wanted.sum(), (x, w)), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=1e-11)
        assert slope.any()


@pytest.mark.parametrize("centres", [1, 3])
def test_without_margins_it_is_linear_cross_entropy_of_unit_vectors(centres: int) -> None:
    x, w, y = drawn(8, 6, 4, centres)
    y = y.where(y != 2, -100)
    unit = F.normalize(x, dim=-1), F.normalize(w, dim=-1)
    if centres == 1:
        wanted = losskit.linear_cross_entropy(*unit, y, logit_scale=64.0)
    else:
        wanted = losskit.cross_entropy(64 * torch.einsum("nd,ckd->nck", *unit).amax(-1), y)
    got = margin_softmax_loss(x, w, y)
    torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12)
    for found, slope in zip(torch.autograd.grad(got, (x, w)), torch.autograd.grad(wanted, (x, w)), strict=True):
        torch.testing.assert_close(found, slope, rtol=1e-11, atol=1e-12)
        assert slope.any()


@pytest.mark.parametrize("multiplicative", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("angular", [0.0, 0.5, 1.5])
def test_the_target_pays_more_the_farther_it_turns(multiplicative: float, angular: float) -> None:
    angle = torch.linspace(0, math.pi, 721, dtype=torch.float64)
    rows, people = torch.stack([angle.cos(), angle.sin()], 1), torch.tensor([[1.0, 0.0], [0.0, -1.0]]).double()
    options: Any = {"multiplicative": multiplicative, "angular": angular, "logit_scale": 1.0, "reduction": "none"}
    value = margin_softmax_loss(rows, people, torch.zeros(721).long(), **options)
    target_score = -torch.log(torch.expm1(value)) - angle.sin()  # exp(value) = 1 + exp(rest - own), rest = -sin
    assert (target_score.diff() < 1e-9).all()


@MARGINS
@pytest.mark.parametrize("sign", [1, -1])
def test_a_row_that_is_its_class_or_its_opposite_has_the_value_and_a_finite_gradient(
    margins: dict[str, float], sign: int
) -> None:
    for dtype in (torch.float16, torch.float32, torch.float64):
        for shape in ((4, 16), (4, 1, 16)):
            w = torch.randn(4, 16, generator=torch.Generator().manual_seed(1)).to(dtype)
            x = (sign * w[:1].clone()).requires_grad_()
            leaf = w.reshape(shape).clone().requires_grad_()
            value = margin_softmax_loss(x, leaf, torch.tensor([0]), logit_scale=8.0, **margins)
            others = 8 * F.normalize(w.double(), dim=-1)[1:] @ F.normalize(x[0].double(), dim=-1)
            own = 8 * bent(torch.tensor(float(sign)), **margins)
            assert float(value.detach()) == pytest.approx(float(F.softplus(others.logsumexp(0) - own).detach()), rel=1e-5)
            for slope in torch.autograd.grad(value, (x, leaf)):
                assert slope.isfinite().all()
                assert slope.any()


def test_an_angle_that_float32_cosines_cannot_tell_is_still_seen() -> None:
    w = torch.eye(2)
    for angle in (1e-4, 1e-3):  # 1 - cos is 5e-9 for the first, a twelfth of float32's last digit
        x = torch.tensor([[math.cos(angle), math.sin(angle)]])
        value = margin_softmax_loss(x, w, torch.tensor([0]), angular=1.4)
        wanted = F.softplus(torch.tensor(64 * (math.sin(angle) - math.cos(angle + 1.4)), dtype=torch.float64))
        assert float(value) == pytest.approx(float(wanted), rel=1e-5, abs=1e-12)


@pytest.mark.parametrize("shape", [(3, 4), (3, 2, 4)])
def test_rows_without_a_direction_are_at_right_angles_and_have_no_gradient(shape: tuple[int, ...]) -> None:
    x, w = torch.zeros(2, 4, requires_grad=True), torch.ones(shape).requires_grad_()
    value = margin_softmax_loss(x, w, torch.tensor([0, 1]), angular=0.5, logit_scale=2.0)
    assert float(value.detach()) == pytest.approx(math.log1p(2 * math.exp(2 * math.sin(0.5))))
    assert not any(slope.any() for slope in torch.autograd.grad(value, (x, w)))
    assert margin_softmax_loss(torch.ones(1, 4), torch.zeros(shape), torch.tensor([0]), angular=0.5).isfinite()


@pytest.mark.parametrize("centres", [1, 2])
def test_ignored_rows_and_classes_of_weight_zero_have_no_gradient(centres: int) -> None:
    x, w, y = drawn(6, 4, 3, centres)
    y[0], y[1], weight = -100, 3, torch.tensor([1.0, 2.0, 0.5, 0.0], dtype=torch.float64)
    kept = (y >= 0) & (y != 3)
    bad = torch.where(kept[:, None], x, math.nan)
    got = margin_softmax_loss(bad, w, y, angular=0.3, weight=weight, logit_scale=5.0)
    each = margin_softmax_loss(x[kept], w, y[kept], angular=0.3, logit_scale=5.0, reduction="none")
    torch.testing.assert_close(got, (weight[y[kept]] * each).sum() / weight[y[kept]].sum(), rtol=1e-12, atol=1e-12)
    (slope,) = torch.autograd.grad(got, x)
    assert not slope[~kept].any()
    assert slope[kept].any()


def test_half_precision_is_that_of_float32_at_the_same_numbers() -> None:
    x, w, y = drawn(32, 10, 8)
    for dtype in (torch.float16, torch.bfloat16):
        low = (x.detach().to(dtype), w.detach().to(dtype))
        got = margin_softmax_loss(*low, y, angular=0.5)
        assert got.dtype == torch.float32
        assert torch.equal(got, margin_softmax_loss(*(t.float() for t in low), y, angular=0.5))


@pytest.mark.parametrize("centres", [1, 3])
def test_a_small_budget_changes_no_digit_that_counts(centres: int) -> None:
    x, w, y = (t.detach() for t in drawn(40, 30, 8, centres))
    single = x.float().requires_grad_(), w.float().requires_grad_()
    found = [margin_softmax_loss(*single, y, angular=0.5, memory=memory) for memory in (1, 5000, None)]
    slopes = [torch.autograd.grad(value, single) for value in found]
    for value, slope in zip(found, slopes, strict=True):
        torch.testing.assert_close(value, found[-1], rtol=1e-6, atol=0)
        for part, wanted in zip(slope, slopes[-1], strict=True):
            torch.testing.assert_close(part, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"multiplicative": 0.5}),
        (ValueError, {"angular": 4.0}),
        (ValueError, {"additive": -0.1}),
        (ValueError, {"logit_scale": 0}),
        (ValueError, {"reduction": "average"}),
        (ValueError, {"memory": 0}),
    ],
)
def test_options_out_of_range_are_refused(error: type[Exception], options: dict[str, Any]) -> None:
    x, w, y = drawn(3, 4, 2)
    with pytest.raises(error, match=next(iter(options))):
        margin_softmax_loss(x, w, y, **{"angular": 0.1, **options})


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, w, y = drawn(3, 4, 2)
    for bad in ((x, w[:, :1], y), (x, w[None, None], y), (x, w.reshape(2, 2, 2)[:, :, :1], y), (x, w, y[:2])):
        with pytest.raises(losskit.ShapeError, match="expected"):
            margin_softmax_loss(*bad)
    with pytest.raises(IndexError, match="expected a class in"):
        margin_softmax_loss(x, w.reshape(2, 2, 2), y.clamp(min=2))


@pytest.mark.parametrize("options", [{}, {"angular": 0.5}, {"multiplicative": 4.0}, {"additive": 0.35}])
def test_without_features_all_classes_are_alike(options: dict[str, float]) -> None:
    value = margin_softmax_loss(torch.zeros(4, 0), torch.zeros(3, 0), torch.tensor([0, 1, 2, 0]), logit_scale=4.0, **options)
    one = margin_softmax_loss(torch.zeros(1, 5), torch.zeros(3, 5), torch.tensor([0]), logit_scale=4.0, **options)
    assert value.item() == pytest.approx(one.item(), rel=1e-6)
