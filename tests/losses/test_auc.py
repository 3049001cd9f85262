"""The AUC losses against a double loop over pairs, whole and partial, and what they promise besides."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from losskit.losses.auc import AUCHingeLoss, AUCLogisticLoss, AUCSquaredHingeLoss
from losskit.losses.auc import auc_hinge_loss as hinge
from losskit.losses.auc import auc_logistic_loss as logistic
from losskit.losses.auc import auc_squared_hinge_loss as squared

Loss = Callable[..., Tensor]
PHI: dict[Loss, Callable[[Tensor], Tensor]] = {
    hinge: lambda apart: F.relu(1 - apart),
    squared: lambda apart: F.relu(1 - apart) ** 2,
    logistic: lambda apart: -F.logsigmoid(apart),
}
LOSSES = pytest.mark.parametrize("loss", PHI)
PARTS: tuple[dict[str, float], ...] = ({}, {"max_fpr": 0.35}, {"max_fpr": 0.5, "min_tpr": 0.25}, {"min_tpr": 0.9})


def drawn(size: int, share: float = 0.4, seed: int = 0, *, ties: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, targets and weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = 1.5 * torch.randn(size, generator=generator, dtype=torch.float64)
    target = (torch.rand(size, generator=generator) < share).long()
    return scores.round() if ties else scores, target, 0.1 + torch.rand(size, generator=generator, dtype=torch.float64)


def kept(scores: list[float], weights: list[float], share: float) -> list[float]:
    """What is left of each weight if only this share of their sum counts, the highest scores first, ties alike."""
    left, found = share * sum(weights), [0.0] * len(scores)
    for level in sorted(set(scores), reverse=True):
        tied = [i for i, s in enumerate(scores) if s == level]
        held = sum(weights[i] for i in tied)
        for i in tied:
            found[i] = weights[i] * min(1.0, left / held)
        left = max(0.0, left - held)
    return found


def by_pairs(loss: Loss, scores: Tensor, target: Tensor, weight: Tensor, max_fpr: float = 1.0, min_tpr: float = 0.0) -> Tensor:
    """The mean over pairs, one after the other."""
    index = {label: [i for i, t in enumerate(target.tolist()) if t == label and weight[i] > 0] for label in (0, 1)}
    values, given = scores.tolist(), weight.tolist()
    down = kept([values[j] for j in index[0]], [given[j] for j in index[0]], max_fpr)
    up = kept([-values[i] for i in index[1]], [given[i] for i in index[1]], 1 - min_tpr)
    total, pairs = 0 * scores.sum(), sum(up) * sum(down)
    for i, p in zip(index[1], up, strict=True):
        for j, n in zip(index[0], down, strict=True):
            total = total + p * n * PHI[loss](scores[i] - scores[j])
    return total / pairs if pairs else total


def slope(value: Tensor, scores: Tensor) -> Tensor:
    return torch.autograd.grad(value, scores, retain_graph=True)[0]


def close(got: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("options", PARTS, ids=str)
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@LOSSES
def test_value_and_gradient_are_those_of_the_double_loop(loss: Loss, size: int, options: dict[str, float]) -> None:
    learned = False
    for seed, ties in ((0, False), (1, True), (2, False)):
        scores, target, weight = drawn(size, seed=seed, ties=ties)
        scores.requires_grad_()
        for given in (torch.ones_like(weight), weight):
            value, wanted = loss(scores, target, weight=given, **options), by_pairs(loss, scores, target, given, **options)
            close(value, wanted)
            close(slope(value, scores), slope(wanted, scores))
            learned |= bool(slope(value, scores).any())
    assert learned or size < 3


@pytest.mark.parametrize("share", [0.01, 0.5])
@LOSSES
def test_three_thousand_scores_have_the_sums_of_all_pairs(loss: Loss, share: float) -> None:
    scores, target, weight = drawn(3000, share)
    scores.requires_grad_()
    up, down = target == 1, target == 0
    pairs = weight[up][:, None] * weight[down]
    wanted = (pairs * PHI[loss](scores[up][:, None] - scores[down])).sum() / pairs.sum()
    value = loss(scores, target, weight=weight)
    close(value, wanted)
    got, exact = slope(value, scores), slope(wanted, scores)
    assert got.any()
    assert ((got - exact).abs() <= 1e-12 * exact.abs().max()).all()


@LOSSES
def test_what_is_masked_may_be_nan(loss: Loss) -> None:
    scores, target, weight = drawn(12)
    mask = torch.arange(12) % 4 != 1
    spoiled, lost = (torch.where(mask, t, torch.nan).requires_grad_() for t in (scores, target.double()))
    value = loss(spoiled, lost.detach(), mask=mask, weight=torch.where(mask, weight, torch.nan).nan_to_num(0))
    close(value, loss(scores[mask], target[mask], weight=weight[mask]))
    found = slope(value, spoiled)
    assert found[mask].any()
    assert not found[~mask].any()


@pytest.mark.parametrize("target", [[1, 1, 1], [0, 0, 0], []])
@LOSSES
def test_without_both_classes_there_is_nothing_to_learn(loss: Loss, target: list[int]) -> None:
    scores = drawn(len(target))[0].requires_grad_()
    total, weight = losskit.parts(loss, scores, torch.tensor(target))
    assert (total, weight) == (0, 0)
    assert slope(total, scores).tolist() == [0.0] * len(target)


@LOSSES
def test_a_batch_is_one_value_that_counts_one(loss: Loss) -> None:
    scores, target, _ = drawn(9)
    total, weight = losskit.parts(loss, scores, target)
    assert weight == 1
    assert all(torch.equal(loss(scores, target, reduction=r), total) for r in ("mean", "sum", "none"))
    assert torch.equal(loss(scores, target, normalizer=4.0), total / 4)
    assert torch.equal(loss(scores.reshape(3, 3), target.reshape(3, 3)), total)


@LOSSES
def test_bools_and_floats_are_targets_too(loss: Loss) -> None:
    scores, target, _ = drawn(9)
    value = loss(scores, target)
    assert all(torch.equal(loss(scores, t), value) for t in (target == 1, target.float(), target.to(torch.uint8)))
    with pytest.raises(ValueError, match='"target" is 2 at index 4, expected'):
        loss(scores, target.index_fill(0, torch.tensor([4]), 2))
    unseen = torch.func.vmap(loss)(scores[None], target[None].double() / 2)  # nobody can look there
    assert unseen.isnan().all()


@LOSSES
def test_a_weight_of_two_is_the_sample_twice(loss: Loss) -> None:
    scores, target, _ = drawn(8)
    weight = torch.tensor([1.0, 2.0, 1.0, 1.0, 2.0, 1.0, 2.0, 1.0])
    twice = torch.arange(8).repeat_interleave(weight.long())
    for options in PARTS:
        close(loss(scores, target, weight=weight, **options), loss(scores[twice], target[twice], **options))


@LOSSES
def test_a_part_is_the_whole_of_the_hardest(loss: Loss) -> None:
    scores = torch.tensor([3.0, 1.0, 0.0, -2.0, 2.5, 0.5, 0.25, -1.0], dtype=torch.float64)
    target = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    hardest = torch.tensor([2, 3, 4])  # half of the positives, from below, and a quarter of the negatives, from above
    close(loss(scores, target, max_fpr=0.25, min_tpr=0.5), loss(scores[hardest], target[hardest]))


@LOSSES
def test_ties_at_the_boundary_share_what_is_left(loss: Loss) -> None:
    scores = torch.tensor([0.0, 0.5, 0.5, 0.5, 0.5, -3.0], dtype=torch.float64, requires_grad=True)
    target = torch.tensor([1, 0, 0, 0, 0, 0])
    value = loss(scores, target, max_fpr=0.2)  # one of the four that tie
    close(value, PHI[loss](torch.tensor(-0.5, dtype=torch.float64)))
    found = slope(value, scores)
    assert found[0] < 0
    close(found[1:], torch.tensor([-0.25, -0.25, -0.25, -0.25, 0], dtype=torch.float64) * found[0])


@LOSSES
def test_gaps_of_ten_thousand_are_finite_and_right(loss: Loss) -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        scores = torch.tensor([-1e4, 1e4], dtype=dtype, requires_grad=True)
        apart = float(scores.detach()[1] - scores.detach()[0].double())
        value = loss(scores, torch.tensor([1, 0]))
        assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        wrong = {hinge: apart + 1, squared: (apart + 1) ** 2, logistic: apart}
        assert float(value.detach()) == pytest.approx(wrong[loss], rel=1e-6)
        force = 2 * (apart + 1) if loss is squared else 1.0
        # a gradient has the dtype of its scores
        assert slope(value, scores).tolist() == pytest.approx([-force, force], rel=max(1e-6, torch.finfo(dtype).eps))
        assert loss(scores, torch.tensor([0, 1])).item() == 0


@LOSSES
def test_gradients_in_float32_keep_their_digits(loss: Loss) -> None:
    scores, target, weight = drawn(2000, 0.1)
    single, double = scores.float().requires_grad_(), scores.float().double().requires_grad_()
    got, exact = (slope(loss(s, target, weight=weight), s).double() for s in (single, double))
    assert exact.any()
    assert (got - exact).abs().max() <= 1e-6 * exact.abs().max()


@LOSSES
def test_a_score_that_is_not_finite_is_shown(loss: Loss) -> None:
    scores, target, _ = drawn(6)
    for bad in (math.nan, math.inf):
        assert loss(scores.index_fill(0, torch.tensor([2]), bad), target).isnan()
        assert loss(scores.index_fill(0, torch.tensor([2]), bad), torch.ones(6)).isnan()


@LOSSES
def test_no_order_of_the_batch_matters(loss: Loss) -> None:
    scores, target, weight = drawn(40, ties=True)
    scores.requires_grad_()
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))
    for options in PARTS:
        one = loss(scores, target, weight=weight, **options)
        other = loss(scores[order], target[order], weight=weight[order], **options)
        close(other, one)
        assert slope(one, scores).any()
        close(slope(other, scores), slope(one, scores))


def test_a_pair_at_the_margin_has_no_gradient() -> None:
    scores = torch.tensor([2.0, 1.0, 1.0, 0.0], requires_grad=True)
    assert not slope(hinge(scores, torch.tensor([1, 0, 0, 0])), scores).any()
    assert slope(hinge(scores, torch.tensor([1, 0, 0, 0]), margin=1.5), scores).tolist() == pytest.approx(
        [-2 / 3, 1 / 3, 1 / 3, 0]
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_fpr": 0}, '"max_fpr" must be in (0, 1], got 0'),
        ({"max_fpr": 1.5}, '"max_fpr" must be in (0, 1], got 1.5'),
        ({"min_tpr": 1}, '"min_tpr" must be in [0, 1), got 1'),
        ({"min_tpr": -0.1}, '"min_tpr" must be in [0, 1), got -0.1'),
        ({"margin": 0}, '"margin" must be > 0, got 0'),
        ({"margin": math.inf}, '"margin" must be finite'),
    ],
)
def test_options_out_of_range_are_named(options: dict[str, Any], says: str) -> None:
    for loss in (hinge, squared) if "margin" in options else PHI:
        with pytest.raises(ValueError, match=re.escape(says)):
            loss(torch.zeros(2), torch.tensor([0, 1]), **options)


def test_modules_are_their_functions() -> None:
    scores, target, _ = drawn(9)
    assert torch.equal(AUCHingeLoss(margin=2.0)(scores, target), hinge(scores, target, margin=2.0))
    assert torch.equal(AUCSquaredHingeLoss(max_fpr=0.5)(scores, target), squared(scores, target, max_fpr=0.5))
    assert torch.equal(AUCLogisticLoss(min_tpr=0.5)(scores, target), logistic(scores, target, min_tpr=0.5))


@LOSSES
def test_second_derivatives_and_compiled_gradients_are_right(loss: Loss) -> None:
    scores, target, weight = drawn(10, seed=3)
    scores.requires_grad_()
    for options in PARTS[:3]:
        torch.compiler.reset()

        def value(s: Tensor, options: dict[str, float] = options) -> Tensor:
            return loss(s, target, weight=weight, **options)

        assert torch.autograd.gradcheck(value, scores)
        assert torch.autograd.gradgradcheck(value, scores)
        compiled = torch.compile(value, fullgraph=True, backend="aot_eager")
        got = slope(compiled(scores), scores)
        assert got.any()
        close(got, slope(value(scores), scores))


@pytest.mark.parametrize("loss", [losskit.auc_hinge_loss, losskit.auc_squared_hinge_loss])
@pytest.mark.parametrize("margin", [0.1, 0.001, 0.3])
def test_a_margin_has_all_digits_of_float64(loss: Callable[..., Tensor], margin: float) -> None:
    scores = torch.tensor([margin, 0.0, 5.0], dtype=torch.float64, requires_grad=True)
    value = loss(scores[:2], torch.tensor([1, 0]), margin=margin)
    assert value == 0
    assert not torch.autograd.grad(value, scores)[0].any()
