"""Both sides of a batch, and the part of each that a partial AUC looks at."""

from __future__ import annotations

import math

import pytest
import torch

from losskit.core.domain import Binary, Sizes
from losskit.losses.rare_positives import SIDES, hardest, one_value, sides


def test_a_sample_is_on_one_side_with_its_weight() -> None:
    scores = torch.tensor([[0.5, -1.0], [2.0, 3.0]])
    at = sides(scores, torch.tensor([[1, 0], [0, 1]]), None, torch.tensor([[1.0, 2.0], [0.0, 4.0]]))
    assert at.scores.tolist() == [0.5, -1.0, 0.0, 3.0]  # what weighs nothing is not looked at
    assert at.positive.tolist() == [1, 0, 0, 4]
    assert at.negative.tolist() == [0, 2, 0, 0]
    assert all(t.dtype == torch.float64 for t in at)
    assert at.broken == 1


def test_what_is_masked_is_on_no_side() -> None:
    mask = torch.tensor([True, False, True])
    at = sides(torch.tensor([1.0, math.nan, 2.0]), torch.tensor([1.0, math.nan, 0.0]), mask, None)
    assert (at.scores.tolist(), at.positive.tolist(), at.negative.tolist()) == ([1, 0, 2], [1, 0, 0], [0, 0, 1])
    assert at.broken == 1
    hidden = sides(torch.zeros(3), torch.tensor([1, 0, 0]), mask, torch.tensor([1.0, math.nan, 2.0]))
    assert hidden.negative.tolist() == [0, 0, 2]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_score_that_is_not_finite_breaks_the_batch(bad: float) -> None:
    at = sides(torch.tensor([1.0, bad]), torch.tensor([1, 0]), None, None)
    assert at.broken.isnan()
    assert at.scores.isfinite().all()


def test_a_target_of_neither_class_breaks_the_batch() -> None:
    for bad in (0.5, math.nan):
        assert sides(torch.zeros(2), torch.tensor([1.0, bad]), None, None).broken.isnan()
        assert sides(torch.zeros(2), torch.tensor([1.0, bad]), None, torch.tensor([1.0, 0.0])).broken == 1


def test_the_hardest_are_the_highest_negatives_and_the_lowest_positives() -> None:
    scores = torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5, 1.5, 2.5, 3.5])
    target = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0])
    at = hardest(sides(scores, target, None, None), 0.5, 0.25)
    assert at.negative.tolist() == [0, 0, 0, 0, 0, 0, 1, 1]
    assert at.positive.tolist() == [0, 1, 1, 1, 0, 0, 0, 0]


def test_the_boundary_counts_with_what_is_left_of_the_share() -> None:
    scores, target = torch.tensor([0.0, 1.0, 2.0, 3.0, 9.0]), torch.tensor([0, 0, 0, 0, 1])
    at = hardest(sides(scores, target, None, None), 0.6, 0.0)
    assert at.negative.tolist() == pytest.approx([0, 0.4, 1, 1, 0])  # 2.4 of 4
    weighted = hardest(sides(scores, target, None, torch.tensor([1.0, 1.0, 1.0, 5.0, 1.0])), 0.5, 0.0)
    assert weighted.negative.tolist() == pytest.approx([0, 0, 0, 4, 0])  # half of 8


def test_ties_at_the_boundary_share_by_weight() -> None:
    scores, target = torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor([0, 0, 0, 0])
    at = hardest(sides(scores, target, None, torch.tensor([2.0, 1.0, 1.0, 2.0])), 0.5, 0.0)
    assert at.negative.tolist() == pytest.approx([2, 0.25, 0.25, 0.5])  # one of the four that tie


@pytest.mark.parametrize("shares", [(1.0, 0.0), (0.01, 0.99), (1 / 3, 2 / 3)])
def test_the_sum_of_what_is_left_is_the_share(shares: tuple[float, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(200, generator=generator).round(decimals=1)
    at = sides(scores, torch.arange(200) % 3 == 0, None, torch.rand(200, generator=generator))
    left = hardest(at, *shares)
    assert float(left.negative.sum()) == pytest.approx(shares[0] * float(at.negative.sum()))
    assert float(left.positive.sum()) == pytest.approx((1 - shares[1]) * float(at.positive.sum()))


def test_one_value_counts_where_both_classes_are_there() -> None:
    like, value = torch.zeros(2, dtype=torch.bfloat16), torch.tensor(3.0, dtype=torch.float64)
    both = sides(like, torch.tensor([1, 0]), None, None)
    found = one_value(value, both, like, "mean", None)
    assert (found.dtype, found.item()) == (torch.float32, 3)
    for target in ([1, 1], [0, 0]):
        assert one_value(value, sides(like, torch.tensor(target), None, None), like, "sum", None) == 0


def test_a_drawn_batch_of_two_has_both_classes() -> None:
    domain = SIDES["target"]
    assert isinstance(domain, Binary)
    for seed in range(4):
        target = domain.draw(torch.Generator().manual_seed(seed), Sizes((3, 2), {}))
        assert target.sum(-1).tolist() == [1, 1, 1]
