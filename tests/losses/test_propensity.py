"""Inverse propensity weights: their values, their refusals, and that they undo what position did to clicks."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from losskit import ShapeError
from losskit.losses.propensity import ips_weights


@pytest.mark.parametrize("eta", [0, 0.5, 1.0, 2.0])
def test_a_number_is_the_power_of_the_position(eta: float) -> None:
    position = torch.tensor([[1, 2, 3], [10, 5, 4]])
    weight = ips_weights(position, eta, clip=1e9)
    assert (weight.dtype, weight.shape) == (torch.float32, (2, 3))
    assert weight.flatten().tolist() == pytest.approx([p**eta for p in position.flatten().tolist()], rel=1e-6)


def test_a_table_says_how_likely_each_position_is_seen() -> None:
    table = [1.0, 0.5, 0.25, 0.2]
    position = torch.tensor([4, 1, 3, 2, 1])
    for given in (table, torch.tensor(table), torch.tensor(table, dtype=torch.bfloat16).double()):
        weight = ips_weights(position, given)
        assert weight.tolist() == pytest.approx([1 / float(given[p - 1]) for p in position.tolist()])
    assert torch.equal(ips_weights(position.to(torch.uint8), table), ips_weights(position, table))


def test_no_weight_is_larger_than_clip() -> None:
    position = torch.arange(1, 9)
    assert ips_weights(position, 1.0, clip=4.0).tolist() == [1, 2, 3, 4, 4, 4, 4, 4]
    assert ips_weights(position[:2], [1.0, 1e-30], clip=4.0).tolist() == [1, 4]
    assert ips_weights(torch.tensor([10**9]), 200.0).tolist() == [100]  # a power beyond all floats
    assert ips_weights(position, 1.0, clip=math.inf).tolist() == position.tolist()
    assert ips_weights(position, 1.0, clip=1.0).tolist() == [1] * 8


def test_weighted_clicks_are_in_expectation_the_relevance() -> None:
    seen = torch.tensor([1.0, 0.6, 0.3, 0.1], dtype=torch.float64)
    relevant = torch.tensor([1.0, 0.0, 1.0, 1.0], dtype=torch.float64)
    clicks = torch.rand(200_000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64) < seen * relevant
    mean = (clicks * ips_weights(torch.arange(1, 5), seen)).mean(0)
    error = (relevant / seen / len(clicks)).sqrt()  # of a click that is seldom and counts much
    assert ((mean - relevant).abs() <= 5 * error).all()
    assert (clicks.double().mean(0)[2:] < 0.5).all()  # what clicks alone say


def test_a_scalar_and_an_empty_batch_are_positions_too() -> None:
    assert ips_weights(torch.tensor(3), 1.0).item() == 3
    assert ips_weights(torch.empty(0, 5, dtype=torch.long), [0.5]).shape == (0, 5)


@pytest.mark.parametrize(
    ("position", "propensity", "options", "error", "says"),
    [
        ([1, 0], 1.0, {}, IndexError, r'"position" is 0 at index 1, expected 1 or more'),
        ([1, -3], [0.5], {}, IndexError, r'"position" is -3 at index 1, expected \[1, 1\]'),
        ([1, 0], [0.5], {}, IndexError, r'"position" is 0 at index 1, expected \[1, 1\]'),
        ([1, 3], [0.5, 0.5], {}, IndexError, r'"position" is 3 at index 1, expected \[1, 2\]'),
        ([1], [0.0], {}, ValueError, '"propensity" is 0 at index 0, expected a probability'),
        ([1], [0.5, 1.5], {}, ValueError, '"propensity" is 1.5 at index 1'),
        ([1], [math.nan], {}, ValueError, '"propensity" is nan at index 0'),
        ([1], -0.5, {}, ValueError, '"propensity" must be >= 0'),
        ([1], math.inf, {}, ValueError, '"propensity" must be finite'),
        ([1], True, {}, TypeError, '"propensity" must be a number'),
        ([1], "eta", {}, TypeError, '"propensity" must be a number'),
        ([1], [], {}, ShapeError, r'"propensity" has shape \(0,\), expected \(K,\)'),
        ([1], torch.tensor(1.0), {}, ShapeError, r'"propensity" has shape \(\)'),
        ([1], 1.0, {"clip": 0.5}, ValueError, '"clip" must be >= 1'),
        ([1.0], 1.0, {}, TypeError, '"position" has dtype torch.float32, expected integers'),
    ],
)
def test_what_is_no_position_or_no_probability_is_refused(
    position: Any, propensity: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        ips_weights(torch.tensor(position), propensity, **options)


def test_where_nobody_can_look_a_position_out_of_range_is_nan() -> None:
    weight = torch.func.vmap(lambda p: ips_weights(p, 1.0))(torch.tensor([[0, 2]]))
    assert weight.isnan().tolist() == [[True, False]]
