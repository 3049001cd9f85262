"""linear_sparse_kl_div: what sparse_kl_div_loss says of the scores, without the scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import losskit
from projections import drawn, off

N, D, C = 12, 8, 40


def student(n: int = N, c: int = C) -> tuple[Tensor, Tensor]:
    return drawn(n, D, c, torch.float32, 2.0)[:2]


def stored(scores: Tensor, known: int) -> tuple[Tensor, Tensor]:
    """The top classes of a teacher near these scores, and its log-probabilities of them."""
    noise = torch.randn(scores.shape, generator=torch.Generator().manual_seed(0))
    log_prob, index = (scores.detach() + noise).log_softmax(-1).topk(known)
    return index, log_prob


@pytest.mark.parametrize("tail", ["bucket", "drop", "renormalize"])
@pytest.mark.parametrize("memory", [None, 3000])
def test_stored_classes_against_a_head(tail: str, memory: int | None) -> None:
    x, w = student()
    index, log_prob = stored(x @ w.T, 6)
    log_prob[3], log_prob[5, 2:] = -math.inf, -math.inf  # a row without any, one with two
    options = {"tail": tail, "temperature": 1.5, "mask": torch.arange(N) % 5 != 4}
    loss = losskit.linear_sparse_kl_div(x, w, index, log_prob, memory=memory, **options)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    right = losskit.sparse_kl_div_loss(wide[0] @ wide[1].T, index, log_prob, **options)
    assert off(loss.detach(), right.detach()) < 1e-6
    for got, slope in zip(torch.autograd.grad(loss, (x, w)), torch.autograd.grad(right, wide), strict=True):
        assert slope.any()
        assert off(got, slope) < 1e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rest_keeps_its_digits_where_the_listed_classes_hold_almost_all(dtype: torch.dtype) -> None:
    """1 - sum q has none left there."""
    x, w = (t.detach().to(dtype).requires_grad_() for t in student(256, 3000))
    bias = torch.zeros(3000, dtype=dtype)
    bias[:6] = 24.0
    index = torch.arange(6).expand(256, 6)
    wide = [t.detach().double().requires_grad_() for t in (x, w)]
    scores = wide[0] @ wide[1].T + bias.double()
    log_prob = (stored(scores[:, :6], 6)[1].sort(-1).values + math.log1p(-1e-6)).float()
    assert float(scores.detach().softmax(-1)[:, 6:].sum(-1).max()) < 1e-5
    loss = losskit.linear_sparse_kl_div(x, w, index, log_prob, student_bias=bias)
    right = losskit.sparse_kl_div_loss(scores, index, log_prob)
    assert off(loss.detach(), right.detach()) < 1e-6
    bar = 1e-6 if dtype == torch.float32 else 4e-3
    for got, slope in zip(torch.autograd.grad(loss, (x, w)), torch.autograd.grad(right, wide), strict=True):
        assert slope.any()
        assert off(got, slope) < bar


def test_renormalized_classes_read_no_other_row_of_the_weight() -> None:
    x, w = student()
    index, log_prob = stored((x @ w.T)[:, :10], 3)
    clean = losskit.linear_sparse_kl_div(x, w, index, log_prob, tail="renormalize")
    spoiled = w.detach().clone()
    spoiled[10:] = math.nan
    spoiled.requires_grad_()
    loss = losskit.linear_sparse_kl_div(x, spoiled, index, log_prob, tail="renormalize")
    (slope,) = torch.autograd.grad(loss, spoiled)
    assert torch.equal(loss, clean)
    assert slope[:10].any()
    assert not slope[10:].any()


def test_a_list_of_classes_that_cannot_be() -> None:
    x, w = student()
    index, log_prob = stored(x @ w.T, 3)
    with pytest.raises(IndexError, match='"index" is 40'):
        losskit.linear_sparse_kl_div(x, w, torch.where(index == index[0, 0], 40, index), log_prob)
    with pytest.raises(ValueError, match="listed twice"):
        losskit.linear_sparse_kl_div(x, w, index[:, :1].expand(N, 3), log_prob)
    with pytest.raises(losskit.ShapeError, match="at least one class"):
        losskit.linear_sparse_kl_div(x, w, index[:, :0], log_prob[:, :0])
