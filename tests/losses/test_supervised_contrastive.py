"""Supervised contrastive loss against its definition, row by row."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from contrast_loops import agree, draw, labels, number, supervised
from losskit import supervised_contrastive_loss

N, D = 8, 4
SOME = torch.tensor([True, True, False, True, True, True, False, True])
AVERAGES: Any = pytest.mark.parametrize("average", ["out", "in"])


@AVERAGES
@pytest.mark.parametrize("mask", [None, SOME])
@pytest.mark.parametrize("kinds", [2, 3, 5])
def test_every_combination_is_the_loop(average: str, mask: Tensor | None, kinds: int) -> None:
    who = labels(N, kinds)

    def loss(rows: Tensor, **options: Any) -> Tensor:
        return supervised_contrastive_loss(rows, who, **options)

    def loop(rows: Tensor, **options: Any) -> list[Tensor]:
        return supervised(rows, who, **options)

    agree(loss, loop, draw(N, D), temperature=number(0.3), average=average, mask=mask)


@AVERAGES
@pytest.mark.parametrize("rows", [torch.zeros(N, D), torch.ones(N, D)])
def test_collapsed_rows_guess_among_all_others(average: Any, rows: Tensor) -> None:
    rows = rows.clone().requires_grad_()
    value = supervised_contrastive_loss(rows, torch.arange(N) // 2, average=average)
    torch.testing.assert_close(value, torch.tensor(math.log(N - 1)))
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


@AVERAGES
def test_rows_that_are_alone_with_their_label_teach_nothing(average: Any) -> None:
    rows = draw(N, D)
    value = supervised_contrastive_loss(rows, torch.arange(N), average=average)
    assert value.item() == 0
    assert not torch.autograd.grad(value, rows)[0].any()


@AVERAGES
@pytest.mark.parametrize("size", [0, 1, 2])
def test_small_batches_are_legal(average: Any, size: int) -> None:
    rows = draw(size, D)
    value = supervised_contrastive_loss(rows, torch.zeros(size, dtype=torch.long), average=average)
    torch.testing.assert_close(value, torch.zeros((), dtype=torch.float64), atol=1e-12, rtol=0)  # the one other row is right
    assert torch.autograd.grad(value, rows)[0].isfinite().all()


@AVERAGES
@pytest.mark.parametrize("temperature", [0.1, 0.005])
def test_single_precision_survives_small_temperatures(average: Any, temperature: float) -> None:
    rows, who = draw(64, 32).detach(), labels(64, 5)
    found = [
        supervised_contrastive_loss(rows.to(d), who, temperature=temperature, average=average)
        for d in (torch.float32, torch.float64)
    ]
    torch.testing.assert_close(found[0].double(), found[1], rtol=1e-6, atol=1e-6)
