"""AUCM against its min-max problem, and against the mistakes of the library that made it known."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.aucm import AUCMLoss, aucm_loss


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, targets and weights."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(size, generator=generator, dtype=torch.float64)
    target = (torch.rand(size, generator=generator) < 0.4).long()
    return scores, target, 0.1 + torch.rand(size, generator=generator, dtype=torch.float64)


def objective(scores: Tensor, target: Tensor, weight: Tensor, a: Tensor, b: Tensor, alpha: Tensor, margin: float) -> Tensor:
    """E+ (s - a)^2 + E- (s - b)^2 + 2 alpha (m - E+ s + E- s) - alpha^2, sample by sample."""
    totals = {c: sum(float(w) for t, w in zip(target, weight, strict=True) if t == c) for c in (0, 1)}
    value = 2 * alpha * margin - alpha**2
    for s, t, w in zip(scores, target, weight, strict=True):
        value = value + w / totals[int(t)] * ((s - a) ** 2 - 2 * alpha * s if t == 1 else (s - b) ** 2 + 2 * alpha * s)
    return value


def loop(scores: Tensor, target: Tensor, weight: Tensor, margin: float = 1.0) -> Tensor:
    """Var(s | +) + Var(s | -) + max(0, m - mean+ + mean-)^2, sample by sample."""
    means, spread = {}, 0 * scores.sum()
    for c in (0, 1):
        members = [(s, w) for s, t, w in zip(scores, target, weight, strict=True) if t == c]
        if not members:
            return 0 * scores.sum()
        total = sum(w for _, w in members)
        means[c] = sum(w * s for s, w in members) / total
        spread = spread + sum(w * (s - means[c]) ** 2 for s, w in members) / total
    return spread + torch.relu(margin - means[1] + means[0]) ** 2


@pytest.mark.parametrize("margin", [1.0, 0.25])
@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
def test_value_and_gradient_are_those_of_the_loop(size: int, margin: float) -> None:
    learned = False
    for seed in range(4):
        scores, target, weight = drawn(size, seed)
        scores.requires_grad_()
        for given in (torch.ones_like(weight), weight):
            value, wanted = aucm_loss(scores, target, weight=given, margin=margin), loop(scores, target, given, margin)
            torch.testing.assert_close(value, wanted, rtol=1e-12, atol=1e-12)
            got, exact = (torch.autograd.grad(v, scores)[0] for v in (value, wanted))
            torch.testing.assert_close(got, exact, rtol=1e-12, atol=1e-12)
            learned |= bool(got.any())
    assert learned or size < 2


@pytest.mark.parametrize("apart", [0.0, 3.0])
def test_the_closed_form_is_the_saddle_point_of_the_min_max_problem(apart: float) -> None:
    scores, target, weight = drawn(12)
    scores = scores + apart * target
    value = float(aucm_loss(scores, target, weight=weight))
    a, b = (float((weight * scores)[target == c].sum() / weight[target == c].sum()) for c in (1, 0))
    best = [torch.tensor(x, dtype=torch.float64) for x in (a, b, max(0.0, 1 - a + b))]
    assert float(objective(scores, target, weight, *best, 1.0)) == pytest.approx(value, rel=1e-12)
    for at in range(3):
        for step in (0.1, -0.1):
            moved = [x + step * (k == at) for k, x in enumerate(best)]
            if moved[2] < 0:
                continue  # alpha is at least 0
            other = float(objective(scores, target, weight, *moved, 1.0))
            assert other < value if at == 2 else other > value


def test_d14_the_mean_of_the_negatives_is_not_scaled_by_the_share_of_positives() -> None:
    # LibAUC's AUCMLoss v2 has (1 - p) mean- - mean+ for mean- - mean+
    scores, target = torch.tensor([0.5, 0.4, 0.3, 0.2], dtype=torch.float64), torch.tensor([1, 0, 0, 0])
    mean = (0.4 + 0.3 + 0.2) / 3
    variance = 2 * 0.1**2 / 3
    wrong = variance + (1 - 0.5 + (1 - 1 / 4) * mean) ** 2
    value = float(aucm_loss(scores, target))
    assert value == pytest.approx(variance + (1 - 0.5 + mean) ** 2, rel=1e-12)
    assert abs(value - wrong) > 0.1


def test_d14_scores_of_zero_are_members_of_their_class() -> None:
    # LibAUC's AUCMLoss v2 counts a class by its scores that are not 0: 0 / 0 on data that is told apart
    scores = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64, requires_grad=True)
    value = aucm_loss(scores, torch.tensor([1, 1, 0, 0]))
    assert value == 0
    assert torch.autograd.grad(value, scores)[0].tolist() == [0, 0, 0, 0]
    half = aucm_loss(torch.tensor([1.0, 0.0, 0.0, 0.0], dtype=torch.float64), torch.tensor([1, 1, 0, 0]))
    assert float(half) == pytest.approx(0.5**2 + 0 + (1 - 0.5 + 0) ** 2)


def test_d14_no_share_of_positives_is_guessed_or_overwritten() -> None:
    # LibAUC's AUCMLoss v1 overwrites the imratio that it is given: here there is none, and repeating a class changes nothing
    scores, target, _ = drawn(9)
    often = torch.where(target == 1, 1, 50)
    value = aucm_loss(scores, target)
    torch.testing.assert_close(aucm_loss(scores.repeat_interleave(often), target.repeat_interleave(often)), value)
    torch.testing.assert_close(aucm_loss(scores, target, weight=often.double()), value)


def test_d14_saturated_scores_stay_finite() -> None:
    for size in (1e4, -1e4):
        for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            scores = torch.tensor([size, size, -size, -size], dtype=dtype, requires_grad=True)
            value = aucm_loss(scores, torch.tensor([1, 1, 0, 0]))
            one = float(scores.detach()[0].double())
            assert float(value.detach()) == pytest.approx(max(0.0, 1 - 2 * one) ** 2, rel=1e-6)
            assert torch.autograd.grad(value, scores)[0].isfinite().all()
        squashed = torch.tensor([size, -size]).sigmoid()  # as the papers do it: 0 and 1 to the last digit
        assert float(aucm_loss(squashed, torch.tensor([1, 0]))) == (0 if size > 0 else 4)


def test_a_large_offset_costs_no_digits() -> None:
    scores, target, _ = drawn(50)
    whole = (scores * 256).round() / 256
    assert float(aucm_loss((whole + 2**13).float(), target)) == pytest.approx(float(aucm_loss(whole, target)), rel=1e-6)


def test_equal_scores_cost_the_squared_margin_and_pull_the_classes_apart() -> None:
    scores = torch.full((5,), 3.0, requires_grad=True)
    value = aucm_loss(scores, torch.tensor([1, 0, 1, 0, 0]), margin=2.0)
    assert value == 2.0**2
    assert torch.autograd.grad(value, scores)[0].tolist() == pytest.approx([-2, 4 / 3, -2, 4 / 3, 4 / 3])


@pytest.mark.parametrize("target", [[1, 1], [0, 0], []])
def test_without_both_classes_there_is_nothing_to_learn(target: list[int]) -> None:
    scores = drawn(len(target))[0].requires_grad_()
    total, weight = losskit.parts(aucm_loss, scores, torch.tensor(target))
    assert (total, weight) == (0, 0)
    assert torch.autograd.grad(total, scores)[0].tolist() == [0.0] * len(target)


def test_what_is_masked_may_be_nan() -> None:
    scores, target, _ = drawn(9)
    mask = torch.arange(9) % 3 != 1
    spoiled = torch.where(mask, scores, torch.nan).requires_grad_()
    value = aucm_loss(spoiled, target, mask=mask)
    torch.testing.assert_close(value, aucm_loss(scores[mask], target[mask]))
    (slope,) = torch.autograd.grad(value, spoiled)
    assert slope[mask].all()
    assert not slope[~mask].any()


def test_a_score_that_is_not_finite_is_shown() -> None:
    for bad in (math.nan, math.inf):
        assert aucm_loss(torch.tensor([0.0, bad, 1.0]), torch.tensor([0, 1, 1])).isnan()


def test_a_margin_must_be_positive() -> None:
    with pytest.raises(ValueError, match='"margin" must be > 0, got 0'):
        aucm_loss(torch.zeros(2), torch.tensor([0, 1]), margin=0)


def test_the_module_is_the_function() -> None:
    scores, target, weight = drawn(9)
    assert torch.equal(AUCMLoss(margin=2.0)(scores, target, weight=weight), aucm_loss(scores, target, weight=weight, margin=2.0))
