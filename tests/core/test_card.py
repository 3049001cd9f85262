"""reference(): a number that is right for the facts given, or None."""

from __future__ import annotations

import math

import pytest
import torch

import losskit
from losskit import reference


def test_an_option_that_a_level_does_not_know_makes_it_none_and_not_wrong() -> None:
    assert reference("cross_entropy", num_classes=10, z_loss=0.1).chance is None
    assert reference("cross_entropy", num_classes=10, z_loss=0.1).floor is None
    assert reference("binary_focal_loss", alpha=0.25).chance is None
    assert reference("mse_loss", target=torch.tensor([0.0, 2.0]), weight=torch.tensor([3.0, 1.0])).constant is None


def test_an_option_at_its_default_or_about_the_layout_changes_nothing() -> None:
    assert reference("cross_entropy", num_classes=10, z_loss=0.0, weight=None).chance == math.log(10)
    assert reference("cross_entropy", num_classes=10, ignore_index=0, class_dim=1).chance == math.log(10)


def test_a_floor_that_holds_for_every_option_is_still_said() -> None:
    assert reference("focal_loss", num_classes=4, weight=torch.ones(4)).floor == 0


def test_what_the_facts_do_not_determine_is_none_and_never_nan() -> None:
    assert reference("binary_cross_entropy_with_logits", pos_weight=3.0).chance is None
    assert reference("binary_cross_entropy_with_logits", pos_weight=3.0, prior=0.5).chance == pytest.approx(2 * math.log(2))


def test_nothing_below_zero_is_not_minus_zero() -> None:
    floor = reference("cross_entropy", num_classes=10).floor
    assert floor is not None
    assert math.copysign(1, floor) == 1


def test_a_loss_that_is_not_there_is_a_value_error_without_quotes_of_its_own() -> None:
    with pytest.raises(ValueError, match=r"\"name\" is 'nope', expected the name of a loss"):
        reference("nope")


def test_a_fact_that_no_level_takes_is_refused() -> None:
    with pytest.raises(TypeError, match="has no fact colour"):
        losskit.reference("cross_entropy", colour="red")
