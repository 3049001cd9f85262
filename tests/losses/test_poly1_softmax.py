"""Poly-1 softmax against its definition item by item, and the digits of 1 - p."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import losskit
from losskit.losses.listnet import listnet_loss
from losskit.losses.poly1_softmax import poly1_softmax_loss


def drawn(size: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = 3 * torch.randn(size, generator=generator, dtype=torch.float64)
    relevance = torch.randint(4, (size,), generator=generator).double()
    weight = torch.rand(size, generator=generator, dtype=torch.float64).round(decimals=1)
    return scores.round() if seed % 2 else scores, relevance, weight


def by_items(scores: Tensor, relevance: Tensor, weight: Tensor, epsilon: float) -> Tensor:
    """sum_i t_i (-log p_i + epsilon (1 - p_i)) of one list."""
    gains, total = (relevance * weight).tolist(), scores.sum() * 0
    for i in range(len(gains)) if len(gains) > 1 and sum(gains) else ():
        log_p = scores[i] - torch.stack(list(scores)).logsumexp(0)
        total = total + gains[i] / sum(gains) * (epsilon * (1 - log_p.exp()) - log_p)
    return total


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("size", [0, 1, 2, 7, 50])
@pytest.mark.parametrize("epsilon", [1.0, -1.0, 0.0, 2.5])
def test_value_and_gradient_are_those_of_the_definition(epsilon: float, size: int) -> None:
    for seed in range(4):
        scores, relevance, weight = drawn(size, seed)
        leaf = scores.clone().requires_grad_()
        wanted = by_items(leaf, relevance, weight, epsilon)
        slope = gradient(wanted, leaf)
        mask = torch.arange(2 * size) % 2 == 0
        padded = [torch.full((2 * size,), math.nan, dtype=torch.float64) for _ in range(3)]
        for full, given in zip(padded, (scores, relevance, weight), strict=True):
            full[mask] = given
        among_pads = padded[0].clone().requires_grad_()
        for value, x, seen in (
            (poly1_softmax_loss(leaf, relevance, weight=weight, epsilon=epsilon), leaf, slice(None)),
            (poly1_softmax_loss(among_pads, padded[1], weight=padded[2], mask=mask, epsilon=epsilon), among_pads, mask),
        ):
            assert value.item() == pytest.approx(wanted.item(), rel=1e-12, abs=1e-12)
            found = gradient(value, x)
            assert found[seen].tolist() == pytest.approx(slope.tolist(), rel=1e-12, abs=1e-12)
            assert found.count_nonzero() == found[seen].count_nonzero()
        assert slope.any() == (size > 1 and bool((weight * relevance).any()))


def test_a_confident_list_keeps_the_digits_of_both_terms_in_float32() -> None:
    """-log p and 1 - p are both e^-40: 1 - softmax would be 0."""
    scores = torch.tensor([[40.0, 0.0]], requires_grad=True)
    value = poly1_softmax_loss(scores, torch.tensor([[1.0, 0.0]]))
    assert value.item() == pytest.approx(2 * math.exp(-40), rel=1e-6, abs=0)
    assert gradient(value, scores)[0].tolist() == pytest.approx([-2 * math.exp(-40), 2 * math.exp(-40)], rel=1e-6, abs=0)


def test_a_list_that_is_surely_wrong_costs_its_gap_and_epsilon() -> None:
    value = poly1_softmax_loss(torch.tensor([[-1e4, 0.0]]), torch.tensor([[1.0, 0.0]]), epsilon=3.0)
    assert value.item() == pytest.approx(1e4 + 3.0)


def test_epsilon_of_zero_is_listnet() -> None:
    scores, relevance, weight = drawn(9, 2)
    both = [
        loss(scores, relevance, weight=weight, **o).item()
        for loss, o in ((poly1_softmax_loss, {"epsilon": 0.0}), (listnet_loss, {}))
    ]
    assert both[0] == both[1] > 0


def test_d7_pads_do_not_reach_far_negative_scores() -> None:
    scores, relevance = torch.tensor([[-30.0, -31.0, 0.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    value = poly1_softmax_loss(scores, relevance, mask=torch.tensor([[True, True, False]]))
    assert value.item() == pytest.approx(math.log1p(math.exp(-1)) + 1 / (1 + math.e), rel=1e-6)


def test_lists_without_relevance_or_with_one_item_do_not_count() -> None:
    scores, relevance = torch.zeros(3, 2), torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    parts = losskit.parts(poly1_softmax_loss, scores, relevance, mask=mask)
    assert (parts.total.item(), parts.weight.item()) == (pytest.approx(math.log(2) + 0.5), 1.0)


def test_second_derivatives_are_right() -> None:
    scores, relevance, weight = drawn(6, 2)
    assert torch.autograd.gradgradcheck(lambda s: poly1_softmax_loss(s, relevance, weight=weight), [scores.requires_grad_()])


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match='"epsilon" must be >= -1'):
        poly1_softmax_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]), epsilon=-2.0)
    with pytest.raises(ValueError, match='"relevance" is -1'):
        poly1_softmax_loss(torch.zeros(1, 2), torch.tensor([[-1.0, 0.0]]))


def test_chance_is_that_of_equal_scores() -> None:
    assert losskit.reference("poly1_softmax_loss", list_size=4, epsilon=2.0).chance == pytest.approx(math.log(4) + 1.5)
