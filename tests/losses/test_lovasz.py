"""Lovasz losses against the definition: the largest of all orders in which pixels can go wrong."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import jaccard_score
from torch import Tensor

import losskit
from losskit.losses.lovasz import _jaccard_steps, lovasz_hinge_loss, lovasz_softmax_loss

SURE = 1e4


def jaccard_loss(wrong: set[int], region: set[int]) -> float:
    """Of a prediction that is wrong at these pixels."""
    return len(wrong) / len(wrong | region) if wrong else 0.0


def extension(errors: list[float], region: set[int]) -> float:
    """The Lovasz extension of a submodular function is its largest greedy sum over all orders."""

    def greedy(order: tuple[int, ...]) -> float:
        costs = [jaccard_loss(set(order[:i]), region) for i in range(len(order) + 1)]
        return sum(errors[k] * (costs[i + 1] - costs[i]) for i, k in enumerate(order))

    return max(greedy(order) for order in itertools.permutations(range(len(errors))))


def drawn(*shape: int, classes: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 2 * torch.randn(*shape, classes, generator=generator, dtype=torch.float64)
    return scores, torch.randint(classes, shape, generator=generator)


def gradient(loss: Callable[..., Tensor], scores: Tensor, *args: Any, **options: Any) -> Tensor:
    leaf = scores.detach().clone().requires_grad_()
    return torch.autograd.grad(loss(leaf, *args, **options).sum(), leaf)[0]


@pytest.mark.parametrize("region", [set(), {0}, {1, 3}, {0, 1, 2, 3, 4}])
def test_the_hinge_is_the_extension_by_brute_force(region: set[int]) -> None:
    target = torch.tensor([[int(i in region) for i in range(5)]])
    for seed in range(4):
        scores = drawn(1, 5, seed=seed)[0][..., 0]
        errors = (1 - scores[0] * (2 * target[0] - 1)).clamp(min=0).tolist()
        assert float(lovasz_hinge_loss(scores, target)) == pytest.approx(extension(errors, region), rel=1e-12)


def test_the_softmax_is_the_extension_by_brute_force() -> None:
    for seed in range(4):
        scores, target = drawn(1, 5, seed=seed)
        value = lovasz_softmax_loss(scores, target, classes="all", reduction="none")
        for c in range(3):
            region = {i for i in range(5) if target[0, i] == c}
            errors = (scores[0].softmax(-1)[:, c] - (target[0] == c).double()).abs().tolist()
            assert float(value[0, c]) == pytest.approx(extension(errors, region), rel=1e-12)


def test_a_sure_model_pays_one_minus_the_jaccard_index() -> None:
    (_, target), (_, predicted) = drawn(1, 40), drawn(1, 40, seed=1)
    value = lovasz_softmax_loss(SURE * F.one_hot(predicted, 3).double(), target, reduction="none")
    assert value[0].tolist() == pytest.approx(1 - jaccard_score(target[0], predicted[0], average=None))
    region = target == 1
    hinge = lovasz_hinge_loss(torch.where(predicted == 1, 1.0, -1.0), region)  # a wrong pixel is off by 2
    assert float(hinge) == pytest.approx(2 * (1 - jaccard_score(region[0], predicted[0] == 1)))


def test_steps_are_the_differences_of_the_jaccard_loss_to_the_last_digit() -> None:
    """Subtracting one Jaccard loss from the next in float32 leaves no digit of a step once there are millions of pixels."""
    region = torch.rand(2000, generator=torch.Generator().manual_seed(0)) < 0.3
    steps, size, hits = _jaccard_steps(region, torch.float32), int(region.sum()), 0
    before = Fraction(0)
    for i, inside in enumerate(region.tolist()):
        hits += inside
        after = Fraction(i + 1, size + i + 1 - hits)
        assert float(steps[i]) == pytest.approx(float(after - before), rel=3e-7, abs=0)
        before = after


def test_with_a_million_pixels_float32_still_has_six_digits() -> None:
    generator = torch.Generator().manual_seed(0)
    scores, target = torch.randn(1, 1_000_000, generator=generator), torch.rand(1, 1_000_000, generator=generator) < 0.01
    assert float(lovasz_hinge_loss(scores, target)) == pytest.approx(float(lovasz_hinge_loss(scores.double(), target)), rel=1e-6)


def test_pixels_beyond_the_margin_are_at_rest() -> None:
    scores, target = torch.tensor([[1.5, -3.0, 0.5, -0.5]]), torch.tensor([[1, 0, 1, 0]])
    assert gradient(lovasz_hinge_loss, scores, target).eq(0).tolist() == [[True, True, False, False]]
    assert lovasz_hinge_loss(scores[:, :2], target[:, :2]) == 0


def test_an_empty_region_costs_its_largest_error() -> None:
    scores, nothing = drawn(2, 6)[0][..., 0], torch.zeros(2, 6)
    each = lovasz_hinge_loss(scores, nothing, reduction="none")
    torch.testing.assert_close(each, (1 + scores).clamp(min=0).amax(-1))
    logits, target = drawn(1, 6)
    target = torch.where(target == 2, 0, target)
    each = lovasz_softmax_loss(logits, target, classes="all", reduction="none")
    torch.testing.assert_close(each[0, 2], logits[0].softmax(-1)[:, 2].max())


def test_present_leaves_absent_classes_out_of_the_mean() -> None:
    scores, target = drawn(2, 6)
    target[0], target[1] = 1, torch.tensor([0, 0, 2, 2, 2, 0])
    each = lovasz_softmax_loss(scores, target, reduction="none")
    assert (each != 0).tolist() == [[False, True, False], [True, False, True]]
    assert float(lovasz_softmax_loss(scores, target)) == pytest.approx(float(each.sum()) / 3)
    every = lovasz_softmax_loss(scores, target, classes="all", reduction="none")
    assert float(lovasz_softmax_loss(scores, target, classes="all")) == pytest.approx(float(every.mean()))
    torch.testing.assert_close(every[each != 0], each[each != 0])


def test_ignored_pixels_of_the_hinge_never_matter() -> None:
    scores, labels = drawn(3, 7)
    scores, target = scores[..., 0], labels % 2
    mask = torch.rand(3, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[2] = False
    for bad in (math.nan, math.inf, -math.inf, SURE):
        spoiled, other = scores.masked_fill(~mask, bad), torch.where(mask, target, 1 - target)
        each = lovasz_hinge_loss(spoiled, other, mask=mask, reduction="none")
        for n in range(2):
            torch.testing.assert_close(each[n], lovasz_hinge_loss(scores[n, mask[n]][None], target[n, mask[n]][None]))
        assert each[2] == 0
        assert float(lovasz_hinge_loss(spoiled, other, mask=mask)) == pytest.approx(float(each[:2].mean()))
        slope = gradient(lovasz_hinge_loss, spoiled, other, mask=mask)
        assert slope.isfinite().all()
        assert not slope[~mask].any()


@pytest.mark.parametrize("classes", ["present", "all"])
def test_ignored_pixels_of_the_softmax_never_matter(classes: str) -> None:
    scores, target = drawn(3, 7)
    mask = torch.rand(3, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    mask[2] = False
    spoiled, ignored = scores.masked_fill(~mask.unsqueeze(-1), math.nan), target.masked_fill(~mask, -100)
    each = lovasz_softmax_loss(spoiled, ignored, classes=classes, reduction="none")
    masked = lovasz_softmax_loss(spoiled, target.masked_fill(~mask, 99), classes=classes, mask=mask, reduction="none")
    assert torch.equal(each, masked)
    for n in range(2):
        alone = lovasz_softmax_loss(scores[n, mask[n]][None], target[n, mask[n]][None], classes=classes, reduction="none")
        torch.testing.assert_close(each[n], alone[0])
    assert not each[2].any()
    slope = gradient(lovasz_softmax_loss, spoiled, ignored, classes=classes)
    assert slope.isfinite().all()
    assert not slope[~mask].any()
    torch.testing.assert_close(
        lovasz_softmax_loss(spoiled, ignored, classes=classes), lovasz_softmax_loss(spoiled[:2], ignored[:2], classes=classes)
    )


def test_layouts_and_target_types_agree() -> None:
    scores, target = drawn(2, 3, 4)
    wanted = lovasz_softmax_loss(scores, target, reduction="none")
    torch.testing.assert_close(lovasz_softmax_loss(scores.movedim(-1, 1), target, class_dim=1, reduction="none"), wanted)
    torch.testing.assert_close(lovasz_softmax_loss(scores.flatten(1, 2), target.flatten(1), reduction="none"), wanted)
    one, region = scores[..., 0], target == 0
    wanted = lovasz_hinge_loss(one, region, reduction="none")
    for same in (region.long(), region.double(), region.to(torch.uint8)):
        assert torch.equal(lovasz_hinge_loss(one, same, reduction="none"), wanted)
    torch.testing.assert_close(lovasz_hinge_loss(one.flatten(1), region.flatten(1), reduction="none"), wanted)


def test_parts_add_up_over_images_that_hold_different_classes() -> None:
    scores, target = drawn(5, 3)
    pieces = [losskit.parts(lovasz_softmax_loss, scores[a:b], target[a:b]) for a, b in ((0, 1), (1, 3), (3, 5), (5, 5))]
    torch.testing.assert_close(sum(p.total for p in pieces) / sum(p.weight for p in pieces), lovasz_softmax_loss(scores, target))


def test_gradients_are_derivatives_with_several_pixels() -> None:
    scores, target = drawn(2, 2, 3)
    scores.requires_grad_()
    one = scores.detach()[..., 0].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: lovasz_softmax_loss(z, target, reduction="none"), scores)
    assert torch.autograd.gradgradcheck(lambda z: lovasz_softmax_loss(z, target), scores, atol=1e-4)
    assert torch.autograd.gradcheck(lambda z: lovasz_hinge_loss(z, target == 1, reduction="none"), one)
    compiled = torch.compile(lovasz_softmax_loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores, target), lovasz_softmax_loss(scores, target))


def test_a_nan_is_shown() -> None:
    scores, target = drawn(2, 4)
    scores[1, 0, 2] = math.nan
    assert lovasz_softmax_loss(scores, target).isnan()
    assert lovasz_hinge_loss(scores[..., 2], target == 1, reduction="none").isnan().tolist() == [False, True]
    labels = torch.tensor([[0.0, 1.0, math.nan]])
    assert lovasz_hinge_loss(torch.zeros(1, 3), labels).isnan()


@pytest.mark.parametrize("classes", ["present", "all"])
def test_a_class_out_of_range_raises_or_is_nan_where_nobody_can_look(classes: str) -> None:
    scores, target = drawn(2, 3)
    target[1, 2] = 3
    with pytest.raises(IndexError, match=r'"target" is 3 at index \(1, 2\)'):
        lovasz_softmax_loss(scores, target)
    values = torch.func.vmap(lambda z, y: lovasz_softmax_loss(z[None], y[None], classes=classes))(scores, target)
    assert values.isnan().tolist() == [False, True]
    labels = torch.tensor([[0, 1, 1], [0, 1, 255]])
    hinge = torch.func.vmap(lambda z, y: lovasz_hinge_loss(z[None], y[None]))(scores[..., 0], labels)
    assert hinge.isnan().tolist() == [False, True]


def test_hostile_arguments_are_named() -> None:
    scores, target = drawn(2, 4)
    one = scores[..., 0]
    unknown: dict[str, Any] = {"classes": "some"}
    refused: list[tuple[type[Exception], str, Callable[[], Tensor]]] = [
        (ValueError, '"target" is 2 at index', lambda: lovasz_hinge_loss(one, torch.full((2, 4), 2))),
        (ValueError, '"target" is 0.5 at index', lambda: lovasz_hinge_loss(one, torch.full((2, 4), 0.5))),
        (losskit.ShapeError, r"target.squeeze\(-1\)", lambda: lovasz_hinge_loss(one, torch.zeros(2, 4, 1))),
        (losskit.ShapeError, r"input.unsqueeze\(0\)", lambda: lovasz_hinge_loss(one[0, 0], torch.zeros(()))),
        (ValueError, '"classes" must be', lambda: lovasz_softmax_loss(scores, target, **unknown)),
        (ValueError, "softmax of one class", lambda: lovasz_softmax_loss(scores[..., :1], target)),
        (TypeError, '"target" has dtype', lambda: lovasz_softmax_loss(scores, target.double())),
        (losskit.ShapeError, r"expected \(2, 3\)", lambda: lovasz_softmax_loss(scores.movedim(-1, 1), target)),
    ]
    for error, message, call in refused:
        with pytest.raises(error, match=message):
            call()


@pytest.mark.parametrize("shape", [(0, 4), (2, 0)])
def test_images_without_pixels_are_a_connected_zero(shape: tuple[int, int]) -> None:
    scores = torch.zeros(*shape, 3, requires_grad=True)
    value = lovasz_softmax_loss(scores, torch.zeros(shape, dtype=torch.long))
    hinge = lovasz_hinge_loss(scores[..., 0], torch.zeros(shape))
    assert (value, hinge) == (0, 0)
    assert value.requires_grad
    assert hinge.requires_grad
