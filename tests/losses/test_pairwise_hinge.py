"""Pairwise hinges: margins, weights that know the metric, long lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.losses.lambda_weights import DeltaNDCG, LabelDifference, LambdaWeight, NDCGLoss2PlusPlus
from losskit.losses.pairwise_hinge import (
    PairwiseHingeLoss,
    PairwiseSquaredHingeLoss,
    pairwise_hinge_loss,
    pairwise_squared_hinge_loss,
)
from losskit.ops.lambda_pairs import Lambda

BOTH = [(pairwise_hinge_loss, 1), (pairwise_squared_hinge_loss, 2)]
LAMBDAS = {"label": LabelDifference(), "ndcg": DeltaNDCG(), "ndcg@3": DeltaNDCG(k=3), "loss2++": NDCGLoss2PlusPlus(10.0)}


def drawn(size: int, *, lists: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(size)
    scores = torch.randn(lists, size, generator=g, dtype=torch.float64)
    return scores, torch.randint(5, (lists, size), generator=g), torch.rand(lists, size, generator=g, dtype=torch.float64)


def factors(lam: Lambda, row: int, scores: Tensor) -> Tensor:
    """(gain_i - gain_j) (place_ij + mu delta(d_ij)) of one list without ties."""
    found = lam.gain[row][:, None] - lam.gain[row]
    place = torch.zeros_like(found)
    if lam.ordered is not None and lam.swapped is not None:
        right, wrong = lam.ordered[row][:, None] - lam.ordered[row], lam.swapped[row] - lam.swapped[row][:, None]
        place = torch.where(scores[:, None] > scores, right, wrong)
    elif lam.rank is None:
        place = place + 1
    if lam.rank is not None:
        apart = (lam.rank[row][:, None] - lam.rank[row]).abs()
        place = place + lam.mu * (1 / torch.log2(1 + apart) - 1 / torch.log2(2 + apart))
    return found * place


@pytest.mark.parametrize("size", [7, 50, 200])
@pytest.mark.parametrize("kind", LAMBDAS.values(), ids=LAMBDAS)
@pytest.mark.parametrize(("function", "power"), BOTH)
def test_lambda_weights_multiply_pairs_and_not_what_the_mean_divides_by(
    function: Callable[..., Tensor], power: int, kind: LambdaWeight, size: int
) -> None:
    scores, relevance, weight = drawn(size)
    lam = kind.vectors(scores, relevance.double(), torch.ones_like(scores, dtype=torch.bool))
    wanted: list[Tensor] = []
    leaf = scores.clone().requires_grad_()
    for row, (s, y, w) in enumerate(zip(leaf, relevance, weight, strict=True)):
        pair = y[:, None] > y
        each = torch.relu(1.5 - (s[:, None] - s)) ** power * torch.where(pair, factors(lam, row, s.detach()), 0) * w[:, None]
        wanted.append(each.sum() / (pair * w[:, None]).sum())
    gradient = torch.autograd.grad(torch.stack(wanted).mean(), leaf)[0]
    found = function(leaf, relevance, margin=1.5, lambda_weight=kind, weight=weight)
    torch.testing.assert_close(found, torch.stack(wanted).mean(), rtol=1e-12, atol=0)
    torch.testing.assert_close(torch.autograd.grad(found, leaf)[0], gradient, rtol=1e-11, atol=1e-14)
    assert gradient.any()


@pytest.mark.parametrize(("function", "power"), BOTH)
def test_topk_keeps_a_pair_of_which_one_item_is_at_the_top(function: Callable[..., Tensor], power: int) -> None:
    scores, relevance = torch.tensor([[3.0, 2.0, 1.0, 0.0]]), torch.tensor([[0, 0, 1, 2]])
    # with the first: (2, 0): 1 + 2, (3, 0): 1 + 3; the item at the very bottom is still pulled up
    assert float(function(scores, relevance, topk=1)) == (3**power + 4**power) / 2
    assert float(function(scores, relevance, topk=1, pair_reduction="sum")) == 3**power + 4**power


@pytest.mark.parametrize(("function", "power"), BOTH)
def test_ties_are_drawn_together_beyond_the_margin(function: Callable[..., Tensor], power: int) -> None:
    scores, relevance = torch.tensor([[3.0, 0.0]]), torch.tensor([[1, 1]])
    assert float(function(scores, relevance)) == 0
    assert float(function(scores, relevance, ties="half")) == (0 + 4**power) / 2
    assert float(function(scores, relevance, ties="half", margin=4.0)) == (1**power + 7**power) / 2


@pytest.mark.parametrize(("function", "power"), BOTH)
@pytest.mark.parametrize("size", [60, 600])
def test_gaps_of_ten_thousand_and_half_precision_are_right(function: Callable[..., Tensor], power: int, size: int) -> None:
    relevance = torch.arange(size)[None] % 2
    for sign, each in ((1, 0.0), (-1, 10001.0**power)):
        scores = sign * 1e4 * relevance.to(torch.float32)
        leaf = scores.requires_grad_()
        value = function(leaf, relevance)
        assert value.item() == pytest.approx(each, rel=1e-6)
        slope = torch.autograd.grad(value, leaf)[0]
        assert slope.isfinite().all()
        assert bool(slope.any()) == (sign < 0)
    half = torch.linspace(-2, 2, size)[None].to(torch.bfloat16)
    assert function(half, relevance).dtype == torch.float32
    assert torch.equal(function(half, relevance), function(half.float(), relevance))


@pytest.mark.parametrize("function", [pairwise_hinge_loss, pairwise_squared_hinge_loss])
def test_long_and_short_lists_are_one_loss(function: Callable[..., Tensor]) -> None:
    scores, relevance, weight = drawn(100)
    padded = [torch.cat([t, torch.full_like(t, 9)], -1) for t in (scores, relevance, weight)]
    seen = torch.arange(200) < 100
    for options in ({}, {"ties": "half"}, {"lambda_weight": DeltaNDCG()}, {"pair_reduction": "pooled"}):
        short, long = scores.clone().requires_grad_(), padded[0].clone().requires_grad_()
        one = function(short, relevance, weight=weight, **options)
        other = function(long, padded[1], weight=padded[2], mask=seen.expand(2, 200), **options)
        torch.testing.assert_close(one, other, rtol=1e-13, atol=0)
        slope = torch.autograd.grad(one, short)[0]
        torch.testing.assert_close(torch.autograd.grad(other, long)[0][:, :100], slope, rtol=1e-11, atol=1e-15)
        assert slope.any()


@pytest.mark.parametrize("function", [pairwise_hinge_loss, pairwise_squared_hinge_loss])
@pytest.mark.parametrize("margin", [-1.0, float("nan"), float("inf")])
def test_a_margin_is_a_finite_number_from_0(function: Callable[..., Tensor], margin: float) -> None:
    scores, relevance, _ = drawn(7)
    with pytest.raises(ValueError, match='"margin" must be'):
        function(scores, relevance, margin=margin)


@pytest.mark.parametrize(
    ("module", "function"),
    [(PairwiseHingeLoss, pairwise_hinge_loss), (PairwiseSquaredHingeLoss, pairwise_squared_hinge_loss)],
)
def test_modules_hold_their_options(module: Callable[..., Any], function: Callable[..., Tensor]) -> None:
    scores, relevance, _ = drawn(7)
    options = {"margin": 0.5, "lambda_weight": DeltaNDCG(k=3), "topk": 5, "pair_reduction": "sum"}
    assert torch.equal(module(**options)(scores, relevance), function(scores, relevance, **options))
