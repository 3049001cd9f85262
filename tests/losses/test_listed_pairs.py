"""What all pairwise losses share: options, the mean over pairs, what a list counts for."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.losses.lambda_weights import DeltaNDCG, LabelDifference
from losskit.losses.listed_pairs import pairwise

# l(d) = d^2 of every pair of a hinge far out is easy to say: margin 0, the wrong way round by d
SCORES = torch.tensor([[0.0, 2.0, 3.0], [1.0, 0.0, 5.0]], dtype=torch.float64)
RELEVANCE = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
# list 0: gaps 2, 3, 1 the wrong way round; list 1: 1 the wrong way round, 4 the right one; 2 and 1 are tied


def squares(**options: Any) -> Tensor:
    given = {
        "lambda_weight": None, "topk": None, "mask": None, "weight": None, "query_weight": None, "offsets": None,
        "pair_reduction": "mean", "reduction": "none", "normalizer": None,
    }  # fmt: skip
    return pairwise("squared_hinge", options.pop("scores", SCORES), options.pop("relevance", RELEVANCE), **{**given, **options})


def test_the_mean_is_over_the_pairs_of_a_list() -> None:
    assert squares().tolist() == [(4 + 9 + 1) / 3, 1 / 2]
    assert squares(reduction="mean").item() == pytest.approx((14 / 3 + 1 / 2) / 2)


def test_a_sum_over_pairs_leaves_long_lists_heavier() -> None:
    assert squares(pair_reduction="sum").tolist() == [14, 1]
    assert squares(pair_reduction="sum", reduction="mean").item() == 15 / 2


def test_pooled_pairs_count_the_same_over_the_batch() -> None:
    assert squares(pair_reduction="pooled", reduction="mean").item() == pytest.approx(15 / 5)
    assert squares(pair_reduction="pooled", reduction="mean", query_weight=torch.tensor([3.0, 1.0])).item() == pytest.approx(
        (3 * 14 + 1) / (3 * 3 + 2)
    )


def test_a_pair_has_the_weight_of_its_more_relevant_item() -> None:
    weight = torch.tensor([[2.0, 3.0, 100.0], [100.0, 1.0, 5.0]], dtype=torch.float64)
    assert squares(weight=weight).tolist() == pytest.approx([(2 * (4 + 9) + 3 * 1) / (2 + 2 + 3), 1 / 6])
    assert squares(weight=weight, pair_reduction="pooled", reduction="mean").item() == pytest.approx((29 + 1) / (7 + 6))


def test_a_tie_counts_half_both_ways_round() -> None:
    """Scores 0 and 5 of one grade: (0 + 25) / 2, of the mean weight."""
    assert squares(ties="half")[1].item() == pytest.approx((1 + 25 / 2) / 3)
    weight = torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 5.0]], dtype=torch.float64)
    assert squares(ties="half", weight=weight)[1].item() == pytest.approx((1 + 3 * 25 / 2) / (1 + 5 + 3))


def test_lambda_is_no_part_of_the_denominator() -> None:
    assert squares(lambda_weight=LabelDifference()).tolist() == [(4 + 2 * 9 + 1) / 3, 1 / 2]


def test_the_top_keeps_pairs_with_one_item_in_it() -> None:
    """The best of list 0 is item 2: pairs (0, 2) and (1, 2); of list 1 item 2: pair (2, 0)."""
    assert squares(topk=1).tolist() == [(9 + 1) / 2, 0]
    assert squares(topk=3).tolist() == squares().tolist()


def test_squares_of_all_unordered_pairs_have_ties_too() -> None:
    """(d - (y_i - y_j))^2: gaps -2, -3, -1 against 1, 2, 1; then -1, 4 against 1, 1, and a tie 5 apart."""
    found = pairwise(
        "mse", SCORES, RELEVANCE, lambda_weight=None, topk=None, mask=None, weight=None, query_weight=None, offsets=None,
        pair_reduction="mean", reduction="none", normalizer=None,
    )  # fmt: skip
    assert found.tolist() == pytest.approx([(9 + 25 + 4) / 3, (4 + 9 + 25) / 3])


@pytest.mark.parametrize("pair_reduction", ["mean", "sum", "pooled"])
def test_a_list_without_a_pair_is_a_connected_zero_that_does_not_count(pair_reduction: str) -> None:
    scores = SCORES.clone().requires_grad_()
    one_grade = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 1.0]], dtype=torch.float64)
    each = squares(scores=scores, relevance=one_grade, pair_reduction=pair_reduction)
    assert each[0] == 0
    (gradient,) = torch.autograd.grad(each[0], scores, retain_graph=True)
    assert not gradient.any()
    alone = squares(relevance=one_grade[1:], scores=SCORES[1:], pair_reduction=pair_reduction, reduction="mean")
    both = squares(relevance=one_grade, pair_reduction=pair_reduction, reduction="mean")
    assert both.item() == alone.item() > 0


def test_weights_of_zero_leave_nothing_to_learn() -> None:
    assert squares(weight=torch.zeros_like(SCORES)).tolist() == [0, 0]
    assert squares(weight=torch.zeros_like(SCORES), reduction="mean").item() == 0


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"ties": "keep"}, ValueError, '"ties" must be'),
        ({"pair_reduction": "none"}, ValueError, '"pair_reduction" must be'),
        ({"topk": 0}, ValueError, '"topk" must be >= 1'),
        ({"topk": 2.0}, TypeError, '"topk" must be an int'),
        ({"topk": True}, TypeError, '"topk" must be an int'),
        ({"lambda_weight": "ndcg"}, TypeError, '"lambda_weight" must be a LambdaWeight'),
        ({"lambda_weight": DeltaNDCG}, TypeError, '"lambda_weight" must be a LambdaWeight'),
        ({"lambda_weight": DeltaNDCG(), "ties": "half"}, ValueError, '"ties" is "half"'),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        squares(**options)


def test_lambda_weights_are_constants_of_the_gradient() -> None:
    scores = SCORES.clone().requires_grad_()
    value = squares(scores=scores, lambda_weight=DeltaNDCG(), pair_reduction="sum").sum()
    (gradient,) = torch.autograd.grad(value, scores)
    lam = DeltaNDCG().vectors(SCORES, RELEVANCE, torch.ones_like(SCORES, dtype=torch.bool))
    assert lam.ordered is not None
    wanted = torch.zeros_like(SCORES)
    for b in range(2):
        for i in range(3):
            for j in range(3):
                if RELEVANCE[b, i] > RELEVANCE[b, j]:
                    place = (lam.ordered[b, i] - lam.ordered[b, j]).abs()
                    steep = 2 * (SCORES[b, j] - SCORES[b, i]).clamp(min=0) * (lam.gain[b, i] - lam.gain[b, j]) * place
                    wanted[b, i] -= steep
                    wanted[b, j] += steep
    assert wanted.any()
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-12)


def test_a_nan_is_shown_in_its_list_only() -> None:
    scores = SCORES.clone()
    scores[0, 1] = math.nan
    found = squares(scores=scores)
    assert found[0].isnan()
    assert found[1].item() == 1 / 2
