"""Labelled batches for the losses of embeddings: an ordinary one, degenerate ones, and what must hold of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import losskit
from losskit.core.card import CATALOGUE

LABELS = (-7, 0, 3, 2**40)


def batch(n: int = 19, d: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rows of any length, float64, and labels; the last row is alone with its own."""
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=g, dtype=torch.float64) * torch.rand(n, 1, generator=g, dtype=torch.float64).add(0.1)
    labels = torch.tensor(LABELS)[torch.randint(len(LABELS), (n,), generator=g)]
    labels[-1] = 11
    return rows, labels


def degenerate() -> dict[str, tuple[Tensor, Tensor]]:
    rows, labels = batch()
    zeros = rows.clone()
    zeros[::3] = 0
    twins = torch.cat([rows[:6], rows[:6], 2 * rows[:6]])
    return {
        "collapsed": (rows[:1].expand(8, -1), torch.arange(8) % 3),
        "opposite": (torch.tensor([[1.0], [-1.0]] * 4, dtype=torch.float64) * rows[:1], torch.arange(8) // 2 % 2),
        "zero rows": (zeros, labels),
        "all zero": (0 * rows, labels),
        "duplicates": (twins, torch.arange(18) % 4),
        "one class": (rows, 0 * labels),
        "all distinct": (rows, torch.arange(len(rows))),
        "one row": (rows[:1], labels[:1]),
        "no rows": (rows[:0], labels[:0]),
    }


def agree(got: Tensor, wanted: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(got, wanted, rtol=tolerance, atol=tolerance, check_dtype=False)


def values_and_gradients(loss: Callable[..., Tensor], *tensors: Tensor, **options: Any) -> tuple[Tensor, list[Tensor]]:
    """The value, and the gradients of its sum, each value with its own weight, by the floating-point tensors."""
    leaves = [t.detach().clone().requires_grad_(t.is_floating_point()) for t in tensors]
    value = loss(*leaves, **options)
    by = torch.linspace(1, 2, value.numel(), dtype=value.dtype).reshape(value.shape)
    return value.detach(), list(torch.autograd.grad((value * by).sum(), [t for t in leaves if t.requires_grad]))


def is_its_loop(name: str, *tensors: Tensor, **options: Any) -> None:
    """Values of single rows, their sum, and the gradients of both are those of the loop written from the paper."""
    card = CATALOGUE[name]
    found = values_and_gradients(card.function, *tensors, **options, reduction="none")
    wanted = values_and_gradients(card.reference, *tensors, **options)
    assert all(g.any() for g in wanted[1])
    agree(found[0], wanted[0])
    for got, gradient in zip(found[1], wanted[1], strict=True):
        agree(got, gradient)

    def total(*given: Tensor, **chosen: Any) -> Tensor:
        return card.reference(*given, **chosen).sum()

    found = values_and_gradients(card.function, *tensors, **options, reduction="sum")
    wanted = values_and_gradients(total, *tensors, **options)
    agree(found[0], wanted[0])
    for got, gradient in zip(found[1], wanted[1], strict=True):
        agree(got, gradient)


def is_finite(name: str, *tensors: Tensor, **options: Any) -> None:
    """Value and gradients are numbers, in every dtype."""
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        given = [t.to(dtype) if t.is_floating_point() else t for t in tensors]
        value, gradients = values_and_gradients(CATALOGUE[name].function, *given, **options)
        assert value.isfinite().all(), f"{value} in {dtype}"
        assert all(g.isfinite().all() for g in gradients), f"a gradient in {dtype}"


def masked_rows_are_not_there(name: str, rows: Tensor, labels: Tensor, **options: Any) -> None:
    """A mask is the batch without these rows, whatever they hold."""
    function = CATALOGUE[name].function
    mask = torch.arange(len(rows)) % 4 != 1
    spoiled = torch.where(mask[:, None], rows, torch.nan)
    value, (gradient,) = values_and_gradients(function, spoiled, labels, mask=mask, **options)
    wanted, (left,) = values_and_gradients(function, rows[mask], labels[mask], **options)
    agree(value, wanted)
    agree(gradient[mask], left)
    assert left.any()
    assert not gradient[~mask].any()


def leading_axes_are_the_batch(name: str, rows: Tensor, labels: Tensor, **options: Any) -> None:
    function = CATALOGUE[name].function
    flat = function(rows[:18], labels[:18], reduction="none", **options)
    shaped = function(rows[:18].reshape(2, 3, 3, -1), labels[:18].reshape(2, 3, 3), reduction="none", **options)
    agree(shaped, flat.reshape(2, 3, 3))


def is_a_connected_zero(name: str, *tensors: Tensor, **options: Any) -> None:
    """Zero, with gradients of zero, and nothing in the mean."""
    value, gradients = values_and_gradients(CATALOGUE[name].function, *tensors, **options)
    assert value == 0
    assert not any(g.any() for g in gradients)
    assert losskit.parts(CATALOGUE[name].function, *tensors, **options).weight == 0
