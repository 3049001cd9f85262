"""BPR: Rendle's value, pairs that do not count, and both tails."""

from __future__ import annotations

import math

import pytest
import torch

import losskit


def test_each_pair_of_a_positive_and_a_negative_is_a_logistic_loss() -> None:
    positive, negative = (
        torch.tensor([1.0, -2.0], dtype=torch.float64),
        torch.tensor([[0.0, 3.0, 1.0], [0.5, -2.0, -9.0]]).double(),
    )
    wanted = [[math.log1p(math.exp(n - p)) for n in row] for p, row in zip([1.0, -2.0], negative.tolist(), strict=True)]
    torch.testing.assert_close(losskit.bpr_loss(positive, negative, reduction="none").tolist(), wanted, rtol=1e-14, atol=0)
    torch.testing.assert_close(losskit.bpr_loss(positive, negative).item(), sum(map(sum, wanted)) / 6, rtol=1e-14, atol=0)


def test_the_gradient_is_how_likely_the_pair_is_the_wrong_way_round() -> None:
    positive, negative = torch.tensor([1.0], requires_grad=True), torch.tensor([[0.0, 3.0]], requires_grad=True)
    by_positive, by_negative = torch.autograd.grad(losskit.bpr_loss(positive, negative, reduction="sum"), (positive, negative))
    wrong = torch.sigmoid(torch.tensor([[0.0 - 1.0, 3.0 - 1.0]]))
    torch.testing.assert_close(by_negative, wrong)
    torch.testing.assert_close(by_positive, -wrong.sum(-1))


def test_a_masked_negative_may_be_nan_and_does_not_count() -> None:
    negative = torch.tensor([[0.0, math.nan], [math.inf, math.nan]], requires_grad=True)
    positive = torch.tensor([0.0, math.nan], requires_grad=True)
    mask = torch.tensor([[True, False], [False, False]])
    value = losskit.bpr_loss(positive, negative, mask=mask)
    torch.testing.assert_close(value.item(), math.log(2), rtol=1e-6, atol=0)
    by_positive, by_negative = torch.autograd.grad(value, (positive, negative))
    assert by_negative.tolist() == [[0.5, 0.0], [0.0, 0.0]]
    assert by_positive.tolist() == [-0.5, 0.0]


def test_a_weight_counts_a_pair_several_times() -> None:
    positive, negative = torch.tensor([0.0, 1.0]), torch.tensor([[2.0, -1.0], [0.0, 4.0]])
    weight = torch.tensor([[3.0, 1.0], [0.0, 2.0]])
    each = losskit.bpr_loss(positive, negative, reduction="none")
    torch.testing.assert_close(losskit.bpr_loss(positive, negative, weight=weight), (weight * each).sum() / 6)
    torch.testing.assert_close(losskit.bpr_loss(positive, negative, weight=weight, reduction="none"), weight * each)


def test_no_negative_is_nothing_to_learn() -> None:
    positive = torch.tensor([1.0], requires_grad=True)
    value = losskit.bpr_loss(positive, torch.zeros(1, 0))
    assert value.item() == 0
    assert torch.autograd.grad(value, positive)[0].item() == 0


def test_gaps_of_ten_thousand_are_right_in_half_precision() -> None:
    positive = torch.tensor([5000.0, -5000.0], dtype=torch.float16)
    value = losskit.bpr_loss(positive, -positive.unsqueeze(-1), reduction="none")
    assert value.dtype == torch.float32
    assert value.tolist() == [[0.0], [10000.0]]


def test_a_sure_pair_keeps_its_digits() -> None:
    value = losskit.bpr_loss(torch.tensor([20.0]), torch.tensor([[0.0]]))
    torch.testing.assert_close(value.item(), math.log1p(math.exp(-20)), rtol=1e-6, atol=0)


def test_one_negative_each_without_its_axis_is_refused() -> None:
    with pytest.raises(losskit.ShapeError, match=r'"negative" has shape \(4,\)'):
        losskit.bpr_loss(torch.zeros(4), torch.zeros(4))


def test_a_shape_that_does_not_fit_names_both_and_the_remedy() -> None:
    with pytest.raises(losskit.ShapeError, match=r'"positive" \(3, 1\): .*; use positive.squeeze\(-1\)'):
        losskit.bpr_loss(torch.zeros(3, 1), torch.zeros(3, 4))
    with pytest.raises(losskit.ShapeError, match=r"expected \(3, K\) to fit .*; use negative.unsqueeze\(-1\)"):
        losskit.bpr_loss(torch.zeros(3), torch.zeros(3))
