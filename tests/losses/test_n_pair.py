"""N-pair loss: its loop, cross-entropy over the batch, pairs of the same label, the cost of length, degenerate batches."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

import losskit
from labelled_batches import agree, batch, degenerate, is_a_connected_zero, is_finite, is_its_loop, values_and_gradients
from losskit.losses.n_pair import n_pair_loss

NAME = "n_pair_loss"


def towers(n: int = 12) -> tuple[Tensor, Tensor]:
    return 2 * batch(n)[0], batch(n, seed=1)[0]


@pytest.mark.parametrize("options", [{}, {"l2_reg": 0.3}, {"ids": batch(12)[1]}, {"ids": batch(12)[1], "l2_reg": 0.01}])
def test_values_and_gradients_are_those_of_the_loop(options: dict[str, Any]) -> None:
    is_its_loop(NAME, *towers(), **options)


def test_it_is_cross_entropy_of_the_batch() -> None:
    def dense(anchor: Tensor, positive: Tensor) -> Tensor:
        return losskit.cross_entropy(anchor @ positive.T, torch.arange(len(anchor)))

    found, wanted = (values_and_gradients(f, *towers()) for f in (n_pair_loss, dense))
    agree(found[0], wanted[0])
    for got, gradient in zip(found[1], wanted[1], strict=True):
        assert gradient.any()
        agree(got, gradient)


def test_pairs_of_the_same_label_are_no_negatives() -> None:
    anchor, positive = torch.eye(3), torch.eye(3)
    value = n_pair_loss(anchor, positive, ids=torch.tensor([5, 5, -1]), reduction="none")
    one, two = math.log1p(math.exp(-1)), math.log1p(2 * math.exp(-1))
    agree(value, torch.tensor([one, one, two]), 1e-6)


def test_rows_of_zeros_pay_the_log_of_the_number_of_pairs() -> None:
    assert n_pair_loss(torch.zeros(7, 2), torch.zeros(7, 2)).item() == pytest.approx(math.log(7), rel=1e-6)


def test_length_costs_a_quarter_of_its_square_each() -> None:
    anchor, positive = towers()
    extra = n_pair_loss(anchor, positive, l2_reg=0.5, reduction="none") - n_pair_loss(anchor, positive, reduction="none")
    agree(extra, 0.125 * (anchor.square().sum(1) + positive.square().sum(1)))


def test_masked_pairs_are_not_there() -> None:
    anchor, positive = towers()
    mask = torch.arange(12) % 4 != 1
    spoiled = [torch.where(mask[:, None], t, torch.nan) for t in (anchor, positive)]
    value, gradients = values_and_gradients(n_pair_loss, *spoiled, mask=mask, l2_reg=0.1)
    wanted, left = values_and_gradients(n_pair_loss, anchor[mask], positive[mask], l2_reg=0.1)
    agree(value, wanted)
    for got, gradient in zip(gradients, left, strict=True):
        assert gradient.any()
        agree(got[mask], gradient)
        assert not got[~mask].any()


@pytest.mark.parametrize("name", degenerate())
def test_degenerate_batches_have_finite_values_and_gradients(name: str) -> None:
    rows, labels = degenerate()[name]
    is_finite(NAME, rows, rows)
    is_finite(NAME, rows, 100 * rows, ids=labels)


@pytest.mark.parametrize("labels", [None, torch.zeros(5).long()])
def test_without_negatives_a_pair_costs_nothing_but_counts(labels: Tensor | None) -> None:
    rows = batch(5)[0] if labels is not None else batch(1)[0]
    value, gradients = values_and_gradients(n_pair_loss, rows, rows, ids=labels)
    assert value == 0
    assert not any(g.any() for g in gradients)
    assert losskit.parts(n_pair_loss, rows, rows, ids=labels).weight == len(rows)

    def both(leaf: Tensor) -> Tensor:
        return n_pair_loss(leaf, leaf, ids=labels)

    assert torch.autograd.gradgradcheck(both, rows.clone().requires_grad_())


def test_an_empty_batch_is_a_connected_zero() -> None:
    is_a_connected_zero(NAME, torch.zeros(0, 3), torch.zeros(0, 3))


def test_towers_of_two_dtypes_are_computed_in_the_wider() -> None:
    anchor, positive = towers()
    agree(n_pair_loss(anchor, positive.float()), n_pair_loss(anchor, positive.float().double()))
    agree(n_pair_loss(anchor.bfloat16(), positive.float()), n_pair_loss(anchor.bfloat16().float(), positive.float()), 1e-6)


def test_a_cost_of_length_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="l2_reg"):
        n_pair_loss(*towers(), l2_reg=-0.1)
