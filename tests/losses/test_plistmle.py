"""What p-ListMLE adds to ListMLE: what the choice at each rank counts for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from losskit.losses.listmle import listmle_loss
from losskit.losses.plistmle import PListMLELoss, plistmle_loss


def drawn(size: int) -> Tensor:
    return 3 * torch.randn(size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def gradient(value: Tensor, leaf: Tensor) -> Tensor:
    return torch.autograd.grad(value.sum(), leaf)[0]


@pytest.mark.parametrize("size", [127, 128, 200, 3000])
def test_d4_the_paper_s_weights_are_finite_at_any_length(size: int) -> None:
    """2^(n - 1) is inf in float32 from n = 129 on, and the loss NaN."""
    scores, relevance = torch.zeros(1, size, requires_grad=True), torch.arange(size, 0, -1.0)[None]
    value = plistmle_loss(scores, relevance, discount="exponential")
    # rank k chooses one of n - k + 1; beyond rank 100 the weights are below 1e-30
    wanted = math.fsum(2.0 ** (1 - k) * math.log(size - k + 1) for k in range(1, 100))
    assert value.item() == pytest.approx(wanted, rel=1e-6)
    found = gradient(value, scores)
    assert found.isfinite().all()
    assert float(found[0, 0]) == pytest.approx(1 / size - 1, rel=1e-6)


@pytest.mark.parametrize("ties", ["efron", "breslow", "stable"])
def test_d4_a_function_is_told_ranks_from_1_on_and_not_the_mask(ties: Any) -> None:
    """sentence-transformers hands over the mask: 1 / log1p(0) is inf at a pad, and every rank is 1."""
    scores, relevance, mask = drawn(4), torch.tensor([1.0, 9.0, 2.0, 0.0]), torch.tensor([True, False, True, True])
    asked: list[list[float]] = []

    def inverse(rank: Tensor) -> Tensor:
        asked.append(rank.tolist())
        return math.log(2) / torch.log1p(rank)

    leaf = scores.clone().requires_grad_()
    value = plistmle_loss(leaf, relevance, mask=mask, discount=inverse, ties=ties)
    assert asked == [[1.0, 2.0, 3.0, 4.0]]
    best, middle, last = (scores[i] for i in (2, 0, 3))
    first = torch.stack([best, middle, last]).logsumexp(0) - best
    second = torch.stack([middle, last]).logsumexp(0) - middle
    assert value.item() == pytest.approx((first + second / math.log2(3)).item(), rel=1e-12)
    slope = gradient(value, leaf)
    assert slope[mask].all()
    assert slope[1] == 0


def test_a_discount_of_ones_is_listmle_and_a_function_is_told_the_ranks() -> None:
    scores, relevance = drawn(9), torch.tensor([1.0, 0.0, 2.0, 3.0, 1.0, 1.0, 0.0, 2.0, 0.0])
    asked: list[list[float]] = []

    def flat(rank: Tensor) -> Tensor:
        asked.append(rank.tolist())
        return torch.ones_like(rank)

    assert float(plistmle_loss(scores, relevance, discount=flat)) == float(listmle_loss(scores, relevance))
    assert asked == [[float(k) for k in range(1, 10)]]
    inverse = plistmle_loss(scores, relevance, discount=lambda rank: 1 / torch.log2(1 + rank))
    assert float(inverse) == pytest.approx(float(plistmle_loss(scores, relevance)), rel=1e-12)


def test_the_module_says_what_it_was_given() -> None:
    assert repr(PListMLELoss(discount="exponential")) == "PListMLELoss(discount='exponential')"


@pytest.mark.parametrize(
    ("discount", "error", "says"),
    [
        (lambda rank: [1.0] * len(rank), TypeError, '"discount" returned list, expected a Tensor'),
        (lambda rank: 1.0, TypeError, '"discount" returned float'),
        (lambda rank: 1 / (rank - 1), ValueError, '"discount" returned inf, expected finite weights'),
        (lambda rank: rank * math.nan, ValueError, '"discount" returned nan'),
    ],
)
def test_a_discount_that_is_none_is_refused(discount: Callable[[Tensor], Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        plistmle_loss(torch.zeros(1, 3), torch.tensor([[2.0, 1.0, 0.0]]), discount=discount)
