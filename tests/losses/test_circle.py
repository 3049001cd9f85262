"""Circle loss: its loop, the gradient that the paper defines, its anchors, and degenerate batches."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import losskit
from labelled_batches import (
    agree,
    batch,
    degenerate,
    is_a_connected_zero,
    is_finite,
    is_its_loop,
    leading_axes_are_the_batch,
    masked_rows_are_not_there,
    values_and_gradients,
)
from losskit.losses.circle import circle_loss

NAME = "circle_loss"
OPTIONS: list[dict[str, Any]] = [{}, {"gamma": 3.0, "margin": 0.25}, {"gamma": 40.0, "margin": 0.0}]


@pytest.mark.parametrize("options", OPTIONS)
def test_values_and_gradients_are_those_of_the_loop(options: dict[str, Any]) -> None:
    for seed in range(3):
        is_its_loop(NAME, *batch(seed=seed), **options)


def papers_slopes(s: Tensor, labels: Tensor, gamma: float, m: float) -> Tensor:
    """By each score: gamma Z times the softmax of gamma (s^2 - m^2), or of gamma ((s - 1)^2 - m^2), times the weight."""
    same, other = labels[:, None] == labels, labels[:, None] != labels
    same = same & ~torch.eye(len(s), dtype=torch.bool)
    weight_n, weight_p = (s + m).clamp(min=0), (1 + m - s).clamp(min=0)
    far = torch.where(other, gamma * weight_n * (s - m), -math.inf)
    near = torch.where(same, -gamma * weight_p * (s - 1 + m), -math.inf)
    z = 1 - 1 / (1 + far.exp().sum(1) * near.exp().sum(1))
    found = gamma * z[:, None] * (far.softmax(1) * weight_n - near.softmax(1) * weight_p)
    return torch.where((same.any(1) & other.any(1))[:, None], found, 0)


@pytest.mark.parametrize(("gamma", "margin"), [(80.0, 0.4), (2.0, 0.25)])
def test_the_gradient_is_the_papers(gamma: float, margin: float) -> None:
    rows, labels = batch()
    rows.requires_grad_()
    unit = F.normalize(rows, dim=1)
    slopes = papers_slopes((unit @ unit.T).detach(), labels, gamma, margin)
    (wanted,) = torch.autograd.grad((slopes * (unit @ unit.T)).sum(), rows)
    (found,) = torch.autograd.grad(circle_loss(rows, labels, gamma=gamma, margin=margin, reduction="sum"), rows)
    assert wanted.any()
    agree(found, wanted)


def test_the_gradient_is_not_the_derivative_of_the_value() -> None:
    rows, labels = (t.clone() for t in batch())
    _, (gradient,) = values_and_gradients(circle_loss, rows, labels, gamma=2.0)
    ahead = circle_loss(rows + 1e-6 * gradient, labels, gamma=2.0) - circle_loss(rows - 1e-6 * gradient, labels, gamma=2.0)
    assert ahead / 2e-6 > 1.5 * gradient.square().sum()


def test_a_second_gradient_holds_the_weights_too() -> None:
    rows, labels = batch(7)

    def twice(function: Any) -> Tensor:
        leaf = rows.clone().requires_grad_()
        (first,) = torch.autograd.grad(function(leaf, labels, gamma=2.0), leaf, create_graph=True)
        return torch.autograd.grad(first.square().sum(), leaf)[0]

    def plain(*given: Any, **options: Any) -> Tensor:
        return losskit.CATALOGUE[NAME].reference(*given, **options).sum()

    found, wanted = twice(functools.partial(circle_loss, reduction="sum")), twice(plain)
    assert found.any()
    agree(found, wanted, 1e-10)


def test_masked_rows_are_not_there() -> None:
    masked_rows_are_not_there(NAME, *batch())


def test_all_leading_axes_are_the_batch() -> None:
    leading_axes_are_the_batch(NAME, *batch())


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str) -> None:
    is_finite(NAME, *degenerate()[name])


def softplus(x: float) -> float:
    return max(x, 0) + math.log1p(math.exp(-abs(x)))


def test_a_collapsed_batch_costs_what_its_counts_say() -> None:
    rows, labels = torch.ones(6, 3, dtype=torch.float64), torch.tensor([0, 0, 0, 0, 1, 1])
    each = [softplus(80 * (1.4 * 0.6 - 0.4 * 0.4) + math.log(near * far)) for near, far in ((3, 2),) * 4 + ((1, 4),) * 2]
    agree(circle_loss(rows, labels, reduction="none"), torch.tensor(each, dtype=torch.float64))


def test_a_solved_batch_costs_next_to_nothing() -> None:
    rows, labels = torch.eye(4).repeat_interleave(2, 0), torch.arange(4).repeat_interleave(2)
    assert circle_loss(rows, labels).item() == pytest.approx(6 * math.exp(-2 * 80 * 0.4**2), rel=1e-4)


@pytest.mark.parametrize("name", ["one class", "all distinct", "one row", "no rows"])
def test_without_both_kinds_of_pairs_it_is_a_connected_zero(name: str) -> None:
    is_a_connected_zero(NAME, *degenerate()[name])


def test_only_rows_with_a_positive_and_a_negative_are_in_the_mean() -> None:
    rows, labels = batch()
    value = circle_loss(rows, labels, reduction="none")
    assert value[-1] == 0
    agree(circle_loss(rows, labels), value.sum() / (len(rows) - 1))


def test_options_out_of_range_are_refused() -> None:
    options: list[dict[str, Any]] = [{"gamma": 0.0}, {"margin": -0.1}]
    for option in options:
        with pytest.raises(ValueError, match=next(iter(option))):
            circle_loss(*batch(), **option)
