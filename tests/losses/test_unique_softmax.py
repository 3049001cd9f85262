"""Unique softmax against its definition pair by pair, TF-Ranking's numbers, and grades that are too large for 2^y."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.gains import gains
from losskit.losses.unique_softmax import UniqueSoftmaxLoss, unique_softmax_loss


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(4, (size,), generator=generator).double()
    weight = torch.rand(size, generator=generator, dtype=torch.float64).round(decimals=1)
    return scores.round() if seed % 2 else scores, relevance, weight


def by_pairs(scores: Tensor, relevance: Tensor, weight: Tensor, normalize: bool) -> Tensor:
    """sum_i w_i g_i (logsumexp over i and all j with y_j < y_i, minus s_i) of one list."""
    y, w, total = relevance.tolist(), weight.tolist(), scores.sum() * 0
    largest = max((2**grade - 1 for grade in y), default=0) if normalize else 1
    for i, grade in enumerate(y):
        among = [scores[i], *(scores[j] for j in range(len(y)) if y[j] < grade)]
        total = total + w[i] * (2**grade - 1) / (largest or 1) * (torch.stack(among).logsumexp(0) - scores[i])
    return total


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("normalize", [True, False])
def test_value_and_gradient_are_those_of_the_definition(normalize: bool, size: int) -> None:
    for seed in range(5):
        scores, relevance, weight = drawn(size, seed)
        leaf = scores.clone().requires_grad_()
        wanted = by_pairs(leaf, relevance, weight, normalize)
        slope = gradient(wanted, leaf)
        mask = torch.arange(2 * size) % 2 == 0
        padded = [torch.full((2 * size,), math.nan, dtype=torch.float64) for _ in range(3)]
        for full, given in zip(padded, (scores, relevance, weight), strict=True):
            full[mask] = given
        among_pads = padded[0].clone().requires_grad_()
        for value, x, seen in (
            (unique_softmax_loss(leaf, relevance, weight=weight, normalize=normalize), leaf, slice(None)),
            (unique_softmax_loss(among_pads, padded[1], weight=padded[2], mask=mask, normalize=normalize), among_pads, mask),
        ):
            assert value.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
            found = gradient(value, x)
            assert found[seen].tolist() == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-12)
            assert found.count_nonzero() == found[seen].count_nonzero()
        lowest = relevance.min() if size else 0
        assert slope.any() == bool((weight * (relevance > lowest)).any())


def test_the_numbers_of_tf_ranking() -> None:
    """Of its documentation: one list, and two lists of different lengths."""
    assert unique_softmax_loss(torch.tensor([[0.6, 0.8]]), torch.tensor([[1.0, 0.0]])).item() == pytest.approx(
        0.7981389, rel=1e-6
    )
    scores, relevance = torch.tensor([0.6, 0.8, 0.5, 0.8, 0.4]), torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0])
    ragged = unique_softmax_loss(scores, relevance, offsets=torch.tensor([0, 2, 5]))
    assert ragged.item() == pytest.approx(0.83911896, rel=1e-6)


def test_equals_do_not_compete() -> None:
    scores = torch.tensor([[5.0, 0.0, -1.0]], dtype=torch.float64)
    value = unique_softmax_loss(scores, torch.tensor([[1.0, 1.0, 0.0]]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-6)) + math.log1p(math.exp(-1)), rel=1e-12)


def test_d7_pads_do_not_reach_far_negative_scores() -> None:
    scores, relevance = torch.tensor([[-30.0, -31.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    value = unique_softmax_loss(scores, relevance, mask=torch.tensor([[True, True, False]]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-1)), rel=1e-6)


def test_a_confident_list_keeps_its_tail_in_float32() -> None:
    scores = torch.tensor([[40.0, 0.0]], requires_grad=True)
    value = unique_softmax_loss(scores, torch.tensor([[1.0, 0.0]]))
    assert value.item() == pytest.approx(math.exp(-40), rel=1e-6, abs=0)
    assert gradient(value, scores)[0].tolist() == pytest.approx([-math.exp(-40), math.exp(-40)], rel=1e-6, abs=0)


def test_float32_gradients_are_those_of_float64_at_any_spread() -> None:
    for spread in (1.0, 30.0, 200.0):
        scores, relevance, _ = drawn(60, 2)
        single = (spread * scores).float().requires_grad_()
        double = single.detach().double().requires_grad_()
        exact = gradient(by_pairs(double, relevance, torch.ones(60), True), double)
        found = gradient(unique_softmax_loss(single, relevance), single)
        assert exact.abs().max() > 0.5
        assert (found - exact).abs().max() < 1e-6 * exact.abs().max()


def test_normal_gains_are_finite_for_any_grade_and_in_proportion_to_the_others() -> None:
    grades = torch.tensor([[0.0, 1.0, 2.0, 4.0], [1e-12, 0.0, 0.0, 0.0], [1000.0, 999.0, 998.0, 0.0]], dtype=torch.float64)
    wanted = [[0.0, 1 / 15, 3 / 15, 1.0], [1.0, 0.0, 0.0, 0.0], [1.0, 0.5, 0.25, 0.0]]
    assert gains(grades, normalize=True).tolist() == [pytest.approx(row, rel=1e-12) for row in wanted]
    assert gains(grades[:1], normalize=False)[0].tolist() == pytest.approx([0.0, 1.0, 3.0, 15.0], rel=1e-12)
    scores = torch.zeros(1, 4, requires_grad=True)
    value = unique_softmax_loss(scores, 100 * grades[2:])
    assert value.item() == pytest.approx(math.log(4), rel=1e-6)
    assert gradient(value, scores).isfinite().all()
    assert gradient(unique_softmax_loss(scores, grades[2:]), scores).any()


def test_a_list_counts_if_something_with_weight_is_above_something() -> None:
    scores = torch.zeros(3, 2, dtype=torch.float64)
    relevance, weight = torch.tensor([[1.0, 0.0], [2.0, 2.0], [1.0, 0.0]]), torch.tensor([[1.0, 1.0], [1.0, 1.0], [0.0, 1.0]])
    parts = losskit.parts(unique_softmax_loss, scores, relevance, weight=weight)
    assert (parts.total.item(), parts.weight.item()) == (pytest.approx(math.log(2)), 1.0)


def test_second_derivatives_are_right() -> None:
    scores, relevance, weight = drawn(7, 2)
    assert torch.autograd.gradgradcheck(lambda s: unique_softmax_loss(s, relevance, weight=weight), [scores.requires_grad_()])


def test_options_are_checked() -> None:
    scores, relevance = torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])
    wrong: Any = "scaled"
    with pytest.raises(ValueError, match='"normalize" must be'):
        UniqueSoftmaxLoss(normalize=wrong)(scores, relevance)
    with pytest.raises(ValueError, match='"relevance" is -1'):
        unique_softmax_loss(scores, -relevance)


def test_chance_counts_who_is_below() -> None:
    relevance = torch.tensor([[2.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    assert losskit.reference("unique_softmax_loss", relevance=relevance).chance == pytest.approx(math.log(3) + math.log(2) / 3)
    raw = losskit.reference("unique_softmax_loss", relevance=relevance, normalize=False)
    assert raw == (pytest.approx(3 * math.log(3) + math.log(2)), None, 0.0)
