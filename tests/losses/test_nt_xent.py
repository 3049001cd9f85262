"""NT-Xent against its definition, view by view."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from contrast_loops import agree, draw, labels, nt_xent, number
from losskit import nt_xent_loss

N, D = 6, 4
SOME = torch.tensor([True, True, False, True, False, True])


@pytest.mark.parametrize("ids", [None, labels(N)])
@pytest.mark.parametrize("decoupled", [False, True])
@pytest.mark.parametrize("mask", [None, SOME])
def test_every_combination_is_the_loop(ids: Tensor | None, decoupled: bool, mask: Tensor | None) -> None:
    towers = draw(N, D, seed=1), draw(N, D, seed=2)
    agree(nt_xent_loss, nt_xent, *towers, temperature=number(0.3), ids=ids, decoupled=decoupled, mask=mask)


@pytest.mark.claim("R17")
def test_it_is_simclrs_cross_entropy_over_the_other_views() -> None:
    query, key = draw(N, D, seed=1), draw(N, D, seed=2)
    views = F.normalize(torch.cat([query, key]), dim=1)
    scores = (views @ views.T / 0.1).fill_diagonal_(-torch.inf)
    expected = F.cross_entropy(scores, torch.arange(2 * N).roll(N))
    torch.testing.assert_close(nt_xent_loss(query, key), expected)


@pytest.mark.parametrize(("decoupled", "candidates"), [(False, 2 * N - 1), (True, 2 * N - 2)])
@pytest.mark.parametrize("rows", [torch.zeros(N, D), torch.ones(N, D)])
def test_collapsed_views_guess_among_all_others(decoupled: bool, candidates: int, rows: Tensor) -> None:
    rows = rows.clone().requires_grad_()
    value = nt_xent_loss(rows, rows, decoupled=decoupled)
    torch.testing.assert_close(value, torch.tensor(math.log(candidates)))
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


@pytest.mark.parametrize("size", [0, 1])
def test_one_thing_alone_has_nothing_to_be_told_from(size: int) -> None:
    query = draw(size, D)
    value = nt_xent_loss(query, draw(size, D, seed=1))
    assert value.item() == 0
    assert not torch.autograd.grad(value, query)[0].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_small_temperature_keeps_every_digit_and_the_gradient_of_the_worst_pairs(dtype: torch.dtype) -> None:
    query, key = (draw(N, D, seed=s).detach().to(dtype).requires_grad_() for s in (1, 2))
    value = nt_xent_loss(query, key, temperature=0.01)
    wide = nt_xent_loss(query.detach().double(), key.detach().double(), temperature=0.01)
    torch.testing.assert_close(value.double(), wide, rtol=1e-6, atol=1e-6)
    assert torch.autograd.grad(value, query)[0].norm(dim=1).gt(0).any()


def test_views_may_come_in_different_dtypes() -> None:
    query, key = (draw(N, D, seed=s).detach().float() for s in (1, 2))
    torch.testing.assert_close(nt_xent_loss(query, key.double()).float(), nt_xent_loss(query, key))
