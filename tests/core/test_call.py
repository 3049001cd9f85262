"""What a call is checked for: every value that counts, in debug() on every axis, and nothing that does not count."""

from __future__ import annotations

import math
import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import losskit as lk

FOUR = torch.zeros(4)
MINUS, ZERO, TWO = torch.tensor(-1.0), torch.tensor(0.0), torch.tensor(2.0)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: lk.gaussian_nll_loss(FOUR, FOUR, var=MINUS), '"var" is -1, expected (0, inf)'),
        (lambda: lk.gaussian_nll_loss(FOUR, FOUR, var=ZERO), '"var" is 0, expected (0, inf)'),
        (lambda: lk.student_t_nll_loss(FOUR, FOUR, log_scale=0.0, df=MINUS), '"df" is -1'),
        (lambda: lk.quantile_loss(FOUR, FOUR, quantile=TWO), '"quantile" is 2, expected (0, 1)'),
        (lambda: lk.binary_cross_entropy_with_logits(FOUR, FOUR, pos_weight=MINUS), '"pos_weight" is -1'),
    ],
    ids=["variance", "variance of 0", "df", "quantile", "pos_weight"],
)
def test_an_option_without_axes_is_checked_like_one_with_them(call: Callable[[], Tensor], says: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(says)):
        call()


def test_debug_looks_at_options_without_axes() -> None:
    with lk.debug(), pytest.raises(ValueError, match='"log_var" is nan, expected a number'):
        lk.gaussian_nll_loss(FOUR, FOUR, log_var=torch.tensor(math.nan))


def picture(**bad: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """(N, C, H, W) = (2, 3, 4, 5) scores with a NaN in each of the places, and their labels."""
    scores, labels = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.long)
    for place in bad.values():
        scores[place] = math.nan
    return scores, labels


def test_debug_is_silent_about_an_ignored_pixel_of_channels_first() -> None:
    scores, labels = picture(one=(0, 0, 1, 1), two=(0, 2, 1, 1))
    labels[0, 1, 1] = -100
    with lk.debug():
        assert lk.cross_entropy(scores, labels, class_dim=1).item() == pytest.approx(math.log(3))


def test_debug_is_silent_about_a_masked_pixel_of_channels_first() -> None:
    scores, labels = picture(one=(1, 2, 3, 4))
    mask = torch.ones(2, 4, 5, dtype=torch.bool)
    mask[1, 3, 4] = False
    with lk.debug():
        assert lk.dice_loss(scores, labels, mask=mask, class_dim=1).isfinite()


def test_debug_names_the_place_of_a_pixel_of_channels_first_as_it_was_given() -> None:
    scores, labels = picture(one=(0, 2, 1, 3))
    labels[0, 1, 1] = -100
    with lk.debug(), pytest.raises(ValueError, match=r'"input" is nan at index \(0, 2, 1, 3\)'):
        lk.cross_entropy(scores, labels, class_dim=1)


def test_debug_does_not_lay_a_mask_over_other_axes_of_the_same_size() -> None:
    scores, labels = torch.zeros(3, 3, 3), torch.zeros(3, 3, dtype=torch.long)
    scores[0, 1, 2] = math.nan  # sample 0, class 1, pixel 2
    labels[0, 1] = -100  # of pixel 1, which is not where the NaN is
    with lk.debug(), pytest.raises(ValueError, match="is nan at index"):
        lk.cross_entropy(scores, labels, class_dim=1)


@pytest.mark.parametrize("rows", [3, 5])
def test_debug_does_not_take_class_weights_for_weights_of_rows(rows: int) -> None:
    scores, labels = torch.zeros(rows, 3), torch.ones(rows, dtype=torch.long)
    scores[0] = math.nan
    with lk.debug(), pytest.raises(ValueError, match='"input" is nan at index'):
        lk.cross_entropy(scores, labels, weight=torch.tensor([0.0, 1, 1]))


def test_debug_does_not_hide_a_bad_class_weight_behind_an_ignored_row() -> None:
    with lk.debug(), pytest.raises(ValueError, match='"prior" is nan at index 0'):
        lk.logit_adjusted_loss(torch.zeros(2, 2), torch.tensor([-100, 0]), prior=torch.tensor([math.nan, 1.0]))


def test_debug_is_silent_about_elements_of_weight_zero() -> None:
    with lk.debug():
        assert lk.mse_loss(torch.tensor([math.nan, 1.0]), torch.zeros(2), weight=torch.tensor([0.0, 1])).item() == 1


@pytest.mark.parametrize("axis", [2, 5, -3])
def test_an_axis_of_classes_that_is_not_there_is_named(axis: int) -> None:
    with pytest.raises(lk.ShapeError) as caught:
        lk.cross_entropy(torch.zeros(2, 3), torch.zeros(2, dtype=torch.long), class_dim=axis)
    assert str(caught.value) == f'"class_dim" is {axis}, expected an axis of "input" (2, 3), in [-2, 1]'


RAGGED = torch.tensor([0, 2, 3, 5])


def test_a_ragged_list_of_weight_0_may_hold_anything() -> None:
    scores, relevance = torch.tensor([1.0, 2.0, math.nan, 0.0, 1.0]), torch.tensor([1.0, 0.0, -1.0, 2.0, 0.0])
    weight = torch.tensor([1.0, 0.0, 1.0])
    with lk.debug():
        value = lk.approx_ndcg_loss(scores, relevance, offsets=RAGGED, query_weight=weight)
    assert value == lk.approx_ndcg_loss(scores[[0, 1, 3, 4]].reshape(2, 2), relevance[[0, 1, 3, 4]].reshape(2, 2))


def test_weights_of_lists_are_not_those_of_items_even_where_there_are_as_many() -> None:
    with pytest.raises(ValueError, match='"relevance" is -1 at index 1'):
        lk.approx_ndcg_loss(
            torch.zeros(3),
            torch.tensor([1.0, -1.0, 1.0]),
            offsets=torch.tensor([0, 2, 2, 3]),
            query_weight=torch.tensor([1.0, 0, 1]),
        )


def test_offsets_that_do_not_fit_hide_nothing() -> None:
    with pytest.raises(ValueError, match='"relevance" is -1'):
        lk.approx_ndcg_loss(
            torch.zeros(3), torch.tensor([1.0, -1.0, 1.0]), offsets=torch.tensor([0, 2, 9]), query_weight=torch.zeros(2)
        )


@pytest.mark.parametrize("shape", [(4, 1), (2, 5, 1)])
def test_scores_of_a_linear_layer_are_told_to_lose_their_last_axis(shape: tuple[int, ...]) -> None:
    scores = torch.zeros(shape)
    with pytest.raises(lk.ShapeError, match=re.escape("use scores.squeeze(-1)")):
        lk.listnet_loss(scores, torch.zeros(shape[:-1]))
    with pytest.raises(lk.ShapeError, match=re.escape("expected a flat batch, (T,): use scores.squeeze(-1)")):
        lk.listnet_loss(scores, scores, offsets=torch.tensor([0, 4]))


def test_a_relevance_of_minus_one_is_asked_whether_it_is_padding() -> None:
    with pytest.raises(ValueError, match=r"if it is padding, losskit\.mask_from_sentinel"):
        lk.listnet_loss(torch.zeros(1, 2), torch.tensor([[1, -1]]))
