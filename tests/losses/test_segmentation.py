"""Dice and Tversky on real images: several pixels a sample, regions of every size, and none at all."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score, fbeta_score, jaccard_score
from torch import Tensor

import losskit
from losskit.losses.segmentation import dice_loss, tversky_loss

LOSSES = [dice_loss, tversky_loss]
SURE = 1e4


def images(shape: tuple[int, ...] = (3, 4, 5), classes: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(*shape, classes, generator=generator, dtype=torch.float64)
    return scores, torch.randint(classes, shape, generator=generator)


def gradient(loss: Callable[..., Tensor], scores: Tensor, *args: Any, **options: Any) -> Tensor:
    leaf = scores.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, *args, **options).sum(), leaf)[0]


def test_dice_is_one_minus_f1_where_the_model_is_sure() -> None:
    _, target = images((1, 40))
    _, predicted = images((1, 40), seed=1)
    value = dice_loss(SURE * F.one_hot(predicted, 4).double(), target, reduction="none")
    assert value[0].tolist() == pytest.approx(1 - f1_score(target[0], predicted[0], average=None))


@pytest.mark.parametrize("ratio", [0.5, 1.0, 3.0])
def test_tversky_is_one_minus_f_beta_where_the_model_is_sure(ratio: float) -> None:
    _, target = images((1, 40))
    _, predicted = images((1, 40), seed=1)
    sure = SURE * F.one_hot(predicted, 4).double()
    share = 1 / (1 + ratio**2)
    value = tversky_loss(sure, target, alpha=share, beta=1 - share, reduction="none")
    assert value[0].tolist() == pytest.approx(1 - fbeta_score(target[0], predicted[0], beta=ratio, average=None))
    jaccard = tversky_loss(sure, target, alpha=1, beta=1, reduction="none")
    assert jaccard[0].tolist() == pytest.approx(1 - jaccard_score(target[0], predicted[0], average=None))


def test_sums_run_over_the_pixels_of_one_image_only() -> None:
    scores, target = images()
    p, t = scores.softmax(-1), F.one_hot(target, 4).double()
    for n in range(3):
        wanted = 1 - (2 * (p * t)[n].sum((0, 1)) + 0.5) / (p[n].sum((0, 1)) + t[n].sum((0, 1)) + 0.5)
        torch.testing.assert_close(dice_loss(scores, target, smooth=0.5, reduction="none")[n], wanted)


def test_tversky_with_halves_is_dice_with_twice_the_smoothing() -> None:
    scores, target = images()
    for smooth in (0.0, 1.0):
        torch.testing.assert_close(tversky_loss(scores, target, smooth=smooth), dice_loss(scores, target, smooth=2 * smooth))


def test_a_higher_beta_makes_missing_a_region_dearer_and_a_higher_alpha_false_alarms() -> None:
    target = torch.tensor([[[True], [True], [False], [False]]])
    missed, added = SURE * torch.tensor([[[[1.0], [-1], [-1], [-1]]], [[[1.0], [1], [1], [-1]]]])

    def cost(scores: Tensor, alpha: float, beta: float) -> float:
        return float(tversky_loss(scores, target, activation="sigmoid", alpha=alpha, beta=beta))

    assert cost(missed, 0.2, 0.8) == pytest.approx(1 - 1 / (1 + 0.8))
    assert cost(missed, 0.8, 0.2) == pytest.approx(1 - 1 / (1 + 0.2))
    assert cost(added, 0.2, 0.8) == pytest.approx(1 - 2 / (2 + 0.2))
    assert cost(added, 0.8, 0.2) == pytest.approx(1 - 2 / (2 + 0.8))


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_that_is_absent_counts_nothing_with_empty_ignore(loss: Callable[..., Tensor]) -> None:
    scores, target = images((2, 6))
    target[0], target[1] = torch.tensor([0, 0, 1, 1, 1, 0]), 2
    each = loss(scores, target, reduction="none")
    assert ((each > 0) == torch.tensor([[True, True, False, False], [False, False, True, False]])).all()
    assert float(loss(scores, target)) == pytest.approx(float(each.sum()) / 3)
    assert losskit.parts(loss, scores, target).weight == 3
    nothing = torch.zeros(2, 6, 4, dtype=torch.bool)
    assert loss(scores, nothing, activation="sigmoid") == 0
    assert not gradient(loss, scores, nothing, activation="sigmoid").any()


@pytest.mark.parametrize("loss", LOSSES)
def test_an_empty_image_predicted_empty_is_perfect_with_empty_perfect(loss: Callable[..., Tensor]) -> None:
    """MONAI#7883: a mask without a region costs 1 there, however small the prediction."""
    nothing = torch.zeros(1, 1000, 1)
    options: dict[str, Any] = {"activation": "sigmoid", "empty": "perfect"}
    for logit in (-SURE, -8.0, 0.0, SURE):
        value = loss(torch.full((1, 1000, 1), logit), nothing, **options)
        assert float(value) == pytest.approx(1 / (1 + math.exp(min(-logit, 700))), rel=1e-5)
    slope = gradient(loss, torch.zeros(1, 1000, 1), nothing, **options)
    torch.testing.assert_close(slope, torch.full_like(slope, 0.25 / 1000))  # towards less, unlike the constant 1


def test_an_empty_image_costs_the_formula_with_empty_smooth() -> None:
    nothing, scores = torch.zeros(1, 100, 1), torch.zeros(1, 100, 1)
    options: dict[str, Any] = {"activation": "sigmoid", "empty": "smooth", "smooth": 10.0}
    assert float(dice_loss(scores, nothing, **options)) == pytest.approx(1 - 10 / (50 + 10))
    assert float(tversky_loss(scores, nothing, alpha=0.2, **options)) == pytest.approx(1 - 10 / (0.2 * 50 + 10))


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("empty", ["ignore", "perfect", "smooth"])
def test_gradients_are_finite_when_no_probability_is_left(loss: Callable[..., Tensor], empty: str) -> None:
    options = {"activation": "sigmoid", "empty": empty, "smooth": 1.0 if empty == "smooth" else 0.0}
    for target in (torch.zeros(1, 3, 2), torch.ones(1, 3, 2)):
        for logit in (-SURE, -100.0, -88.0, 88.0, SURE):
            scores = torch.full((1, 3, 2), logit)
            assert gradient(loss, scores, target, **options).isfinite().all()
            assert loss(scores, target, **options).isfinite()


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_nearly_perfect_fit_keeps_its_digits_in_float32(loss: Callable[..., Tensor], activation: str) -> None:
    target = F.one_hot(torch.arange(60).reshape(1, 60) % 3, 3).bool()
    scores = torch.where(target, 20.0, -20.0)
    single = loss(scores, target, activation=activation)
    wanted = math.exp(-20) if activation == "sigmoid" else math.exp(-40)
    # FN + FP over 2 TP + FN + FP: each of 20 pixels is missed by q and added to by the 40 others
    factor = 1.5 if activation == "sigmoid" else 2.0
    assert float(single) == pytest.approx(factor * wanted, rel=1e-5, abs=0)
    assert gradient(loss, scores, target, activation=activation).abs().max() > 0


@pytest.mark.parametrize("loss", LOSSES)
def test_ignored_pixels_may_be_anything_and_have_no_gradient(loss: Callable[..., Tensor]) -> None:
    scores, target = images()
    mask = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[2] = False
    spoiled = scores.masked_fill(~mask.unsqueeze(-1), math.nan)
    ignored = target.masked_fill(~mask, -100)
    for empty in ("ignore", "perfect"):
        by_mask = loss(spoiled, target.masked_fill(~mask, 99), mask=mask, empty=empty, reduction="none")
        by_index = loss(spoiled, ignored, empty=empty, reduction="none")
        soft = torch.where(mask.unsqueeze(-1), F.one_hot(target, 4).double(), math.nan)
        assert torch.equal(by_mask, by_index)
        assert torch.equal(by_mask, loss(spoiled, soft, mask=mask, empty=empty, reduction="none"))
        for n in range(2):
            rows = mask[n].flatten()
            alone = loss(scores[n].reshape(1, 20, 4)[:, rows], target[n].reshape(1, 20)[:, rows], empty=empty, reduction="none")
            torch.testing.assert_close(by_mask[n], alone[0])
        assert not by_mask[2].any()
        slope = gradient(loss, spoiled, ignored, empty=empty)
        assert slope.isfinite().all()
        assert not slope[~mask].any()
        torch.testing.assert_close(loss(spoiled, ignored, empty=empty), loss(spoiled[:2], ignored[:2], empty=empty))


@pytest.mark.parametrize("loss", LOSSES)
def test_layouts_and_target_types_agree(loss: Callable[..., Tensor]) -> None:
    scores, target = images()
    regions = F.one_hot(target, 4)
    wanted = loss(scores, target, reduction="none")
    torch.testing.assert_close(loss(scores.movedim(-1, 1), target, class_dim=1, reduction="none"), wanted)
    torch.testing.assert_close(loss(scores.movedim(-1, 1), regions.movedim(-1, 1).bool(), class_dim=1, reduction="none"), wanted)
    torch.testing.assert_close(loss(scores.reshape(3, 20, 4), target.reshape(3, 20), reduction="none"), wanted)
    for same in (regions.bool(), regions.double(), target.to(torch.uint8)):
        assert torch.equal(loss(scores, same, reduction="none"), wanted)
    assert loss(scores.float(), regions.double()).dtype == torch.float64


@pytest.mark.parametrize("loss", LOSSES)
def test_weight_zero_leaves_out_the_background(loss: Callable[..., Tensor]) -> None:
    scores, target = images()
    each = loss(scores, target, reduction="none")
    wanted = (each[:, 1] + each[:, 2] + 2 * each[:, 3]).sum() / (3 * (1 + 1 + 2))
    torch.testing.assert_close(loss(scores, target, weight=torch.tensor([0.0, 1, 1, 2])), wanted)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("empty", ["ignore", "perfect"])
def test_parts_add_up_over_images_that_hold_different_classes(loss: Callable[..., Tensor], empty: str) -> None:
    scores, target = images((5, 3))
    pieces = [losskit.parts(loss, scores[a:b], target[a:b], empty=empty) for a, b in ((0, 1), (1, 3), (3, 5), (5, 5))]
    torch.testing.assert_close(sum(p.total for p in pieces) / sum(p.weight for p in pieces), loss(scores, target, empty=empty))


@pytest.mark.parametrize("loss", LOSSES)
def test_gradients_are_derivatives_with_several_pixels(loss: Callable[..., Tensor]) -> None:
    scores, target = images((2, 2, 2), 3)
    scores.requires_grad_()
    target[0] = 1
    for empty in ("ignore", "perfect"):
        assert torch.autograd.gradcheck(lambda z, e=empty: loss(z, target, empty=e, reduction="none"), scores)
        assert torch.autograd.gradgradcheck(lambda z, e=empty: loss(z, target, empty=e), scores, atol=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_nan_is_shown_even_in_a_class_that_is_absent(loss: Callable[..., Tensor]) -> None:
    scores = torch.zeros(1, 3, 2)
    scores[0, 0, 0] = math.nan
    assert loss(scores, torch.tensor([[[0.0, 1.0]] * 3]), activation="sigmoid").isnan()


@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_out_of_range_raises_or_is_nan_where_nobody_can_look(loss: Callable[..., Tensor]) -> None:
    scores, target = images((2, 3))
    target[1, 2] = 4
    with pytest.raises(IndexError, match=r'"target" is 4 at index \(1, 2\)'):
        loss(scores, target)
    values = torch.func.vmap(lambda z, y: loss(z[None], y[None]))(scores, target)
    assert values.isnan().tolist() == [False, True]


@pytest.mark.parametrize("loss", LOSSES)
def test_hostile_arguments_are_named(loss: Callable[..., Tensor]) -> None:
    scores, target = images()
    regions = F.one_hot(target, 4).double()
    refused: list[tuple[type[Exception], str, tuple[Tensor, Tensor], dict[str, Any]]] = [
        (TypeError, r"use target.bool\(\)", (scores, target), {"activation": "sigmoid"}),
        (ValueError, "holds 255, expected numbers in", (scores, 255 * regions), {}),
        (ValueError, "holds -1", (scores, -regions), {"activation": "sigmoid"}),
        (ValueError, "softmax of one class", (scores[..., :1], target), {}),
        (ValueError, '"smooth" must be > 0', (scores, target), {"empty": "smooth"}),
        (ValueError, '"smooth" must be >= 0', (scores, target), {"smooth": -1.0}),
        (ValueError, '"empty" must be', (scores, target), {"empty": "skip"}),
        (ValueError, '"activation" must be', (scores, target), {"activation": "tanh"}),
        (losskit.ShapeError, r"expected \(3, 4, 4\)", (scores.movedim(-1, 1), target), {}),
        (losskit.ShapeError, r"input.unsqueeze\(0\)", (scores[0, 0, 0], target[0, 0, 0]), {}),
        (losskit.ShapeError, '"mask" has shape', (scores, target), {"mask": torch.ones(3, 4, 5, 4, dtype=torch.bool)}),
        (losskit.ShapeError, '"weight" has shape', (scores, target), {"weight": torch.ones(3)}),
        (TypeError, '"input" has dtype', (scores.long(), target), {}),
    ]
    for error, message, tensors, options in refused:
        with pytest.raises(error, match=message):
            loss(*tensors, **options)


def test_tversky_refuses_prices_without_meaning() -> None:
    scores, target = images()
    with pytest.raises(ValueError, match='"alpha" must be >= 0'):
        tversky_loss(scores, target, alpha=-0.1)
    with pytest.raises(ValueError, match='"beta" must be > 0'):
        tversky_loss(scores, target, beta=0)


@pytest.mark.parametrize("loss", LOSSES)
def test_images_without_pixels_are_a_connected_zero(loss: Callable[..., Tensor]) -> None:
    for shape in ((0, 4, 5), (2, 0)):
        for options in ({}, {"empty": "perfect"}, {"empty": "smooth", "smooth": 1.0}):
            scores = torch.zeros(*shape, 3, requires_grad=True)
            value = loss(scores, torch.zeros(shape, dtype=torch.long), **options)
            assert value.requires_grad
            assert value == 0
